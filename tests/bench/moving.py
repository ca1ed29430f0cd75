"""How soon the near cache serves a hot set again that has moved: looks ten times a second."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

EVERY = 0.1  # seconds between looks
SERVED = 0.9  # of the steady hit ratio


@dataclass(frozen=True, slots=True)
class Look:
    """What was counted until then."""

    at: float  # seconds, of any monotonic clock
    hits: int  # reads answered near
    others: int  # reads that the server executed


@dataclass(slots=True)
class Watch:
    """Looks, in a thread of its own, for as long as it is entered."""

    look: Callable[[], tuple[int, int]]  # hits and others of now
    looks: list[Look] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *why: object) -> None:
        assert self._thread is not None
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(EVERY):
            self.looks.append(Look(time.monotonic(), *self.look()))


def recovery(looks: Sequence[Look], move: float) -> float:
    """Seconds after a move until 90 % of the hit ratio just before it: the median of the moves.

    Moves come every ``move`` seconds from the first look that saw reads; infinite where a move was
    never made good before the next, or where nothing was ever served near."""
    spans = [
        (after.at, (after.hits - before.hits) / total)
        for before, after in itertools.pairwise(looks)
        if (total := after.hits + after.others - before.hits - before.others)
    ]
    if not spans:
        return float("inf")
    began, moves, took = spans[0][0] - EVERY, int((spans[-1][0] - spans[0][0]) / move), []
    for number in range(1, moves + 1):
        moved = began + number * move
        before = [ratio for at, ratio in spans if moved - min(1, move / 2) < at <= moved]
        wanted = SERVED * statistics.median(before or [0])
        later = (at for at, ratio in spans if moved < at <= moved + move and ratio >= wanted > 0)
        took.append(next(later, float("inf")) - moved)
    return statistics.median(took) if took else float("inf")
