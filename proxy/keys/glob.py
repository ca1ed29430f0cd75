"""Globs as Redis's servers match them (stringmatchlen in util.c), as regular expressions.

Owns the reading of ``*``, ``?``, ``[a-c]`` and ``\\x``, quirks included: what an invalidation tells
the near cache and the running loads to drop must be what SCAN MATCH finds in the server."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_STAR, _ANY, _OPEN, _CLOSE, _ESCAPE, _DASH = b"*?[]\\-"
_BYTES: Final = frozenset(range(256))


@dataclass(frozen=True, slots=True)
class Star:
    """Any bytes, or none."""

    glob = b"*"


@dataclass(frozen=True, slots=True)
class Literal:
    """This byte and no other."""

    byte: int

    @property
    def regex(self) -> bytes:
        return _escaped(self.byte)

    @property
    def glob(self) -> bytes:
        return b"\\%c" % self.byte if self.byte in b"*?[\\" else b"%c" % self.byte


@dataclass(frozen=True, slots=True)
class Class:
    """One byte out of these ranges, or out of all others. Without a range: none, or any."""

    negated: bool
    ranges: tuple[tuple[int, int], ...]

    @property
    def regex(self) -> bytes:
        # A range between a byte above 127 and one below is another one where char has no sign
        # (ARM): whatever either finds is taken. To drop too much is harmless, too little is not.
        found = {byte for start, end in self.ranges for byte in _unsigned(start, end)}
        signed = {byte for start, end in self.ranges for byte in _signed(start, end)}
        members = _BYTES - (found & signed) if self.negated else found | signed
        if not members:
            return rb"(?!)"
        return b"[" + b"".join(map(_escaped, sorted(members))) + b"]"

    @property
    def glob(self) -> bytes:
        """Every single byte escaped, so that none ends the class or makes a range by standing
        last."""
        members = (
            b"\\%c" % start if start == end else b"%c-%c" % (start, end)
            for start, end in self.ranges
        )
        return b"[" + b"^" * self.negated + b"".join(members) + b"]"


ANY: Final = Class(True, ())
Token = Star | Literal | Class


@lru_cache(maxsize=256)
def compile_glob(pattern: bytes) -> re.Pattern[bytes]:
    """What ``SCAN MATCH pattern`` finds; to be used with ``match``, ``fullmatch`` or ``search``.

    A star followed by text takes the first place where that text stands and never another: if the
    rest does not fit behind the first place, it fits behind no later one (every token but the star
    is one byte long). So each is an atomic group, and no pattern makes the time explode."""
    tokens = tuple(_tokens(pattern))
    if pattern == b"*":
        return re.compile(rb"(?s:\A.*\Z)")
    if set(map(type, tokens)) == {Star}:
        # Two stars or more: the server's matcher, unlike its shortcut for ``*``, wants a byte.
        return re.compile(rb"(?s:\A.+\Z)")
    first, *rest = _between_stars(tokens)
    body = b"".join(token.regex for token in first)
    if rest:
        *middle, last = (b"".join(token.regex for token in piece) for piece in rest)
        body += b"".join(b"(?>.*?%b)" % piece for piece in middle if piece)
        body += b".*" + last
    return re.compile(rb"(?s:\A%b\Z)" % body)


def literal_prefix(pattern: bytes) -> bytes:
    """What every key that matches begins with."""
    prefix = bytearray()
    for token in _tokens(pattern):
        if not isinstance(token, Literal):
            break
        prefix.append(token.byte)
    return bytes(prefix)


def closed(pattern: bytes) -> bytes:
    """The same glob, written so that text may follow it.

    Bytes behind a class that nobody closed, or behind a backslash at the end, would become part of
    them."""
    return b"".join(token.glob if token != ANY else b"?" for token in _tokens(pattern))


def _between_stars(tokens: Sequence[Token]) -> list[list[Literal | Class]]:
    pieces: list[list[Literal | Class]] = [[]]
    for token in tokens:
        if isinstance(token, Star):
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


def _tokens(pattern: bytes) -> Iterator[Token]:
    at = 0
    while at < len(pattern):
        byte = pattern[at]
        at += 1
        if byte == _STAR:
            yield Star()
        elif byte == _ANY:
            yield ANY
        elif byte == _OPEN:
            token, at = _class(pattern, at)
            yield token
        elif byte == _ESCAPE and at < len(pattern):
            yield Literal(pattern[at])
            at += 1
        else:
            yield Literal(byte)


def _class(pattern: bytes, at: int) -> tuple[Class, int]:
    """The class whose bracket stands before ``at``, and the offset behind it. One that nobody
    closes goes to the end."""
    negated = pattern[at : at + 1] == b"^"
    at += negated
    ranges: list[tuple[int, int]] = []
    while at < len(pattern):
        byte, left = pattern[at], len(pattern) - at
        if byte == _ESCAPE and left >= 2:
            ranges.append((pattern[at + 1], pattern[at + 1]))
            at += 2
        elif byte == _CLOSE:
            return Class(negated, tuple(ranges)), at + 1
        elif left >= 3 and pattern[at + 1] == _DASH:
            # Its end may be any byte, a closing bracket or a backslash too.
            ranges.append((byte, pattern[at + 2]))
            at += 3
        else:
            ranges.append((byte, byte))
            at += 1
    return Class(negated, tuple(ranges)), at


def _unsigned(start: int, end: int) -> Iterable[int]:
    """The bytes of a range, in whatever order its ends stand."""
    return range(min(start, end), max(start, end) + 1)


def _signed(start: int, end: int) -> Iterable[int]:
    """The same where bytes are numbers from -128 to 127."""
    low, high = sorted(byte - 256 if byte > 127 else byte for byte in (start, end))
    return (byte % 256 for byte in range(low, high + 1))


def _escaped(byte: int) -> bytes:
    return rb"\x%02x" % byte
