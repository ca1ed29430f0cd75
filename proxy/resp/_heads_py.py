"""Counts that come in pieces, for the twin of the kernel: how much of one has to be kept, and when
it can be none any more. _kernel_py.py's Cutter asks."""

from __future__ import annotations

from typing import Final

COUNT_MAX: Final = 1 << 40


def too_large(head: bytes) -> bool:
    """Whether a short count is above COUNT_MAX already: Python reads no number of any length."""
    digits = head.strip(b"-\r")
    return len(digits) > 32 or int(digits or b"0") > COUNT_MAX


def short(head: bytes) -> bytes:
    """The same count, with one of the zeros before it at most: there may be any number of them."""
    sign, digits = (b"-", head[1:]) if head.startswith(b"-") else (b"", head)
    bare = digits.lstrip(b"0")
    return sign + b"0" + bare if digits.startswith(b"00") else head
