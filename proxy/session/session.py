"""One client's connection: its unread bytes, its queue of slots, and when it goes on.

    client bytes ─▶ rest ─▶ scan ─ run of PLAIN ─▶ lane.send(slice, slot)  the run joins the queue:
                             │                                             head ▶ slot ▶ slot ◀ tail
                             └─ anything else ─▶ acts (may stall)          filled from the front

Which lane its requests take is berth.py's, which stop the kernel table/'s, what they do is acts/'.
Bounds: ``window`` replies outstanding (some 4 MB, by the sizes seen), READ_AHEAD unparsed bytes
while stalled, and nothing is sent while the client does not read or the lane takes no more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from ..cluster.written import Written
from ..errors import MAX_CLIENTS, MULTI_FULL, ProtocolError, ProxyError
from ..hot.answers import STALL_CLIENT, STALL_WINDOW, Answers, Slot
from ..hot.lane import LaneCore, LaneState
from ..hot.near import NearReading
from ..hot.reading import LAST_MAX
from ..hot.sending import MUTE_SKIP, NONE_WRITTEN
from ..log import event
from ..resp.inline import blank_lines
from ..resp.modes import Mode
from ..resp.requests import Partial, parse_request
from ..resp.routes import Route
from ..table.route import LEAVES_NOTHING, refined
from ..upstream.dial import CLIENT_KEEP_ALIVE, keep_alive
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey
from .berth import Berth
from .clients import Client, Traffic
from .conducted import Acts
from .context import Context
from .ending import end_first, end_now, rest_a_turn, watch_upload
from .identity import Identity
from .reasons import (
    HOLD_BLOCKED,
    HOLD_GRANT,
    HOLD_MULTI,
    HOLD_TUNNEL,
    HOLD_UPLOAD,
    HOLDS_WAITING,
    STALL_DRAIN,
    STALL_END,
    STALL_LANE,
    STALL_REPLY,
    STALL_TURN,
    STALLS_TO_DRAIN,
)
from .slots import PeekSlot, line_of
from .timing import TimedSession
from .traffic import traffic_of
from .transaction import Transaction
from .upload import Gather, Upload, plan
from .writes import begin_write

log = logging.getLogger(__name__)

READ_AHEAD: Final = 256 * 1024
BLOCKED_READ_AHEAD: Final = 16 * 1024 * 1024
WRITE_HIGH: Final = 1024 * 1024
WRITE_LOW: Final = 256 * 1024


class Session(TimedSession):
    __slots__ = (
        "_acts", "_ending", "_reading", "_upload", "berth", "context", "eof", "identity",
        "transaction", "written",
    )  # fmt: skip

    def __init__(self, context: Context, acts: Acts, lane_key: LaneKey) -> None:
        super().__init__(context.table.maps, Mode.FAR, NearReading(context.near), context.turn)
        self.context = context
        self.identity = Identity(context.turn.now)
        self.transaction = Transaction()
        self.berth = Berth(self, lane_key)
        self.eof = False  # the client has said that it sends no more
        self._acts, self.own = acts, acts.own
        self._ending = False  # the process stops
        self._reading = True
        self._upload: Upload | None = None
        self.written: Written | None = None  # where reads may go to replicas

    def __repr__(self) -> str:
        state = f"owed={self.owed} stalls={self.stalls} holds={self.berth.holds}"
        return f"<Session {self.identity.id} db={self.berth.lane_key.db} {state}>"

    # --- The client's side (asyncio.Protocol) ---------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have asyncio.Transport's methods, not its class.
        self.wire = wire = cast(asyncio.Transport, transport)
        self.identity.locate(wire)
        self.berth.choose_mode()
        keep_alive(wire, CLIENT_KEEP_ALIVE)
        wire.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        if not self.context.clients.join(self):
            self.write(MAX_CLIENTS)
            self.close()

    def odd_received(self, data: bytes) -> None:
        """Bytes of a tunnel or of a large request."""
        if self.berth.holds & HOLD_TUNNEL:
            self.berth.through(data)
        else:
            at = self._upload_more(data)
            if at < len(data):
                self.data_received(data[at:])

    def eof_received(self) -> bool:
        """The client sends no more: what it asked is still answered, unless it waits for the
        future, or for something that it could not give back."""
        self.eof = True
        waits = self.berth.holds & (HOLDS_WAITING | HOLD_UPLOAD)
        waits |= self.berth.holds & HOLD_GRANT and not self.rest
        if waits or (self.head is None and not (self.rest and self.stalls)):
            return False
        self.at_drain = True
        return self.wire is None or self.wire.can_write_eof()  # TLS ends both ways at once

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.wire = None
        self.take_rest()
        self.berth.leave()
        self.context.clients.leave(self)

    def pause_writing(self) -> None:
        self.stalls |= STALL_CLIENT
        self.berth.weight.lag()

    def resume_writing(self) -> None:
        self.berth.weight.keep_up()
        self.resume(STALL_CLIENT)

    def weigh(self) -> None:
        self.berth.weight.weigh()

    def stop_reading(self) -> None:
        """Let the client wait in its own socket buffer."""
        self._reading = False
        if self.wire is not None:
            self.wire.pause_reading()

    def start_reading(self) -> None:
        self._reading = True
        if self.wire is not None:
            self.wire.resume_reading()

    def rest_a_turn(self) -> None:
        if self.wire is not None and self._reading:
            rest_a_turn(self.wire, lambda: self._reading)

    # --- Requests ---------------------------------------------------------------------------------

    def keep(self, data: bytes) -> None:
        """Hold unparsed bytes, within a bound."""
        if self.stalls & STALL_END:
            return  # nobody reads them any more
        self.rest = data
        self.gathered = len(data)
        if not self.stalls and self.mode == Mode.LOCKED:
            self.special(data, 0, Route.ODD)  # a request that is not whole may be too large already
        # A blocked client's end must be seen, and it only shows behind what it sent before.
        bound = BLOCKED_READ_AHEAD if self.berth.holds & HOLD_BLOCKED else READ_AHEAD
        if self.stalls and len(data) > bound and self._reading and self.wire is not None:
            self.stop_reading()

    def special(self, data: bytes, pos: int, route: int) -> int:
        """Act on a request that is no PLAIN one; the offset behind it, -1: when more has come."""
        if self.written is not None:
            self.written.wrote_any()
        if data[pos] in b"\r\n" and (blank := blank_lines(data, pos)):
            return pos + blank
        shortcut = self._acts.shortcuts.get(route)
        behind = shortcut(self, data, pos) if shortcut is not None else 0
        if behind:
            return behind
        follows = self.berth.sending and route == Route.CUSTOM  # acts/own.py says whether it may
        if self.mode in (Mode.TRACKED, Mode.OWN) and not follows:
            self.stall(STALL_DRAIN)
            return -1
        try:
            request = parse_request(data, pos, self.mode == Mode.LOCKED, self.context.dialect)
        except ProtocolError as error:
            self.context.clients.refusals.told(error, self.identity.peer, self.active)
            self.say(error.line)
            self.context.offenders.end(self)
            return -1
        if isinstance(request, Partial):
            return self._incomplete(data, pos, route, request.need)
        if not request.args:
            return request.end
        last, self.last = self.last, data[pos : min(request.end, pos + LAST_MAX)]
        if self._act(request.args, route):
            return request.end
        self.last = last  # not yet: it is offered again
        return -1

    def _act(self, args: list[bytes], route: int) -> bool:
        """Do what the request says; False: not now, or never."""
        named = Route(route)
        if route <= Route.PLAIN:  # it was not canonical: its name has not been looked up yet
            table = self.context.table
            routes = table.maps[Mode.NEAR] if self.mode == Mode.LOCKED else self.routes
            named = Route(routes.get(args[0]))
        named = refined(named, args)
        try:
            return self.counted(args, self._acts.conduct(self, named, args))
        except ProxyError as refused:
            # It got no lane of its own. What follows was meant for the state that it asked for.
            self.say(refused.line)
            if named not in LEAVES_NOTHING:
                self.stall(STALL_END)
            return True
        except Exception:
            # A defect of ours must cost this client its connection, and nobody else anything.
            log.exception("a request failed")
            self.abort("a defect in the proxy")
            return False

    def _incomplete(self, data: bytes, pos: int, route: int, need: int) -> int:
        """A request that is not whole: stream it, or gather it until it is."""
        locked, holding = self.mode == Mode.LOCKED, bool(self.berth.holds)
        todo = plan(self.context.table, data, pos, route, locked=locked, holding=holding)
        if isinstance(todo, Gather):
            self.need = min(need, todo.most + 1)
            return -1
        if todo is not None:
            return self.upload(data, pos, todo.keys)
        self.say(ProtocolError("request too large for a command of the proxy").line)
        self.stall(STALL_END)
        return -1

    def upload(self, data: bytes, pos: int, keys: list[bytes] | None = NONE_WRITTEN) -> int:
        """Stream the request that begins at pos on a lane of our own; the offset reached. It
        writes these keys, None: any."""
        if self.written is not None:
            self.written.wrote_any()
        upload = Upload(data, pos)
        if not upload.canonical:
            # A server might frame it otherwise than we: it is gathered, and sent as we read it.
            self.need = len(data) - pos + 1
            return -1
        try:
            if self.queued_bytes > self.context.allowance.multi:
                raise ProxyError(MULTI_FULL.rstrip())  # what follows is not to be had any more
            if not self.berth.pin():
                return pos
        except ProxyError as refused:
            self.say(refused.line)
            self.stall(STALL_END)
            return -1
        lane = self.berth.lane
        assert lane is not None
        self.berth.holds |= HOLD_UPLOAD
        lane.patient = True
        self.uploading(data[pos:], LAST_MAX)
        self._upload = upload
        self.odd = True
        if self.berth.holds & HOLD_MULTI and keys is None:
            self.transaction.keys = None
        if keys:
            begin_write(self.context, self.berth, keys)
        self.forward(data[pos:], keys=keys)
        if lane.state is not LaneState.READY and not self.stalls & STALL_LANE:
            self.wait_for(lane)  # rather in the client's memory than in ours
        return len(data)

    def _upload_more(self, data: bytes) -> int:
        """More of a large request; the offset behind what belongs to it."""
        lane, upload = self.berth.lane, self._upload
        assert lane is not None
        assert upload is not None
        if not upload.canonical:
            return len(data)
        at = upload.more(data, lane)
        self.queued_bytes += at if self.queued >= 0 else 0
        if not upload.canonical:
            return at
        if upload.whole:
            self._upload = None
            self.odd = False
            self.berth.holds &= ~HOLD_UPLOAD
            lane.patient = bool(self.berth.blocking)
        elif lane.choked:
            self.wait_for(lane)
        return at

    def overfull(self, count: int) -> bool:
        return self.context.allowance.refuses(self, count)

    def yield_turn(self) -> None:
        """Let other clients have their turn."""
        self.stall(STALL_TURN)
        asyncio.get_running_loop().call_soon(self.resume, STALL_TURN)

    def attach(self) -> LaneCore:
        return self.berth.attach()

    def open_tracked(self) -> None:
        """See that the tracked lane is there or on its way, and the space that it fills."""
        lane = self.berth.find_tracked()
        if self.near.space is not None or not self.near.again:
            lane.open()

    def wait_for(self, lane: LaneCore) -> None:
        self.berth.wait_for(lane)

    # --- What acts use, beside SessionCore's (Conducted) ------------------------------------------

    @property
    def answers(self) -> Answers:
        """The queue, for the slots that are to stand in it."""
        return self

    @property
    def client(self) -> Client:
        """The session as CLIENT shows it."""
        return self

    @property
    def cut(self) -> bool:
        """Whether the connection is ending already."""
        return self.wire is None or self.wire.is_closing()

    @property
    def traffic(self) -> Traffic:
        return traffic_of(self, READ_AHEAD)

    def send(self, data: bytes, slot: Slot, lane: Lane | None = None) -> None:
        """Send requests whose replies a slot waits for, which has its place already or needs
        none."""
        lane = lane or self.berth.lane or self.berth.attach()
        lane.send(data, slot)
        if lane.choked:
            self.wait_for(lane)

    def peek(
        self,
        data: bytes,
        seen: Callable[[bytes], bytes],
        lane: Lane | None = None,
        lost: Callable[[ProxyError], bytes] = line_of,
    ) -> None:
        """Send one request and look at its reply before the client does."""
        self.near.elsewhere()
        slot = PeekSlot(self, seen, lost, bool(self.mute))
        self.mute &= ~MUTE_SKIP
        self.take_place(slot)
        self.send(data, slot, lane)

    def say(self, text: bytes, near_bytes: int = 0) -> None:
        """An answer of our own, in its place; of near values their size, which is bounded."""
        if self.mute:
            self.mute &= ~MUTE_SKIP
        else:
            self.answer(text)
            self.count_near(near_bytes)

    def stall(self, reason: int) -> Callable[[], None]:
        """Parse no further until what is returned is called. STALL_END: never, and close when all
        that is outstanding has been answered."""
        self.stalls |= reason
        if reason & STALLS_TO_DRAIN:
            self.at_drain = True
        if reason & STALL_END:
            self.take_rest()
            if self.head is None:
                self.close()
        return lambda: self.resume(reason)

    # --- States -----------------------------------------------------------------------------------

    def drained(self) -> None:
        """Nothing is outstanding: a lane that nothing holds goes back, what waited for this goes
        on."""
        self.at_drain = False
        if self.closed:
            return
        self.berth.settle()
        if self.stalls & STALL_END or (self.eof and not self.rest):
            self.close()
            return
        self.at_drain |= self.eof
        self.resume(STALL_DRAIN | STALL_WINDOW)

    def resume(self, reason: int) -> None:
        """Parse on, unless something else is in the way."""
        self.stalls &= ~reason
        if self.stalls or self.parsing or self.closed:
            return
        if self.rest:
            rest = self.take_rest()
            if self.odd:
                self.odd_received(rest)
            else:
                self.parse(rest, 0)
        if self.stalls or self.closed:
            return
        if not self._reading and self.wire is not None:
            self.start_reading()
        if self.eof and self.head is None:
            self.close()

    def close(self) -> None:
        """Close when what was written has left."""
        if self.wire is not None:
            self.stalls |= STALL_END
            self.flush()
            if self._ending:
                wire, self.wire, self.closed = self.wire, None, True
                end_first(wire)
                self.berth.leave()  # at once: what it waits for is for others now
            else:
                self.wire.close()

    def abort(self, why: str) -> None:
        """Cut the connection: what the client has of a reply cannot be completed."""
        who = self.identity
        event(log, logging.INFO, "client cut", client=who.id, peer=who.peer, reason=why)
        if self.wire is not None:
            self.stalls |= STALL_END
            self.flush()
            if self._ending:
                end_now(self.wire)
            else:
                self.wire.abort()

    def drain(self) -> bool:
        """The process stops: close now if nothing runs, else when it is answered. Whether it is
        closing now."""
        self._ending = True
        waits = self.berth.holds & HOLDS_WAITING
        if waits or (self.head is None and not self.stalls & STALL_REPLY):
            self.close()
            return True
        self.stall(STALL_END)
        if self._upload is not None:
            watch_upload(lambda: self._upload.seen if self._upload is not None else -1, self.close)
        return False

    def pushed(self, frame: bytes) -> None:
        """A push that precedes one of our replies on a shared lane."""
        if not self.flat:
            self.write(frame)
