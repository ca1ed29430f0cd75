"""Braces in patterns of keys: ``user:{1..1000}:{name,mail}`` stands for two thousand keys.

Owns reading them as bash does, and giving the keys one after the other: a pattern of a billion
takes no memory. Braces that hold neither a comma nor a range are themselves, as in the hash tag
``{user}:1``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Final

_NUMBERS: Final = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.(-?\d{1,18}))?")
_LETTERS: Final = re.compile(r"([A-Za-z])\.\.([A-Za-z])")
_ESCAPED: Final = "{},"


@dataclass(frozen=True, slots=True)
class Text:
    """Itself."""

    text: str
    count = 1

    def __iter__(self) -> Iterator[str]:
        yield self.text


@dataclass(frozen=True, slots=True)
class Numbers:
    """``{1..10}``, ``{10..1..3}``; ``{01..10}`` gives all of them that many digits."""

    numbers: range
    width: int

    @property
    def count(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[str]:
        return (f"{number:0{self.width}d}" for number in self.numbers)


@dataclass(frozen=True, slots=True)
class Letters:
    """``{a..e}``."""

    codes: range

    @property
    def count(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str]:
        return map(chr, self.codes)


@dataclass(frozen=True, slots=True)
class Either:
    """``{a,b{1..3}}``: each alternative in turn."""

    alternatives: tuple[Sequence, ...]

    @property
    def count(self) -> int:
        return sum(each.count for each in self.alternatives)

    def __iter__(self) -> Iterator[str]:
        for alternative in self.alternatives:
            yield from alternative


@dataclass(frozen=True, slots=True)
class Sequence:
    """Parts behind each other; the last one changes fastest."""

    parts: tuple[Part, ...]

    @property
    def count(self) -> int:
        return prod(part.count for part in self.parts)

    def __iter__(self) -> Iterator[str]:
        if not self.parts:
            yield ""
            return
        first, rest = self.parts[0], Sequence(self.parts[1:])
        for begin in first:
            for end in rest:
                yield begin + end


Part = Text | Numbers | Letters | Either


def expand(pattern: str) -> Sequence:
    """The keys that a pattern stands for: iterate over it, or ask it how many they are."""
    return Sequence(tuple(_parts(pattern)))


def _parts(pattern: str) -> Iterator[Part]:
    text, at = "", 0
    while at < len(pattern):
        if pattern[at] == "\\" and pattern[at + 1 : at + 2] in {*_ESCAPED}:
            text, at = text + pattern[at + 1], at + 2
            continue
        part, end = _brace(pattern, at) if pattern[at] == "{" else (None, at)
        if part is None:
            text, at = text + pattern[at], at + 1
            continue
        if text:
            yield Text(text)
        yield part
        text, at = "", end
    if text:
        yield Text(text)


def _brace(pattern: str, at: int) -> tuple[Part | None, int]:
    """What the brace that opens at ``at`` stands for, and the offset behind it; None: itself."""
    pieces, end = _split(pattern, at + 1)
    if end is None:
        return None, at
    if len(pieces) > 1:
        return Either(tuple(expand(piece) for piece in pieces)), end
    return _range(pieces[0]), end


def _split(pattern: str, at: int) -> tuple[list[str], int | None]:
    """The text between the commas up to the brace that closes, and the offset behind that."""
    pieces, begin, depth = list[str](), at, 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "\\":
            at += 1
        elif letter == "{":
            depth += 1
        elif letter == "}" and depth:
            depth -= 1
        elif letter == "}":
            return [*pieces, pattern[begin:at]], at + 1
        elif letter == "," and not depth:
            pieces.append(pattern[begin:at])
            begin = at + 1
        at += 1
    return pieces, None


def _range(text: str) -> Part | None:
    if match := _LETTERS.fullmatch(text):
        return Letters(_both_ends(ord(match[1]), ord(match[2]), 1))
    match = _NUMBERS.fullmatch(text)
    if match is None:
        return None
    first, last = match[1], match[2]
    padded = any(re.match(r"-?0\d", end) for end in (first, last))
    width = max(len(first), len(last)) if padded else 0
    return Numbers(_both_ends(int(first), int(last), abs(int(match[3] or 1)) or 1), width)


def _both_ends(first: int, last: int, step: int) -> range:
    return range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
