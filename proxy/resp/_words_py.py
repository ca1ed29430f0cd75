"""Canonical requests word by word, in plain Python: a part of _kernel_py.py."""

from __future__ import annotations

import re
from typing import Final

BULK_MAX: Final = 512 * 1024 * 1024
ARGS_MAX: Final = 2**31 - 1

_COUNT: Final = re.compile(rb"(0|[1-9][0-9]{0,9})\r\n")
# What may still become a canonical count when more bytes arrive.
_COUNT_HEAD: Final = re.compile(rb"(?:(?:0|[1-9][0-9]{0,9})\r?)?")


def name_of(data: bytes, pos: int) -> bytes:
    """Of the whole canonical request at pos."""
    size, at = count_at(data, count_at(data, pos + 1)[1] + 1)
    return data[at : at + size]


def keys_read(data: bytes, pos: int) -> list[bytes]:
    found = words_at(data, pos)
    assert found is not None
    words, _ = found
    return words[1:] if words[0][:1] in b"Mm" else words[1:2]


def words_at(data: bytes, pos: int) -> tuple[list[bytes], int] | None:
    """The words of the whole canonical request at pos, and the offset behind it."""
    if pos >= len(data) or data[pos] != 0x2A:
        return None
    args, at = count_at(data, pos + 1)
    if at < 0 or args > ARGS_MAX:
        return None
    words: list[bytes] = []
    for _ in range(args):
        if data[at : at + 1] != b"$":
            return None
        size, at = count_at(data, at + 1)
        if at < 0 or size > BULK_MAX or data[at + size : at + size + 2] != b"\r\n":
            return None
        words.append(data[at : at + size])
        at += size + 2
    return words, at


def count_at(data: bytes, at: int) -> tuple[int, int]:
    """(value, offset behind) of a canonical count; offset MORE or FULL-like -2 as in the kernel."""
    found = _COUNT.match(data, at)
    if found:
        return int(found[1]), found.end()
    head = _COUNT_HEAD.match(data, at)
    assert head is not None
    return 0, -1 if head.end() == len(data) else -2
