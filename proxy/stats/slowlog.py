"""The commands that took long: the slowest of them, and a line in the log for each.

    began ─ queue ─▶ sent, nobody before it ─ upstream ─▶ answered        (a command of the server)
    began ─ upstream ─┬─ load ─┬─▶ answered                               (one of the proxy's own)

Pure but for the log. Who sees a command that was slow says so here, once (``note``); who that is:
process/slow.py and session/acts/own.py. Values are in none of it: session/telling.py sees to that.
Bounded: KEPT commands, and LINES of the log in a second."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from ..log import event
from ..resp.replies import Value

log = logging.getLogger(__name__)

KEPT: Final = 128
LINES: Final = 10


@dataclass(frozen=True, slots=True)
class Slow:
    """One command that was slow. Seconds; ``at``: when it ended, of the wall clock."""

    at: float
    seconds: float
    queue: float
    upstream: float
    load: float
    command: str  # as it may be shown
    peer: str
    name: str
    db: int
    client: int

    def reply(self) -> Mapping[str, Value]:
        """As STATS SLOWLOG tells it."""
        return {
            "time": int(self.at),
            "duration_us": _us(self.seconds),
            "queue_us": _us(self.queue),
            "upstream_us": _us(self.upstream),
            "load_us": _us(self.load),
            "command": self.command.encode(),
            "client": self.client,
            "addr": self.peer.encode(),
            "name": self.name.encode(),
            "db": self.db,
        }

    def record(self) -> dict[str, Any]:
        return asdict(self)


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def slowest(them: Iterable[Slow], most: int = KEPT) -> list[Slow]:
    return sorted(them, key=lambda one: one.seconds, reverse=True)[:most]


class SlowLog:
    """``wall``: seconds of the wall clock; ``now``: of one that only goes on."""

    def __init__(
        self,
        wall: Callable[[], float] = lambda: 0.0,
        now: Callable[[], float] = lambda: 0.0,
        threshold: float = 0.0,
    ) -> None:
        self.wall, self.now = wall, now
        self.slow = math.inf  # from so many seconds on a command is slow
        self.take(threshold)
        self.slowest: list[Slow] = []  # first the slowest
        self.count = 0
        self._second = -math.inf  # when the last lines were written
        self._lines = self._untold = 0

    def __repr__(self) -> str:
        return f"<SlowLog {self.count} of {self.slow:g} s>"

    def take(self, threshold: float) -> None:
        """What is slow from now on; 0: nothing."""
        self.slow = threshold or math.inf

    def note(self, one: Slow) -> None:
        """A command has ended that was slow."""
        self.count += 1
        self.slowest = slowest((*self.slowest, one))
        now = self.now()
        if now - self._second >= 1:
            self._second, self._lines = now, 0
        if self._lines == LINES:
            self._untold += 1
            return
        self._lines += 1
        untold = {"untold": self._untold} if self._untold else {}
        self._untold = 0
        event(
            log,
            logging.WARNING,
            "slow command",
            command=one.command,
            ms=round(one.seconds * 1000),
            queue_ms=round(one.queue * 1000),
            upstream_ms=round(one.upstream * 1000),
            load_ms=round(one.load * 1000),
            client=one.client,
            peer=one.peer,
            client_name=one.name,
            db=one.db,
            **untold,
        )

    def reset(self) -> None:
        self.slowest = []
