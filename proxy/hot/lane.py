# cython: annotation_typing=False, language_level=3
"""What happens to every request that goes to the server and to every reply that comes.

See upstream/lane.py for the drawing and for everything that is not every request: Lane derives
from LaneCore, and methods that raise NotImplementedError are its."""

from __future__ import annotations

# Names with _ are C functions, which the other files of this room call too.
# pyright: reportPrivateUsage=false
import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from ..errors import ProxyError
from ..resp.kernel import BROKEN, PUSH, Cutter
from .answers import NEVER, Answers, RunSlot, Slot


class LaneState(Enum):
    IDLE = auto()  # no connection and nothing to send
    CONNECTING = auto()  # dialling, shaking hands, or between two attempts
    READY = auto()
    DOWN = auto()  # the retry rule is exhausted: fails at once, tried every 2 s
    CLOSED = auto()


READY, CLOSED = LaneState.READY, LaneState.CLOSED

# A read of this size is one turn's: libuv would go on with up to 32 of them before anybody else.
TURN_BYTES = 128 * 1024

# Of what was sent and is not answered, so many bytes are kept to be asked again, and as many more.
KEPT_BYTES = 1024 * 1024

# C integers in the compiled form (lane.pxd), for the comparisons of every reply.
_PUSH, _BROKEN, _TURN_BYTES, _KEPT_BYTES = PUSH, BROKEN, TURN_BYTES, KEPT_BYTES


class PartCore(RunSlot):
    """A run whose replies are looked at when all of them are there (parts.py)."""

    def __init__(self, session: Answers, want: int) -> None:
        super().__init__(session, want)
        self.errors = 0  # replies that are errors


class Router:
    """What takes the requests of a lane that stands for the lanes of several servers (parts.py)."""

    def __init__(self) -> None:
        self.choked = False  # what was sent last met a lane that takes no more for now
        self.owing: int = 0  # replies

    def _route(self, data: bytes, place: Slot) -> None:
        """Send whole requests, and have their place filled in order."""
        raise NotImplementedError

    def look(self, part: Any) -> None:
        """Some replies of a Part (parts.py), which are all here, are errors."""
        raise NotImplementedError

    def lost(self, part: Any, why: ProxyError) -> None:
        """Replies of a Part will not come."""
        raise NotImplementedError

    def freshen(self) -> None:
        """Somebody wants to read near, and the lane has not yet answered anything new enough."""
        raise NotImplementedError


