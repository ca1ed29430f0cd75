"""For how long a lane has owed a reply and said nothing.

    asked ─ look ─────── look ─ heard ─ look ─ answered all ─ look
              └── since ────────┘        └ since, if it owes still; of others nothing is known

Counted from the first look at which it owed: it may have been asked just before, however long it
had had nothing to say. So the silence is told too short by the time between two looks at most, and
never too long. Pure: lane.py looks, gated.py acts on it."""

from __future__ import annotations

from collections.abc import Iterable

from ..upstream.lane import Lane


class Silences:
    def __init__(self) -> None:
        self._since: dict[Lane, tuple[int, float]] = {}  # reads until then, and when

    def __repr__(self) -> str:
        return f"<Silences {len(self._since)} owe>"

    def look(self, lanes: Iterable[Lane], now: float) -> None:
        before = self._since
        self._since = {}
        for lane in lanes:
            if lane.owes:
                heard, since = before.get(lane, (-1, now))
                self._since[lane] = (lane.heard, since if heard == lane.heard else now)

    def of(self, lane: Lane, now: float) -> float:
        """Seconds."""
        heard, since = self._since.get(lane, (-1, now))
        return now - since if heard == lane.heard and lane.owes else 0.0
