"""One upstream connection. Owns its socket and the slots that wait on it.

                    send(data, slot)
    not READY ───────────┴────────── READY
    offline  [data, slot]...         out      [data]...  ─ flush, once per loop turn ─▶ socket
       │ sent when READY             waiting  [slot]...  ◀─ cut, head first ─────────── socket
       ▼ failed when DOWN or refused                        pushes ─▶ owner

A lane that dies fails the slots of ``waiting`` whose requests were sent (outcome unknown), but for
reads (repeats.py), and keeps the unsent ones, the last ``len(out)``, for its next connection. One
that is lent has an owner and one life. Never decides which requests take it: that is for others."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from ..errors import ProxyError, UpstreamDown, UpstreamLost, UpstreamRefused, is_mode_switch
from ..hot.answers import Slot
from ..hot.fills import Fill
from ..hot.lane import LaneState
from ..log import event
from ..resp.kernel import BROKEN
from ..resp.requests import encode
from .ask import AskSlot, Done
from .connecting import Connecting
from .deadline import Deadline
from .dial import Dial, Mute
from .lane_key import LaneKey, Use
from .offline import Offline
from .ports import Framing, Home, Listener, Owner
from .repeats import Repeats, reader_of
from .silence import Silence

log = logging.getLogger(__name__)


# Lanes whose sessions may as well go elsewhere.
OFTEN_HEAVY: Final = frozenset({Use.REQUESTS, Use.ASIDE, Use.TRACKED})


class Lane(Connecting):
    """A connection to the server and the requests that take it. LaneCore sends and receives while
    the connection stands, Connecting brings it about."""

    def __init__(
        self,
        number: int,
        key: LaneKey,
        dial: Dial,
        home: Home[Lane],
        *,
        offline_max: int,
        timeout_s: float,
        most_s: float | None = None,
        slow_s: float | None = None,
        owner: Owner[Lane] | None = None,
        bare: bool = False,
    ) -> None:
        super().__init__(key, dial, timeout_s=timeout_s, bare=bare)
        self.number = number
        self.owner = owner
        self.lent = owner is not None
        self.users = 0  # sessions that use this shared lane now
        self.idle_ticks = self.sent_before = 0  # the latter: slots, at the last tick
        self.patient = False  # a blocking command waits: silence is no sign of death
        self.waiting_for_room: list[Owner[Lane]] = []
        self.held_for: object = None  # not read from until this one reads, whoever else waits
        self.tunnel = False
        self.framing: Framing | None = None
        self.listener: Listener | None = None
        self.tainted = False  # holds state that cannot be undone: never lent again
        self.offline = Offline(offline_max)
        self._deadline = Deadline(self, lent=self.lent, most_s=most_s, slow_s=slow_s)
        self._silence = Silence(timeout_s, self._deadline.most_s)
        self._repeats = Repeats(self, self.offline, lent=self.lent, most_s=most_s)
        self._home = home

    def __repr__(self) -> str:
        kind = "lent" if self.lent else "shared"
        where = f"{self.number} {kind} {self.state.name} db={self.key.db}"
        return f"<Lane {where} waiting={len(self.waiting)}>"

    # --- Sending ------------------------------------------------------------------------------

    def send_later(self, data: bytes, slot: Slot) -> None:
        """Keep a request until the lane is READY, or fail it where that is known not to come."""
        down = self._home.down
        if self.state is LaneState.CLOSED:
            slot.fail(self._why, False)
        elif self.state is LaneState.DOWN and down is not None:
            slot.fail(down, False)
        else:
            self.offline.append(data, slot)
            self.choked = self.offline.over
            self.open()

    def send_part(self, data: bytes) -> None:
        """More bytes of a request whose slot was given with its first ones (lent lanes only)."""
        if self.state is LaneState.READY:
            if not self.out:
                self.call_soon(self.flush)
            self.out.append(data)
        elif self.offline:
            self.offline.extend_last(data)
            self.choked = self.offline.over

    def ask(self, done: Done, *args: bytes) -> None:
        """Send one request of the proxy itself; ``done`` gets the whole reply, or why none
        will come."""
        self._dial.ledger.note(args, self._loop.time())
        self.send(encode(args), AskSlot(done))

    # --- Life ---------------------------------------------------------------------------------

    def _become(self, state: LaneState) -> None:
        super()._become(state)
        self._home.lane_moved(self)

    def open(self) -> None:
        """See that a connection is there or on its way."""
        if self.state is LaneState.IDLE:
            self._become(LaneState.CONNECTING)
            if not self._running:
                self._running = True
                self._home.start(self)

    async def _may_track(self) -> bool:
        return await self._home.may_track(self.key)

    def _opened(self) -> None:
        """A connection stands: send what waited for it."""
        self._become(LaneState.READY)
        self._listen()
        self.keeps = self._repeats.wanted
        self.done = self.sent  # the handshake's own replies were counted too
        event(log, logging.DEBUG, "lane ready", lane=self.number, db=self.key.db, lent=self.lent)
        for data, slot in self.offline.take():
            self.send(data, slot)
        self._unchoke()
        if self.listener is not None:
            self.listener.opened()
        self._home.lane_ready(self)

    def _failed(self, attempt: int, error: Exception) -> None:
        """An attempt to connect failed: go on trying, or fail what waits."""
        why = (
            error
            if isinstance(error, ProxyError)
            else UpstreamDown(f"{self._dial.address}: {str(error) or type(error).__name__}")
        )
        if self.listener is not None:
            self.listener.failing(why)
        level = logging.WARNING if attempt in (1, self._dial.retry.attempts) else logging.DEBUG
        mute = isinstance(error, Mute)
        if mute:
            self._home.lane_silent(self)
            mute = self._home.silent  # which has been logged
        level = logging.DEBUG if mute else level
        event(log, level, "connect failed", lane=self.number, attempt=attempt, error=why)
        if mute:
            return
        if attempt < self._dial.retry.attempts and self._home.down is None:
            return
        self._home.lane_down(self, why)
        if self.lent:
            self._end(why)
            return
        if self.state is LaneState.CONNECTING:
            self._become(LaneState.DOWN)
        self._fail_offline(why)

    def _refuse(self, refused: UpstreamRefused) -> None:
        """The server will not have us: what waits gets its words; the next command asks again."""
        if self.state is LaneState.CLOSED:
            return
        level = logging.DEBUG if is_mode_switch(refused) else logging.WARNING
        event(log, level, "handshake refused", lane=self.number, error=refused)
        self._home.lane_refused(self, refused)
        if self.lent:
            self._end(refused)
            return
        self._become(LaneState.IDLE)
        self._fail_offline(refused)

    def _lost(self) -> None:
        """The connection of a READY lane is gone."""
        level, count = logging.DEBUG if self._short else logging.INFO, len(self.waiting)
        event(log, level, "lane lost", lane=self.number, waiting=count, error=self._why)
        if self.lent:
            self._end(self._why)
            return
        self._forgotten()
        waiting, self.waiting = self.waiting, deque()
        # The last slots belong to requests that did not leave: they wait for the next connection.
        unsent = [(data, waiting.pop()) for data in reversed(self.out)]
        self.out.clear()
        self.offline.put_back(unsent[::-1])
        self.offline.put_back(self._repeats.take(waiting, len(unsent), self._silence.silent_s))
        self._become(LaneState.CONNECTING if self.offline or self.users else LaneState.IDLE)
        self._fail(waiting, self._why)
        if not self.offline:
            self._unchoke()

    def _forgotten(self) -> None:
        """What the server remembered of this connection is gone with it."""
        self.tracking = False
        self.done = self.sent
        if self.listener is not None:
            self.listener.dropped()

    def _fail(self, slots: Iterable[Slot], why: ProxyError) -> None:
        """Fill slots whose replies will not come; the first may have had a part of its reply."""
        inside = self.halfway
        for slot in slots:
            slot.fail(why, inside)
            inside = False

    def _fail_offline(self, why: ProxyError) -> None:
        for _, slot in self.offline.take():
            slot.fail(why, False)
        self._repeats.forget()
        self._unchoke()

    def _end(self, why: ProxyError) -> None:
        """The lane is over: fail what waits, then tell the owner."""
        self._why = why
        self._become(LaneState.CLOSED)
        self._forgotten()
        if self.owner is not None:
            self.owner.lane_ends(self)
        waiting, self.waiting = self.waiting, deque()
        self.out.clear()
        self._fail(waiting, why)
        self._fail_offline(why)
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.lane_lost(self, why)

    def close(self) -> None:
        """End the lane for good. Whoever still waits on it is failed."""
        if self.state is LaneState.CLOSED:
            return
        self.owner = None
        self._abort()
        self._end(self._why)

    def lose(self, why: str) -> None:
        """Give the present connection up."""
        self._why = UpstreamLost(why)
        if self.wire is not None:
            self.wire.abort()

    def give_up(self, why: ProxyError) -> None:
        """End the lane; ``why`` is what its slots get, and its owner hears of it."""
        if self.state is not LaneState.CLOSED:
            self._abort()
            self._end(why)

    def tick(self) -> None:
        """Once a second: doubt a connection that owes replies and has been silent for long."""
        self._repeats.tick()
        owes = self.state is LaneState.READY and bool(self.waiting)
        owes = owes and not (self.patient or self.paused or self._home.paused)
        late = self._silence.too_long(owes=owes, heard=self.heard)
        if self._silence.past_all and (why := self._deadline.passed(self._silence.silent_s)):
            self.lose(why)
        elif late:
            self._home.suspected(self, f"no answer in {self._silence.limit_s:g} s")
        silent = self._home.silent
        late = self._silence.waits_too_long(waits=bool(self.offline), silent=silent)
        if late or (silent and self._silence.waited_past_all):
            self._waited()

    def _waited(self) -> None:
        """What waits for a connection has waited for as long as for an answer."""
        if self.wire is not None:
            self._home.lane_silent(self)  # accepted, and its handshake is not answered
        bound = self._silence.limit_s
        if self._home.silent:
            if not self._silence.waited_past_all:
                return
            bound = self._silence.most_s
        why = UpstreamDown(f"none in {bound:g} s")
        if self.lent:
            self.give_up(why)
        else:
            self._fail_offline(why)

    # --- Receiving (asyncio.Protocol) ---------------------------------------------------------

    def odd_received(self, data: bytes, pos: int) -> None:
        """Bytes of a tunnel or of a subscribed lane."""
        if not self.tunnel:
            self._framed(data, pos)
        elif self.owner is not None:
            self.owner.lane_raw(self, data[pos:])

    def unasked(self, data: bytes, pos: int) -> int:
        """Collect what no slot waits for, which can only be a push; the offset behind it."""
        if not self.frame and data[pos : pos + 1] != b">":
            self.lose("a reply that nobody asked for")
            return len(data)
        at, frame = self._take_frame(data, pos)
        if frame:
            self._pushed(frame)
        return at

    def _take_frame(self, data: bytes, pos: int) -> tuple[int, bytes]:
        """Where the frame at ``pos`` ends, and the frame if it is whole now; else it is kept for
        the bytes that follow. Loses the connection over bytes that are not RESP."""
        at = self.cutter.cut(data, pos, 1, True)
        self.frame.append(data[pos:at])
        if self.cutter.stop == BROKEN:
            self.lose("bytes that are not RESP")
            return len(data), b""
        if not self.cutter.done:
            return at, b""
        frame = b"".join(self.frame)
        self.frame.clear()
        return at, frame

    def _pushed(self, frame: bytes) -> None:
        if self.listener is not None:
            self.listener.pushed(frame)
        elif self.owner is not None:
            self.owner.lane_pushed(self, frame)
        elif self.waiting:
            # Only DEBUG PROTOCOL pushes on a lane without tracking: it belongs with the reply it
            # precedes.
            push = getattr(self.waiting[0], "push", None)
            if push is not None:
                push(frame)

    def enter_tunnel(self) -> None:
        """From now on bytes pass to the owner as they come, for as long as the lane lives."""
        self.tunnel = True
        self.patient = True
        self._listen()

    def leave_tunnel(self) -> None:
        """It was none: nothing is owed, and replies are told apart again."""
        self.tunnel = self.patient = False
        self.waiting.clear()
        self.done = self.sent
        self._listen()

    def subscribe(self, framing: Framing) -> None:
        self.framing = framing
        self._listen()

    def unsubscribe(self) -> None:
        self.framing = None
        self._listen()

    def _listen(self) -> None:
        """Take what comes as tunnel or subscriptions want it; the handshake is always plain
        replies."""
        odd = self.tunnel or self.framing is not None
        self.plain_framing = self.state is not LaneState.READY or not odd

    def _framed(self, data: bytes, pos: int) -> None:
        """A subscribed lane: look at every frame, whole."""
        while pos < len(data) and self.state is LaneState.READY:
            pos, frame = self._take_frame(data, pos)
            if not frame:
                return
            head = self.waiting[0] if self.waiting else None
            if self.framing.unasked(frame, head) if self.framing else frame.startswith(b">"):
                self._pushed(frame)
            elif head is None:
                self.lose("a reply that nobody asked for")
                return
            else:
                head.want -= 1
                if not head.want:
                    self.waiting.popleft()
                head.feed(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._why = UpstreamLost(str(exc) or type(exc).__name__)
        self.wire = None
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        if self.state is LaneState.READY:
            self._lost()
        else:  # in the handshake
            self._fail(list(self.waiting), UpstreamDown("connection lost during the handshake"))

    # --- Flow control -------------------------------------------------------------------------

    def pause_writing(self) -> None:
        self.choked = True

    def resume_writing(self) -> None:
        self._unchoke()

    def _unchoke(self) -> None:
        self.choked = False
        owners, self.waiting_for_room = self.waiting_for_room, []
        for owner in owners:
            owner.lane_writable(self)

    def pause_reading(self, reader: object) -> None:
        """Stop taking replies: their client does not take them. Only while nobody else waits
        here."""
        if not self.lent and (not self.waiting or not self._all_of(reader)):
            return
        if self.wire is not None and not self.paused:
            self.paused = True
            self.wire.pause_reading()

    def waits_for(self, reader: object) -> bool:
        """Whether a reply of this reader is still to come here."""
        return any(reader_of(slot) is reader for slot in self.waiting)

    def others_wait(self, lags: Callable[[object], bool]) -> bool:
        """Whether anybody waits here who takes what comes."""
        return not all(lags(reader_of(slot)) or isinstance(slot, Fill) for slot in self.waiting)

    def _all_of(self, reader: object) -> bool:
        return all(
            reader_of(slot) is reader or isinstance(slot, Fill)  # with a slot of its own behind it
            for slot in self.waiting
        )

    def hold_reading(self, reader: object) -> None:
        """Stop taking replies whoever waits here, until this reader reads: it has too much
        unread."""
        if self.wire is not None and not self.paused:
            self.held_for = reader
            self.paused = True
            self.wire.pause_reading()

    def resume_reading(self, reader: object = None) -> None:
        """Take replies again; the reader does, or is gone. None: another asks."""
        if self.held_for is not None and reader is not self.held_for:
            return
        self.held_for = None
        if self.wire is not None and self.paused:
            self.paused = False
            self.wire.resume_reading()

    def carry_heavy(self) -> None:
        """Large replies come here: until all that stands now is answered others go elsewhere."""
        if not self.lent and self.key.use in OFTEN_HEAVY:
            self.heavy = self.sent