class LaneCore:
    """Requests out, replies to the slot at the head."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self.state = LaneState.IDLE
        self.waiting: deque[Slot] = deque()
        self.out: list[bytes] = []
        self.wire: asyncio.Transport | None = None
        self.cutter = Cutter()
        self.frame: list[bytes] = []  # the parts of a push that came in pieces
        self.heard = 0  # reads from the socket, for tick()
        self.paused = False  # not reading: the only client that waits does not read
        self.silent = False  # known to say nothing: it may be half open
        self.choked = False  # takes no more for now: see Owner.lane_writable
        self.flush_deferred = False  # the flush was put off by a turn
        self.tracking = False  # the server tells here of changes to what is read here
        self.sent = 0  # slots that were sent, and those that were answered,
        self.done = 0  # in the same order
        # Until so many are answered large replies are on their way: others go elsewhere.
        self.heavy = 0
        # Replies are told apart by their ends alone: no tunnel, no subscriptions.
        self.plain_framing = True
        # What was sent lately, in its pieces, the newest at the end: at least what is not answered,
        # but for more than KEPT_BYTES. upstream/repeats.py says what for.
        self.keeps = False
        self.kept: list[bytes] = []
        self.kept_before: list[bytes] = []  # until ``kept_to`` is answered
        self.kept_to = 0
        self.kept_size = 0
        # Batches that leave until one is timed, and until which slot is answered one is; 0: none.
        self.countdown = NEVER
        self.timed_to = 0
        self.call_soon = call_soon
        self.router: Router | None = None  # has connections of its own, and this lane none

    def _send(self, data: bytes, slot: Slot) -> None:
        """Queue whole requests and the slot that waits for their replies."""
        if self.state is not READY:
            self.send_later(data, slot)
            return
        if self.router is not None:
            if self.paused:
                self.resume_reading()
            self.router.choked = False
            self.router._route(data, slot)
            # Its own sender waits, and nobody whose requests go to other nodes.
            self.choked = self.router.choked
            return
        # One write per loop turn carries what all sessions sent: this is what cuts the upstream's
        # CPU to a third (tests.bench, upstream column at P=1).
        if not self.out:
            self.call_soon(self.flush)
        self.out.append(data)
        self.waiting.append(slot)
        self.sent += 1
        if self.paused:
            self.resume_reading()

    def send(self, data: bytes, slot: Slot) -> None:
        self._send(data, slot)

    def flush(self) -> None:
        wire = self.wire
        if self.out and wire is not None and self.state is READY:
            if not self.flush_deferred and len(self.waiting) > len(self.out):
                # Others are on their way already: one more look at the clients makes the batch
                # a sixth larger, and throughput a tenth (tests.bench, P=1, 50 connections).
                self.flush_deferred = True
                self.call_soon(self.flush)
                return
            self.flush_deferred = False
            data = b"".join(self.out) if len(self.out) > 1 else self.out[0]
            wire.write(data)
            self.countdown -= 1
            if self.countdown <= 0:
                self.time()
            if self.keeps:
                self._keep(len(data))
            else:
                self.out.clear()

    def _keep(self, size: int) -> None:
        """Keep the pieces that leave now: two pages, turned when all of the older is answered."""
        out = self.out
        if self.done >= self.kept_to:
            # The list itself: copied it would cost a GET alone on its lane 500 instructions more
            # of 17,000 (callgrind).
            self.kept_before = self.kept
            self.kept = out
            self.kept_size = size
            self.kept_to = self.sent - len(out)
            self.out = []
        else:
            self.kept.extend(out)
            self.kept_size += size
            out.clear()
        if self.kept_size > _KEPT_BYTES:
            self.forget_kept()

    def forget_kept(self) -> None:
        """Keep nothing of what has been sent until now."""
        self.kept.clear()
        self.kept_before.clear()
        self.kept_size = 0
        self.kept_to = self.sent

    def data_received(self, data: bytes) -> None:
        self.heard += 1
        if len(data) >= _TURN_BYTES:
            self.rest_a_turn()
        if not self.plain_framing:
            self.odd_received(data, 0)
            return
        pos = 0
        end = len(data)
        cutter = self.cutter
        waiting = self.waiting
        while pos < end:
            if self.frame or not waiting:
                pos = self.unasked(data, pos)
                continue
            if cutter.places:
                cutter.places.clear()  # of the last cut, or of a push
            slot = waiting[0]
            if isinstance(slot, RunSlot):
                run = slot
                plain = type(run) is RunSlot or isinstance(run, PartCore)
                if plain and run.marks is not None:
                    at = self._cut_marked(data, pos, run)
                else:
                    at = cutter.cut(data, pos, run.want, False)
                    if plain and run.reads:
                        # Each value and each nil once, in the read that completes it. What goes
                        # another way is not counted: MutedSlot, uploads, MULTI, subscribed lanes.
                        run.session.turn.hits += cutter.bulks
                        run.session.turn.misses += cutter.nulls
                    run.want -= cutter.done
                    if cutter.errors:
                        if isinstance(slot, PartCore):  # counted when it is known what is final
                            part = slot
                            part.errors += cutter.errors
                        else:
                            run.session.turn.errors += cutter.errors
                if at > pos:
                    if not run.want:
                        waiting.popleft()
                        self.done += 1
                    if plain and run.flat and cutter.places:
                        run.feed(cutter.flat(data, pos, at))
                    else:
                        run.feed(data if at - pos == end else cutter.part(data, pos, at))
                    pos = at
            else:
                at = cutter.cut(data, pos, slot.want, False)
                if at > pos:
                    slot.want -= cutter.done
                    if not slot.want:
                        waiting.popleft()
                        self.done += 1
                    slot.feed(data if at - pos == end else cutter.part(data, pos, at))
                    pos = at
            if self.waiting is not waiting:
                return  # the slot just fed has closed the lane
            if cutter.stop == _PUSH:
                pos = self.unasked(data, pos)
            elif cutter.stop == _BROKEN:
                self.lose("bytes that are not RESP")
                return
            if not self.plain_framing:
                # The reply just handed over changed how this connection speaks.
                if pos < end:
                    self.odd_received(data, pos)
                return
        if self.timed_to and self.done >= self.timed_to:
            self.timed()

    def _cut_marked(self, data: bytes, pos: int, run: RunSlot) -> int:
        """Cut the replies of a run one by one, for only some of them are reads of strings; the
        offset reached."""
        cutter, turn, marks, count = self.cutter, run.session.turn, run.marks, run.count
        assert marks is not None
        end, want = len(data), run.want
        while pos < end and want:
            read = marks[count - want]
            pos = cutter.cut(data, pos, 1, False)
            if cutter.errors:
                if isinstance(run, PartCore):
                    part = run
                    part.errors += 1
                else:
                    turn.errors += 1
            if read:
                turn.hits += cutter.bulks
                turn.misses += cutter.nulls
            if not cutter.done:
                break
            want -= 1
        run.want = want
        return pos

    def send_later(self, data: bytes, slot: Slot) -> None:
        raise NotImplementedError

    def odd_received(self, data: bytes, pos: int) -> None:
        raise NotImplementedError

    def unasked(self, data: bytes, pos: int) -> int:
        raise NotImplementedError

    def lose(self, why: str) -> None:
        raise NotImplementedError

    def time(self) -> None:
        """What has just left is to be timed."""
        raise NotImplementedError

    def timed(self) -> None:
        """It is answered."""
        raise NotImplementedError

    def rest_a_turn(self) -> None:
        raise NotImplementedError

    def resume_reading(self) -> None:
        raise NotImplementedError
