"""The rows of all workers of a proxy, summed for /metrics: any of them answers for all.

    parent: Board, in memory that is shared ── fork ──▶ a Place for each worker, written all the
                                                        while, read by all

A worker that is started again goes on where the one before it in its place had ended, so counters
never go back. Knows no worker: process/ and cli/ make the board and hand out the places."""

from __future__ import annotations

import mmap
from typing import Final

from ..jobs.board import Board as JobBoard
from .blobs import Blobs, Texts
from .counters import READS, ROWS, Kind, Row, Stats
from .families import Families, Series, merged, only_counted

_ROWS: Final = (*READS, *ROWS)
_AT: Final = {row.name: at for at, row in enumerate(_ROWS)}
# Gauges that are no quantities: the largest one stands for all.
_LARGEST: Final = frozenset(("tracking", "uptime_s", "near_stale_max_ms", "compiled", "sentinels"))


class Board:
    """Numbers of so many workers. To be made before they are forked."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.jobs = JobBoard(workers)
        self.blobs = Blobs(workers)
        self.views = Texts(workers)
        self.resets = memoryview(mmap.mmap(-1, 8)).cast("Q")  # how often they have begun anew
        # Each number is written and read whole: it is 8 bytes, and aligned.
        self._numbers = memoryview(mmap.mmap(-1, workers * len(_ROWS) * 8)).cast("d")

    def __repr__(self) -> str:
        return f"<Board workers={self.workers}>"

    def place(self, index: int) -> Place:
        """What the worker with this index writes to; a later one goes on with its counters."""
        return Place(self, index)

    def get(self, index: int, row: Row) -> float:
        return self._numbers[index * len(_ROWS) + _AT[row.name]]

    def put(self, index: int, row: Row, number: float) -> None:
        self._numbers[index * len(_ROWS) + _AT[row.name]] = number

    def total(self, row: Row) -> float:
        """Of all workers."""
        numbers = [self.get(index, row) for index in range(self.workers)]
        return max(numbers) if row.name in _LARGEST else sum(numbers)

    def texts_but(self, index: int) -> list[bytes]:
        texts = [self.views.read(at) for at in range(self.workers) if at != index]
        return [text for text in texts if text is not None]

    def series(self) -> Series:
        """The same of what has labels."""
        return merged(self.blobs.get(index) for index in range(self.workers))


class Place:
    """One worker's part of a board."""

    def __init__(self, board: Board, index: int) -> None:
        self._board = board
        self._index = index
        self.jobs = board.jobs.place(index)
        self._before = {
            row.name: board.get(index, row) if row.kind is Kind.COUNTER else 0.0 for row in _ROWS
        }
        self._counted = only_counted(board.blobs.get(index))

    def __repr__(self) -> str:
        return f"<Place {self._index} of {self._board!r}>"

    @property
    def workers(self) -> int:
        return self._board.workers

    def publish(self, stats: Stats) -> None:
        """Show the others what this worker has."""
        for row in _ROWS:
            value = stats.reading(row)
            number = float(value == "on") if isinstance(value, str) else float(value)
            self._board.put(self._index, row, self._before[row.name] + number)

    def publish_series(self, families: Families) -> None:
        """The same of what has labels."""
        self._board.blobs.put(self._index, merged((self._counted, families.series())))

    def series(self, families: Families) -> Series:
        """What has labels of all workers."""
        self.publish_series(families)
        return self._board.series()

    # What Views shows and reads here.

    @property
    def resets(self) -> int:
        return self._board.resets[0]

    @resets.setter
    def resets(self, count: int) -> None:
        self._board.resets[0] = count

    def show(self, text: bytes) -> bool:
        return self._board.views.write(self._index, text)

    def others(self) -> list[bytes]:
        """What the other workers show; one that has ended is among them until another is there."""
        return self._board.texts_but(self._index)

    def reading(self, stats: Stats, row: Row) -> float:
        """The row of all workers: of this one as it is now, of the others as last shown."""
        self.publish(stats)
        return self._board.total(row)

    def totals(self, stats: Stats) -> dict[str, float]:
        """All rows so, by name."""
        self.publish(stats)
        return {row.name: self._board.total(row) for row in _ROWS}
