"""Values with labels, and other texts, of all workers, in memory that they share (shared.py).

    a worker's: which half holds ── half 1 ── half 2: length, checksum, text

Written into the half that does not hold, which then does: a writer that is held up, or killed,
keeps nobody from reading. By the checksum a reader knows that it was overtaken by two writes."""

from __future__ import annotations

import json
import mmap
import zlib
from struct import Struct
from typing import Any, Final, cast

from .families import BY_NAME, Series

HALF: Final = 256 * 1024  # bytes; memory that nobody writes to is none
LOOKS: Final = 50  # at one that is written again and again
_HEAD: Final = Struct("<II")  # of a half
_HALVES: Final = (0, 8, 8 + HALF)  # where each begins; 0: there is none
SIZE: Final = 8 + 2 * HALF


def packed(series: Series) -> bytes:
    return json.dumps([[name, labels, value] for (name, labels), value in series.items()]).encode()


def unpacked(text: bytes) -> Series:
    rows = cast("list[list[Any]]", json.loads(text))
    return {(name, tuple(labels)): value for name, labels, value in rows if name in BY_NAME}


class Texts:
    """One for each of so many workers. To be made before they are forked."""

    def __init__(self, workers: int) -> None:
        self._memory = memoryview(mmap.mmap(-1, workers * SIZE))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} workers={len(self._memory) // SIZE}>"

    def write(self, index: int, text: bytes) -> bool:
        """Show it; False: it finds no place, and what was shown still is."""
        memory = self._of(index)
        if len(text) > HALF - _HEAD.size:
            return False
        half = 2 if memory[0] == 1 else 1
        at = _HALVES[half]
        _HEAD.pack_into(memory, at, len(text), zlib.crc32(text))
        memory[at + _HEAD.size : at + _HEAD.size + len(text)] = text
        memory[0] = half
        return True

    def read(self, index: int) -> bytes | None:
        memory = self._of(index)
        for _ in range(LOOKS):
            at = _HALVES[memory[0]]
            if not at:
                break
            size, check = _HEAD.unpack_from(memory, at)
            text = bytes(memory[at + _HEAD.size : at + min(_HEAD.size + size, HALF)])
            if zlib.crc32(text) == check:
                return text
        return None

    def _of(self, index: int) -> memoryview:
        return self._memory[index * SIZE : (index + 1) * SIZE]


class Blobs(Texts):
    """Values with labels."""

    def put(self, index: int, series: Series) -> None:
        """Show them; such as find no place are not shown."""
        self.write(index, packed(series))

    def get(self, index: int) -> Series:
        text = self.read(index)
        return {} if text is None else unpacked(text)
