"""Watches what lanes owe clients, and tells the slow log of what took long.

    every quarter of ``slowlog``:  lanes ─▶ requests that were there at a look so long ago
                                              └▶ followed, until they are answered ─▶ note

No request costs anything for it: no clock is asked while requests pass, and lanes where nothing
waits are passed over. So times are right to within a quarter of ``slowlog`` or two. What waits
behind others of its lane, or for the lane's connection, is in the queue; at the head it is the
server's. What may block, subscribes, or uploads as slowly as its client sends is not watched. The
commands of the proxy's own are timed where they run (session/acts/own.py)."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from ..hot.answers import RunSlot, Slot
from ..hot.fills import WriteSlot
from ..hot.lane import LaneState
from ..hot.parts import Part
from ..session.context import Context
from ..session.reasons import HOLD_GRANT, HOLD_UPLOAD, HOLDS_WAITING
from ..session.session import Session
from ..session.slow import noted
from ..session.telling import told, words_in
from ..stats.slowlog import SlowLog
from ..upstream.lane import Lane
from ..upstream.lanes import Lanes

LEAST_S: Final = 0.005  # between two looks
MOST_S: Final = 0.25
PER_LANE: Final = 16  # requests of one lane that are followed at once
FOLLOWED: Final = 256  # and of all
MARKS: Final = 256
_PASSED_OVER: Final = HOLDS_WAITING | HOLD_UPLOAD | HOLD_GRANT


def pause(slow: float) -> float:
    """Seconds between two looks."""
    return MOST_S if slow == math.inf else min(MOST_S, max(LEAST_S, slow / 4))


@dataclass(slots=True)
class Followed:
    """A request that is slow, and not answered yet. ``seen``: at the last look."""

    session: Session
    slot: Slot
    lane: Lane
    command: str
    began: float
    seen: float
    queue: float = 0.0
    upstream: float = 0.0

    def spend(self, now: float, *, first: bool) -> None:
        if first:
            self.upstream += now - self.seen
        else:
            self.queue += now - self.seen
        self.seen = now


@dataclass(slots=True)
class _Seen:
    """What was seen of a lane. ``marks``: how many slots it had sent, and when; ``head``: what
    stands at its head since ``since``; ``offline``: what waits for it, and since when."""

    marks: deque[tuple[int, float]] = field(default_factory=deque[tuple[int, float]])
    head: tuple[int, int] = (-1, 0)
    since: float = 0.0
    offline: dict[int, tuple[Slot, float]] = field(default_factory=dict[int, tuple[Slot, float]])

    def mark(self, lane: Lane, now: float) -> None:
        marks = self.marks
        if not marks or marks[-1][0] != lane.sent:
            if len(marks) == MARKS:
                marks.pop()  # those are taken for younger than they are
            marks.append((lane.sent, now))
        while marks and marks[0][0] <= lane.done:
            marks.popleft()
        head = (lane.done, lane.waiting[0].want)
        if head != self.head:
            self.head, self.since = head, now

    def old(self, lane: Lane, by: float) -> Iterable[tuple[int, float]]:
        """The places in the lane's queue of what was there by then, each with when it was seen."""
        at = 0
        for sent, when in self.marks:
            if when > by:
                return
            while at < sent - lane.done:
                yield at, when
                at += 1


