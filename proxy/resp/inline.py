"""Inline requests: a line of words, split as the servers split it, each in its dialect.

Called by requests.py, for a request that does not begin with ``*``. Refuses to look for the line's
end: that is the caller's. Source: Redis 7.0 and Valkey 9 sds.c (sdssplitargs)."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from ..errors import ProtocolError


class Dialect(Enum):
    """Where the servers read requests differently."""

    # Does not look at the two bytes behind a bulk; a closing quote ends its word; a count with a
    # NUL in it never ends.
    REDIS = auto()
    VALKEY = auto()  # from 9.0: wants the line end; a word goes on behind a closing quote


_SPACES: Final = frozenset(b" \n\r\t\v\f")
# What ends a word: \v and \f stand between words, and in them.
_ENDS: Final = frozenset(b" \n\r\t")
_ESCAPES: Final = {0x6E: 0x0A, 0x72: 0x0D, 0x74: 0x09, 0x62: 0x08, 0x61: 0x07}
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")


def split_inline(line: bytes, dialect: Dialect = Dialect.REDIS) -> list[bytes]:
    """Split an inline request into arguments as sdssplitargs does: "..." with escapes, '...' with
    \\'."""
    args: list[bytes] = []
    # The C string ends at the first NUL.
    line = line.partition(b"\0")[0]
    at, end = 0, len(line)
    while True:
        while at < end and line[at] in _SPACES:
            at += 1
        if at == end:
            return args
        word = bytearray()
        while at < end and line[at] not in _ENDS:
            if line[at] in b"\"'":
                at = _quoted(line, at, word)
                if dialect is Dialect.VALKEY:
                    continue
                # A closing quote must end the word.
                if at < end and line[at] not in _SPACES:
                    raise ProtocolError("unbalanced quotes in request")
                break
            word.append(line[at])
            at += 1
        args.append(bytes(word))


def _quoted(line: bytes, at: int, word: bytearray) -> int:
    """Append the quoted text that opens at ``at`` to word; the offset behind its closing quote."""
    quote = line[at]
    at += 1
    while at < len(line):
        byte = line[at]
        if byte == quote:
            return at + 1
        following = line[at + 1 : at + 4]
        if byte == 0x5C and quote == 0x22 and following:
            if following[:1] == b"x" and len(following) == 3 and set(following[1:]) <= _HEX:
                word.append(int(following[1:], 16))
                at += 4
                continue
            word.append(_ESCAPES.get(following[0], following[0]))
            at += 2
        elif byte == 0x5C and following[:1] == b"'":
            word.append(0x27)
            at += 2
        else:
            word.append(byte)
            at += 1
    raise ProtocolError("unbalanced quotes in request")


def blank_lines(data: bytes, pos: int) -> int:
    """How many bytes from pos on are blank lines, all at once: a client may send nothing else."""
    rest = data[pos:]
    return rest.rfind(b"\n", 0, len(rest) - len(rest.lstrip(b"\r\n"))) + 1
