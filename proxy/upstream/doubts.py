"""Lanes that owe replies and say nothing: is it they, or the server?

    suspect(lane) ─▶ a second connection, PING
        refused, or not answered by the host ─▶ the lane is dead
        accepted, and silent too             ─▶ the server is: all wait for it, as they would alone
        -BUSY, -LOADING                      ─▶ the server is at work, maybe for that lane
        answered, twice                      ─▶ the lane is dead: half open

Twice, because a server that wakes up may answer the second connection first, in the same turn. For
the second connection this is the pool that it came from (ports.Home).
Lanes.tick asks whether a suspect has spoken; how long a lane may be silent is the lane's to say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from ..errors import ProxyError, UpstreamDown, UpstreamNotReady, UpstreamRefused
from ..hot.lane import LaneState
from ..log import event
from .ask import Reply
from .handshake import NOT_READY
from .lane import Lane
from .lane_key import LaneKey

log = logging.getLogger(__name__)

AT_WORK: Final = (b"-BUSY", *NOT_READY)
# A second connection that has not come to anything after so many ticks is silent too.
TICKS: Final = 20


@dataclass(frozen=True, slots=True)
class Suspect:
    heard: int  # reads of the lane when it was suspected
    why: str  # what its slots are told, if it is dead
    hasty: bool  # only a new connection that is answered says so, none that cannot be made


class Second:
    """Whom the second connection is lent to (ports.Owner), so that it has one life."""

    def __init__(self, lost: Callable[[Lane], None]) -> None:
        self._lost = lost

    def lane_pushed(self, lane: Lane, frame: bytes) -> None: ...

    def lane_raw(self, lane: Lane, data: bytes) -> None: ...

    def lane_ends(self, lane: Lane) -> None: ...

    def lane_lost(self, lane: Lane, why: ProxyError) -> None:
        self._lost(lane)

    def lane_writable(self, lane: Lane) -> None: ...

    def lane_free(self) -> None: ...

    def lane_refused(self, why: ProxyError) -> None: ...


class Doubts:
    """``silent``: whether the server is known to accept connections and to say nothing."""

    def __init__(
        self,
        new: Callable[[Doubts, Second, LaneKey], Lane],
        start: Callable[[Coroutine[Any, Any, None]], object],
        address: str,
        speaks: Callable[[], None],
    ) -> None:
        """``speaks`` is called as a server that was silent is so no more."""
        self.silent = False
        self.down: ProxyError = UpstreamDown("one attempt was made")  # Home: there is no other
        self.paused = False
        self._new = new
        self._start = start
        self._address = address
        self._speaks = speaks
        self._key = LaneKey()  # one that may be asked PING
        self._suspects: dict[Lane, Suspect] = {}
        self._asked: list[Lane] = []  # of the suspects, before the second connection was opened
        self._lane: Lane | None = None  # the second connection
        self._answers = 0  # in a row
        self._ticks = 0

    def __repr__(self) -> str:
        return f"<Doubts suspects={len(self._suspects)} silent={self.silent}>"

    def suspect(self, lane: Lane, why: str, key: LaneKey, *, hasty: bool = False) -> None:
        """The lane has been silent for long enough; the key is one that may be asked PING."""
        before = self._suspects.get(lane)
        if before is None or before.heard != lane.heard or (before.hasty and not hasty):
            self._suspects[lane] = Suspect(lane.heard, why, hasty)
        self._key = key
        if self._lane is None:
            self._ask()

    def _ask(self) -> None:
        self._asked, self._answers, self._ticks = list(self._suspects), 0, 0
        self._lane = self._new(self, Second(self._lost), self._key)
        self._lane.ask(self._told, b"PING")

    def take(self, silent: bool) -> None:
        """Whether a connection that the host accepted is not answered by the server."""
        if silent == self.silent:
            return
        self.silent = silent
        if silent:
            event(log, logging.ERROR, "upstream is silent", upstream=self._address)
        else:
            event(log, logging.WARNING, "upstream speaks again", upstream=self._address)
            self._speaks()

    def tick(self) -> None:
        """Once a second: who has spoken is no suspect."""
        for lane, suspect in list(self._suspects.items()):
            if lane.heard != suspect.heard:
                self.take(False)
            if lane.heard != suspect.heard or lane.state is not LaneState.READY or not lane.waiting:
                del self._suspects[lane]
        self._ticks += 1
        if self._lane is not None and self._ticks > TICKS:
            self._over()
            self.take(True)
        if self.silent and self._lane is None and not self._suspects:
            self._ask()  # nobody else would notice that it speaks again

    def move(self) -> None:
        """It is about another server from now on."""
        self.close()
        self.silent = False

    def close(self) -> None:
        self._suspects.clear()
        self._over()

    def _told(self, reply: Reply) -> None:
        if isinstance(reply, ProxyError) or self._lane is None:
            return  # it came to its end, of which we hear otherwise, if it tells anything
        if reply.startswith(AT_WORK):
            self._over()
            self.take(True)
            return
        self._answers += 1
        if self._answers < 2:
            self._lane.ask(self._told, b"PING")
            return
        self._over()
        self.take(False)
        self._condemn()

    def _condemn(self, *, hasty: bool = True) -> None:
        """Give up the suspects that have said nothing since."""
        for lane in self._asked:
            suspect = self._suspects.get(lane)
            if suspect is None or (suspect.hasty and not hasty):
                continue
            del self._suspects[lane]
            if lane.heard == suspect.heard and lane.state is LaneState.READY:
                lane.lose(suspect.why)

    def _over(self) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.close()  # the next one must be a new connection too

    # --- What the second connection reports (ports.Home) --------------------------------------

    def start(self, lane: Lane) -> None:
        self._start(lane.run())

    async def may_track(self, key: LaneKey) -> bool:
        return False

    def suspected(self, lane: Lane, why: str) -> None: ...

    def lane_moved(self, lane: Lane) -> None: ...

    def lane_ready(self, lane: Lane) -> None: ...

    def lane_silent(self, lane: Lane) -> None:
        if lane is self._lane:
            self._over()
            self.take(True)

    def lane_down(self, lane: Lane, why: ProxyError) -> None:
        if lane is not self._lane:
            return
        self._lane = None
        if isinstance(why, UpstreamNotReady) and why.line.startswith(AT_WORK):
            self.take(True)
        else:
            self.take(False)
            self._condemn(hasty=isinstance(why, UpstreamNotReady))

    def lane_refused(self, lane: Lane, why: UpstreamRefused) -> None:
        if lane is self._lane:  # an answer
            self._lane = None
            self.take(False)
            self._condemn()

    def _lost(self, lane: Lane) -> None:
        if lane is self._lane:
            self._lane = None  # closed before it answered: another is asked