class SlowWatch:
    """``pools``: where the lanes are; ``now``: seconds, monotonic."""

    def __init__(
        self,
        pools: Callable[[], Sequence[Lanes]],
        context: Context,
        now: Callable[[], float],
    ) -> None:
        self._pools = pools
        self._context = context
        self._now = now
        self._lanes: dict[Lane, _Seen] = {}
        self._followed: dict[int, Followed] = {}  # by the identity of the slot, which is held

    def __repr__(self) -> str:
        return f"<SlowWatch lanes={len(self._lanes)} followed={len(self._followed)}>"

    @property
    def _log(self) -> SlowLog:
        return self._context.slow

    async def run(self) -> None:
        """For as long as the process serves."""
        while True:
            await asyncio.sleep(pause(self._log.slow))
            if self._log.slow < math.inf or self._followed:
                self.look(self._now())

    def look(self, now: float) -> None:
        """Follow what has become slow, and tell of what is answered."""
        self._end(now)
        lanes: dict[Lane, _Seen] = {}
        by = now - self._log.slow
        for pool in self._pools():
            for lane in pool.every():
                if not lane.waiting and not lane.offline:
                    continue
                seen = lanes[lane] = self._lanes.get(lane) or _Seen()
                if lane.waiting and lane.state is LaneState.READY:
                    seen.mark(lane, now)
                    self._look_at_sent(lane, seen, by, now)
                if lane.offline:
                    self._look_at_unsent(lane, seen, by, now)
        self._lanes = lanes

    def _end(self, now: float) -> None:
        for one in list(self._followed.values()):
            waiting = one.lane.waiting
            first = one.lane.state is LaneState.READY and bool(waiting) and waiting[0] is one.slot
            answered = one.slot.want <= 0
            # What is answered was at the head, unless all of its lane was.
            one.spend(now, first=first or (answered and one.lane.state is LaneState.READY))
            if answered or one.session.closed:
                del self._followed[id(one.slot)]
                seconds = one.queue + one.upstream
                noted(one.session, one.command, seconds, queue=one.queue, upstream=one.upstream)

    def _look_at_sent(self, lane: Lane, seen: _Seen, by: float, now: float) -> None:
        for at, began in islice(seen.old(lane, by), PER_LANE):
            if at >= len(lane.waiting):
                break
            slot = lane.waiting[at]
            since = min(max(seen.since, began), now) if at == 0 else now
            self._follow(lane, slot, began, now, since, sent_as(lane, at))

    def _look_at_unsent(self, lane: Lane, seen: _Seen, by: float, now: float) -> None:
        first = list(islice(lane.offline, PER_LANE))
        seen.offline = {id(slot): seen.offline.get(id(slot)) or (slot, now) for _, slot in first}
        for data, slot in first:
            _, began = seen.offline[id(slot)]
            if began <= by:
                self._follow(lane, slot, began, now, now, data)

    def _follow(
        self, lane: Lane, slot: Slot, began: float, now: float, since: float, data: bytes | None
    ) -> None:
        """``since``: when it came to the head of the lane."""
        if id(slot) in self._followed or len(self._followed) == FOLLOWED:
            return
        session = session_of(slot)
        if session is None or session.berth.holds & _PASSED_OVER:
            return
        alone = session.head is session.tail and getattr(slot, "count", 1) == 1
        request = session.last if alone or data is None else data
        words = words_in(request, 0 if request is session.last else _answered(slot, data))
        command = told(words, self._context.table, self._context.customs)
        self._followed[id(slot)] = Followed(
            session, slot, lane, command, began, now, queue=since - began, upstream=now - since
        )


def session_of(slot: Any) -> Session | None:
    """Who waits for the replies; None: the proxy itself."""
    for _ in range(3):  # a part of a run of GETORSETs stands for a place, which has a place
        session = getattr(slot, "session", None)
        if isinstance(session, Session):
            return session
        slot = getattr(slot, "place", None)
    return None


def sent_as(lane: Lane, at: int) -> bytes | None:
    """The bytes that a slot of the lane waits for, where they are kept."""
    slot = lane.waiting[at]
    if isinstance(slot, Part):
        return slot.data
    pieces = [*lane.kept_before, *lane.kept, *lane.out] if lane.keeps else []
    behind = len(lane.waiting) - at
    return pieces[-behind] if behind <= len(pieces) else None


def _answered(slot: Slot, data: bytes | None) -> int:
    """How many requests of the slot's have been answered, whose own replies these are."""
    if isinstance(slot, Part) or type(slot) is RunSlot or type(slot) is WriteSlot:
        return slot.count - slot.want
    return 0 if data is None else max(0, data.count(b"\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n") * 2)
