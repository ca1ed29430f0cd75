"""For how long a lane's requests wait for a server that says nothing: by what they are.

    command_timeout        a lane that clients share
    slow_command_timeout   lanes of scripts, of scans and fills in bulk, and those lent to a client
                           (EXEC may run a script); a shared lane, while the request that is next to
                           be answered is one whose work grows with the data
    neither                blocking commands: their lanes are ``patient``, and tick by nothing

Called by lane.py, once a second; how the silence is counted is silence.py's."""

from __future__ import annotations

from typing import Final

from ..resp.kernel import split
from .connecting import Connecting
from .lane_key import Use

USES: Final = frozenset({Use.SCRIPTS, Use.BULK})
# Of one such command a server with much data is busy for seconds.
SLOW: Final = frozenset(
    b"BGREWRITEAOF BGSAVE DEBUG FLUSHALL FLUSHDB KEYS MIGRATE RESTORE SAVE SDIFF SDIFFSTORE SINTER "
    b"SINTERSTORE SORT SORT_RO SUNION SUNIONSTORE ZDIFF ZDIFFSTORE ZINTER ZINTERSTORE ZUNION "
    b"ZUNIONSTORE".split()
)


class Deadline:
    """Of one lane. ``most_s`` is its bound in seconds, None where there is none."""

    def __init__(
        self, lane: Connecting, *, lent: bool, most_s: float | None, slow_s: float | None
    ) -> None:
        slow_s = most_s if slow_s is None else slow_s
        self._lane = lane
        self._slow_s = slow_s
        self.most_s = slow_s if lent or lane.key.use in USES else most_s

    def __repr__(self) -> str:
        return f"<Deadline most={self.most_s} slow={self._slow_s}>"

    def passed(self, silent_s: float) -> str:
        """Why a lane that has been silent for longer than ``most_s`` is given up; empty: it is
        not yet."""
        bound = self._slow_s if self._is_slow() else self.most_s
        return f"no answer in {bound:g} s" if bound is not None and silent_s > bound else ""

    def _is_slow(self) -> bool:
        """Whether the request that is next to be answered may take long, as far as it is kept."""
        lane = self._lane
        sent = len(lane.waiting) - len(lane.out)
        kept = lane.kept_before + lane.kept
        if not 0 < sent <= len(kept):
            return False
        return may_be_slow(kept[-sent], lane.waiting[0].want)


def may_be_slow(data: bytes, want: int) -> bool:
    """Whether the first of so many last requests of a piece may take long."""
    names: list[bytes] = []
    pos = 0
    while pos < len(data):
        words, pos = split(data, pos)
        if words is None or not words:
            return False
        names.append(words[0].upper())
    return names[len(names) - want] in SLOW if 0 < want <= len(names) else False
