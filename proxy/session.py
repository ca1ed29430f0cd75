"""One client's connection. Owns its unread bytes, its queue of slots, and the lane that it uses now.
What a command does to the session is in conduct.py; which commands stop the kernel is in table.py.

    client bytes ─▶ rest ─▶ scan ─ run of PLAIN ─▶ lane.send(slice, Run)       Run joins the queue:
                             │                                              head ▶ Run ▶ Run ▶ Text ◀ tail
                             └─ anything else ─▶ conduct (may stall)           filled from the front ─▶ client

Order: a session uses one lane at a time. While a slot is outstanding on it, further requests follow their
predecessors there; another lane may be taken only when the queue is empty (stall DRAIN).
Bounds: at most ``window`` replies outstanding (about 4 MB of them, by the sizes seen), READ_AHEAD unparsed bytes
while stalled, and nothing is sent while the client does not read or the lane does not take more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from .clients import Clients
from .errors import MAX_CLIENTS, ProtocolError, ProxyError
from .kernel import BROKEN, DONE, FULL, MORE, ODD, PLAIN, Cutter, Names, scan
from .lane import Key, Lane
from .lanes import Lanes
from .log import event
from .resp import Partial, parse_request
from .route import route
from .table import Path, Table

log = logging.getLogger(__name__)

READ_AHEAD: Final = 256 * 1024
WRITE_HIGH: Final = 1024 * 1024
WRITE_LOW: Final = 256 * 1024
# A request larger than this is not gathered: it streams to a lane of the session's own as it comes.
UPLOAD_AT: Final = 64 * 1024
# A request that the proxy itself must understand is gathered up to this size.
GATHER_MAX: Final = 64 * 1024 * 1024

WINDOW_START: Final = 32
WINDOW_MAX: Final = 1024
WINDOW_BYTES: Final = 4 * 1024 * 1024
WINDOW_SAMPLE: Final = 32

# Why a session does not parse on: bits of Session.stalls (plain ints: enum flags cost 0.3 us an operation,
# and the hot path asks ``if self.stalls`` for every read).
STALL_DRAIN: Final = 1  # until nothing is outstanding
STALL_WINDOW: Final = 2  # until half of the window is free
STALL_REPLY: Final = 4  # until one reply has told how to go on
STALL_LANE: Final = 8  # until the lane takes more
STALL_CLIENT: Final = 16  # until the client reads
STALL_END: Final = 32  # for ever: the session ends when all is answered

# Why a session keeps a lane of its own: bits of Session.holds.
HOLD_MULTI: Final = 1
HOLD_WATCH: Final = 2
HOLD_BLOCKED: Final = 4
HOLD_SUBSCRIBED: Final = 8
HOLD_TRACKING: Final = 16
HOLD_STICKY: Final = 32
HOLD_UPLOAD: Final = 64
HOLD_TUNNEL: Final = 128
# With one of these gone the client must learn that its state is gone: its connection ends.
HOLDS_STATE: Final = ~HOLD_BLOCKED

MUTE_OFF: Final = 1  # CLIENT REPLY OFF
MUTE_SKIP: Final = 2  # CLIENT REPLY SKIP: the next request's reply only


class Conduct(Protocol):
    """What requests other than PLAIN do (conduct.py)."""

    def __call__(self, session: Session, path: Path, args: list[bytes]) -> bool:
        """Act on the request; False where it must wait: the session has been stalled, nothing was done."""


@dataclass(slots=True)
class Context:
    """What all sessions of a process have in common."""

    lanes: Lanes
    clients: Clients[Session]
    table: Table
    conduct: Conduct
    learn: Callable[[], None]  # a command that the table does not know has worked: read COMMAND again
    fields: tuple[bytes, ...] = ()  # of the upstream's CLIENT LIST lines
    now: float = 0.0  # seconds, monotonic, advanced by the server once a second


class Run:
    """Replies to one run of requests, handed on as they come."""

    __slots__ = ("count", "following", "parts", "session", "want")

    def __init__(self, session: Session, want: int) -> None:
        self.session = session
        self.want = want
        self.count = want
        self.parts: list[bytes] | None = None
        self.following: Run | None = None

    def feed(self, chunk: bytes) -> None:
        session = self.session
        if session.head is self:
            session.write(chunk)
            if not self.want:
                session.advance()
        elif self.parts is None:
            self.parts = [chunk]
        else:
            self.parts.append(chunk)

    def push(self, frame: bytes) -> None:
        """A push that precedes one of these replies."""
        if self.session.key.resp == 3:
            self.session.write(frame)

    def fail(self, line: bytes, inside: bool) -> None:
        if inside and self.session.head is self:
            self.session.abort("the server went away in the middle of a reply")
        want, self.want = self.want, 0
        self.feed(line * want)


class Text(Run):
    """An answer of the proxy itself, behind what is outstanding."""

    __slots__ = ()

    def __init__(self, session: Session, text: bytes) -> None:
        super().__init__(session, 0)
        self.parts = [text]


class Muted(Run):
    """Replies that the client asked not to get (CLIENT REPLY OFF, SKIP)."""

    __slots__ = ()

    def feed(self, chunk: bytes) -> None:
        if not self.want and self.session.head is self:
            self.session.advance()

    def fail(self, line: bytes, inside: bool) -> None:
        self.want = 0
        self.feed(b"")


class Seen(Run):
    """One reply that the session looks at, whole, when it arrives; what it returns goes to the client."""

    __slots__ = ("got", "muted", "seen")

    def __init__(self, session: Session, seen: Callable[[bytes], bytes], muted: bool) -> None:
        super().__init__(session, 1)
        self.seen = seen
        self.muted = muted
        self.got: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        self.got.append(chunk)
        if not self.want:
            reply = b"".join(self.got)
            self.got.clear()
            try:
                text = self.seen(reply)
            except Exception:
                # A defect of ours must cost this client its connection, not everybody the lane.
                log.exception("looking at a reply failed")
                self.session.abort("a defect in the proxy")
                text = b""
            super().feed(b"" if self.muted else text)

    def fail(self, line: bytes, inside: bool) -> None:
        self.want = 0
        self.got.clear()
        self.feed(line)


class Session(asyncio.Protocol):
    def __init__(self, context: Context, key: Key) -> None:
        self.context = context
        self.key = key
        self.id = 0
        self.name = b""
        self.library = (b"", b"")  # CLIENT SETINFO lib-name, lib-ver
        self.peer = ""
        self.local = ""
        self.born = context.now
        self.active = context.now
        self.last = b""  # the bytes of the last small run, for CLIENT LIST's cmd=
        self.names: Names = context.table.plain
        self.lane: Lane | None = None
        self.head: Run | None = None
        self.tail: Run | None = None
        self.owed = 0
        self.window = WINDOW_START
        self.stalls = 0
        self.holds = 0
        self.mute = 0
        self.blocking = 0  # blocking commands outstanding
        self.queued = -1  # commands queued since MULTI, as CLIENT LIST's multi=
        self.closed = False
        self.transport: asyncio.Transport | None = None
        self._rest = b""
        self._need = 0
        self._parsing = False
        self._paused = False
        self._eof = False
        self._upload: Cutter | None = None
        self._at_drain = False
        self._replies = 0
        self._reply_bytes = 0

    def __repr__(self) -> str:
        return f"<Session {self.id} db={self.key.db} owed={self.owed} stalls={self.stalls} holds={self.holds}>"

    @property
    def subscriptions(self) -> tuple[int, int, int]:
        """Channels, patterns and shard channels subscribed (clients.Client)."""
        framing = self.lane.framing if self.lane is not None else None
        return framing.counts if framing is not None else (0, 0, 0)

    @property
    def flags(self) -> str:
        """CLIENT LIST's flags."""
        flags = {
            "x": HOLD_MULTI,
            "b": HOLD_BLOCKED,
            "P": HOLD_SUBSCRIBED,
            "t": HOLD_TRACKING,
            "O": HOLD_TUNNEL,
        }
        return "".join(flag for flag, bit in flags.items() if self.holds & bit) or "N"

    # --- Client side (asyncio.Protocol) -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have asyncio.Transport's methods, not its class.
        self.transport = wire = cast(asyncio.Transport, transport)
        self.peer = _address(wire.get_extra_info("peername"), wire.get_extra_info("sockname"))
        self.local = _address(wire.get_extra_info("sockname"), None)
        wire.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        if not self.context.clients.join(self):
            self.write(MAX_CLIENTS)
            self.close()

    def data_received(self, data: bytes) -> None:
        self.active = self.context.now
        if self.holds & HOLD_TUNNEL:
            self._through(data)
            return
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if self.stalls or len(data) < self._need:
            self._keep(data)
            return
        self._parse(data)

    def eof_received(self) -> bool:
        """The client sends no more: what it asked is still answered, unless it waits for the future."""
        self._eof = True
        waits = self.holds & ~(HOLD_MULTI | HOLD_WATCH)
        if waits or self.head is None:
            return False
        self._at_drain = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.transport = None
        self._rest = b""
        lane, self.lane = self.lane, None
        if lane is not None:
            if lane.lent:
                # With it go MULTI, WATCH, a wait: no element is popped for nobody.
                lane.tainted |= bool(self.holds or self.head is not None)
                self.context.lanes.give_back(lane)
            else:
                lane.users -= 1
        self.context.clients.leave(self)

    def pause_writing(self) -> None:
        self.stalls |= STALL_CLIENT
        if self.lane is not None:
            self.lane.pause_reading()

    def resume_writing(self) -> None:
        if self.lane is not None:
            self.lane.resume_reading()
        self.resume(STALL_CLIENT)

    # --- Requests -----------------------------------------------------------------------------

    def _keep(self, data: bytes) -> None:
        """Hold unparsed bytes; past the bound, the client waits in its own socket buffer."""
        self._rest = data
        if self.stalls and len(data) > READ_AHEAD and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def _parse(self, data: bytes) -> None:
        pos, end = 0, len(data)
        self._parsing = True
        self._need = 0
        try:
            if self._upload is not None:
                pos = self._upload_more(data)
            while not self.stalls and pos < end:
                limit = 1 if self.mute & MUTE_SKIP else self.window - self.owed
                count, at, verdict = scan(data, pos, limit, self.names)
                if count:
                    self.forward(data if at - pos == end else data[pos:at], count)
                    pos = at
                if verdict == MORE:
                    if end - pos > UPLOAD_AT:
                        pos = self._upload_first(data, pos)
                        continue
                    break
                if verdict == FULL:
                    if self.owed >= self.window:
                        self.stall(STALL_WINDOW)
                    continue
                if self.stalls:
                    break
                at = self._special(data, pos, verdict)
                if at < 0:
                    break
                pos = at
        finally:
            self._parsing = False
        if pos < end and not self.closed:
            self._keep(data[pos:] if pos else data)

    def _special(self, data: bytes, pos: int, verdict: int) -> int:
        """Act on a request that is no PLAIN one; the offset behind it, -1: later, when more has come."""
        try:
            request = parse_request(data, pos)
        except ProtocolError as error:
            self.say(error.line)
            self.end()
            return -1
        if isinstance(request, Partial):
            return self._incomplete(data, pos, verdict, request.need)
        args = request.args
        if args:
            path = Path(verdict) if verdict > PLAIN else Path(self.names.get(args[0]))
            if not self.context.conduct(self, route(path, args), args):
                return -1
        return request.end

    def _incomplete(self, data: bytes, pos: int, verdict: int, need: int) -> int:
        if verdict == ODD and data[pos : pos + 1] == b"*" and len(data) - pos > UPLOAD_AT:
            return self._upload_first(data, pos)
        if need > GATHER_MAX:
            self.say(ProtocolError("request too large for a command of the proxy").line)
            self.end()
        self._need = need
        return -1

    def forward(self, data: bytes, count: int) -> None:
        """Send whole requests, ``count`` of them, where this session's requests go now."""
        slot: Run
        if self.mute:
            slot = Muted(self, count)
            self.mute &= ~MUTE_SKIP
        else:
            slot = Run(self, count)
        if len(data) < 512:
            self.last = data
        if self.queued >= 0:
            self.queued += count
        self._send(data, slot)

    def watch(self, data: bytes, seen: Callable[[bytes], bytes], lane: Lane | None = None) -> None:
        """Send one request and look at its reply before the client does."""
        slot = Seen(self, seen, bool(self.mute))
        self.mute &= ~MUTE_SKIP
        self._send(data, slot, lane)

    def _send(self, data: bytes, slot: Run, lane: Lane | None = None) -> None:
        self.push_slot(slot)
        if lane is None:
            lane = self.lane
            if lane is None:
                lane = self.lane = self.context.lanes.shared(self.key)
                lane.users += 1
        lane.send(data, slot)
        if lane.choked:
            self._wait_for(lane)

    def push_slot(self, slot: Run) -> None:
        """Take the place at the end of the answer queue."""
        if self.tail is None:
            self.head = slot
        else:
            self.tail.following = slot
        self.tail = slot
        self.owed += slot.count

    def _wait_for(self, lane: Lane) -> None:
        self.stalls |= STALL_LANE
        lane.blocked.append(self)
        if self._upload is not None or self.holds & HOLD_TUNNEL:
            self._paused = True
            if self.transport is not None:
                self.transport.pause_reading()

    # --- Large requests -----------------------------------------------------------------------

    def _upload_first(self, data: bytes, pos: int) -> int:
        """Stream the request that begins at pos on a lane of our own; the offset reached."""
        if not self.pin():
            return pos
        assert self.lane is not None
        self.holds |= HOLD_UPLOAD
        self._upload = Cutter()
        self._upload.cut(data, pos, 1)
        self.forward(data[pos:], 1)
        return len(data)

    def _upload_more(self, data: bytes) -> int:
        assert self.lane is not None and self._upload is not None
        lane, cutter = self.lane, self._upload
        at = cutter.cut(data, 0, 1)
        if cutter.stop == BROKEN:
            self.lane.tainted = True
            self.say(ProtocolError("expected '$', got something else").line)
            self.end()
            return len(data)
        lane.send_part(data[:at])
        if cutter.stop == DONE:
            self._upload = None
            self.holds &= ~HOLD_UPLOAD
        elif lane.choked:
            self._wait_for(lane)
        return at

    # --- Answers ------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Bytes for the client, now."""
        if self.transport is not None and data:
            self._reply_bytes += len(data)
            self.transport.write(data)

    def say(self, text: bytes) -> None:
        """An answer of our own, in its place."""
        if self.mute:
            self.mute &= ~MUTE_SKIP
        elif self.head is None:
            self.write(text)
        else:
            self.push_slot(Text(self, text))

    def advance(self) -> None:
        """The head of the queue is filled: hand out what stands complete behind it."""
        slot = self.head
        while slot is not None and not slot.want:
            self.owed -= slot.count
            self._replies += slot.count
            slot = slot.following
            self.head = slot
            if slot is not None and slot.parts is not None:
                self.write(b"".join(slot.parts))
                slot.parts = None
        if self._replies > WINDOW_SAMPLE:
            self._resize_window()
        if slot is None:
            self.tail = None
            if self._at_drain:
                self._drained()
        elif self.stalls & STALL_WINDOW and self.owed * 2 <= self.window:
            self.resume(STALL_WINDOW)

    def _resize_window(self) -> None:
        """As many replies outstanding as make about 4 MB, by the sizes lately seen."""
        size = self._reply_bytes // self._replies + 1
        self.window = max(1, min(WINDOW_MAX, WINDOW_BYTES // size))
        self._replies = self._reply_bytes = 0

    def _drained(self) -> None:
        """Nothing is outstanding: a lane that nothing holds goes back, what waited for this goes on."""
        self._at_drain = False
        if self.closed:
            return
        lane = self.lane
        if lane is not None and lane.lent:
            self._at_drain = True
            if lane.framing is not None and lane.framing.empty:
                lane.framing = None
                self.let_go(HOLD_SUBSCRIBED)
            if not self.holds:
                self.unpin()
        if self.stalls & STALL_END or (self._eof and not self._rest):
            self.close()
            return
        self._at_drain |= self._eof
        self.resume(STALL_DRAIN | STALL_WINDOW)

    # --- States -------------------------------------------------------------------------------

    def stall(self, reason: int) -> None:
        """Parse no further until ``resume`` with the same reason."""
        self.stalls |= reason
        if reason & (STALL_DRAIN | STALL_WINDOW | STALL_END):
            self._at_drain = True

    def resume(self, reason: int) -> None:
        self.stalls &= ~reason
        if self.stalls or self._parsing or self.closed:
            return
        if self._rest:
            rest, self._rest = self._rest, b""
            self._parse(rest)
        if self.stalls or self.closed:
            return
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()
        if self._eof and self.head is None:
            self.close()

    def idle(self) -> bool:
        """Whether nothing is outstanding; if something is, the session stalls until it is answered."""
        if self.head is None:
            return True
        self.stall(STALL_DRAIN)
        return False

    def pin(self) -> bool:
        """Take a lane of our own; False: not yet, something is outstanding on a shared one."""
        lane = self.lane
        if lane is not None and lane.lent:
            return True
        if not self.idle():
            return False
        if lane is not None:
            lane.users -= 1
        self.lane = self.context.lanes.borrow(self.key, self)
        self._at_drain = True
        return True

    def unpin(self) -> None:
        """Give the lane back; it is clean, or tainted."""
        lane, self.lane = self.lane, None
        if lane is None:
            return
        if lane.lent:
            self.context.lanes.give_back(lane)
        else:
            lane.users -= 1

    def rekey(self, key: Key) -> None:
        """Go on under another db, RESP version or user; a lane of our own has changed with us."""
        lane = self.lane
        if lane is not None and lane.lent:
            lane.key = key
        elif lane is not None:
            self.unpin()
        self.key = key
        self.choose_names()

    def hold(self, why: int) -> None:
        self.holds |= why
        self.choose_names()

    def let_go(self, why: int) -> None:
        self.holds &= ~why
        self.choose_names()

    def choose_names(self) -> None:
        """Which requests the kernel may forward unseen, in the state we are in."""
        table = self.context.table
        if self.holds & HOLD_MULTI:
            self.names = table.queueing
        elif self.holds & HOLD_SUBSCRIBED and self.key.resp == 2:
            self.names = table.subscribed
        else:
            self.names = table.plain

    def enter_tunnel(self) -> None:
        """From now on bytes pass both ways as they are, for as long as the connection lasts."""
        assert self.lane is not None and self.lane.lent
        self.lane.tunnel = True
        self.lane.patient = True
        self.hold(HOLD_TUNNEL)

    def _through(self, data: bytes) -> None:
        lane = self.lane
        if lane is None:
            return
        lane.send_part(data)
        if lane.choked:
            self._wait_for(lane)

    def end(self) -> None:
        """Close when all that is outstanding has been answered."""
        self.stall(STALL_END)
        self._rest = b""
        if self.head is None:
            self.close()

    def close(self) -> None:
        """Close when what was written has left."""
        if self.transport is not None:
            self.stalls |= STALL_END
            self.transport.close()

    def abort(self, why: str) -> None:
        """Cut the connection: what the client has of a reply cannot be completed."""
        event(log, logging.INFO, "client cut", client=self.id, peer=self.peer, reason=why)
        if self.transport is not None:
            self.stalls |= STALL_END
            self.transport.abort()

    def drain(self) -> bool:
        """The process stops: close now if nothing runs, else when it is answered. Whether it is closing now."""
        waits = self.holds & (HOLD_BLOCKED | HOLD_SUBSCRIBED | HOLD_TUNNEL)
        if waits or (self.head is None and not self.stalls & STALL_REPLY):
            self.close()
            return True
        self.end()
        return False

    # --- What a lane of our own reports (lane.Owner) ------------------------------------------

    def lane_pushed(self, lane: Lane, frame: bytes) -> None:
        self.write(frame)

    def lane_raw(self, lane: Lane, data: bytes) -> None:
        self.write(data)

    def lane_lost(self, lane: Lane, why: ProxyError) -> None:
        if self.lane is not lane:
            return
        self.lane = None
        self.context.lanes.give_back(lane)
        if self.holds & HOLDS_STATE:
            event(log, logging.INFO, "client closed", client=self.id, reason="its lane is lost", error=why)
            self.close()
            return
        self.let_go(HOLD_BLOCKED)
        self.resume(STALL_DRAIN)

    def lane_writable(self, lane: Lane) -> None:
        if self.holds & HOLD_TUNNEL or self._upload is not None:
            self._paused = False
            if self.transport is not None:
                self.transport.resume_reading()
        self.resume(STALL_LANE)


def _address(name: object, server: object) -> str:
    """An address as Redis writes it; a unix client has its server's path and port 0."""
    if isinstance(name, tuple):
        host, port = str(name[0]), name[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    path = name or server
    return f"{path.decode() if isinstance(path, bytes) else path}:0"
