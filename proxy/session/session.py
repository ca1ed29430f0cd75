"""One client's connection. Owns its unread bytes, its queue of slots, and the lane that it uses
now.
What a command does to the session is in conduct.py; which commands stop the kernel is in table.py.

    client bytes ─▶ rest ─▶ scan ─ run of PLAIN ─▶ lane.send(slice, Run)   Run joins the queue:
                             │                                          head ▶ Run ▶ TextSlot ◀ tail
                             └─ anything else ─▶ conduct (may stall)       filled from the front

Order: a session uses one lane at a time. While a slot is outstanding on it, further requests follow
their predecessors there; another lane may be taken only when the queue is empty (stall DRAIN).
Bounds: at most ``window`` replies outstanding (about 4 MB of them, by the sizes seen), READ_AHEAD
unparsed bytes while stalled, and nothing is sent while the client does not read or the lane does
not take more."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, cast

from ..custom.spec import CommandSpec, LoaderKeys
from ..errors import MAX_CLIENTS, ProtocolError, ProxyError
from ..hot.session import (
    MUTE_SKIP,
    STALL_WINDOW,
    UPLOAD_AT,
    WINDOW_MAX,
    WRITE_ONE,
    LaneCore,
    LaneState,
    Run,
    SessionCore,
    Turn,
)
from ..keys.ours import lease_key
from ..log import event
from ..near.cache import NearCache
from ..resp.kernel import BROKEN, DONE, ODD, PLAIN, Cutter, RouteMap
from ..resp.requests import Dialect, Partial, parse_request
from ..table.route import refined
from ..table.table import Route, Table
from ..upstream.ask import drop
from ..upstream.dial import keep_alive
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey, Use
from ..upstream.lanes import Lanes
from .clients import Clients
from .scopes import Scopes

log = logging.getLogger(__name__)

# Seconds of silence after which the kernel asks whether a client is still there: tcp-keepalive of
# Redis.
CLIENT_KEEP_ALIVE: Final = 300
_MULTI: Final = re.compile(rb"\*1\r\n\$5\r\nMULTI\r\n", re.IGNORECASE)
_HEAD: Final = re.compile(rb"\*\d+\r\n\$\d+\r\n([A-Za-z.]+)\r\n\$(\d{1,9})\r\n")
_EXEC: Final = re.compile(rb"\*1\r\n\$4\r\nEXEC\r\n", re.IGNORECASE)
NONE_WRITTEN: Final[list[bytes]] = []
READ_AHEAD: Final = 256 * 1024
BLOCKED_READ_AHEAD: Final = 16 * 1024 * 1024
WRITE_HIGH: Final = 1024 * 1024
WRITE_LOW: Final = 256 * 1024
# A request that the proxy itself must understand is gathered up to this size.
GATHER_MAX: Final = 64 * 1024 * 1024


# Why a session does not parse on: bits of Session.stalls (plain ints: enum flags cost 0.3 us an
# operation, and the hot path asks ``if self.stalls`` for every read).
STALL_DRAIN: Final = 1  # until nothing is outstanding
STALL_REPLY: Final = 4  # until one reply has told how to go on
STALL_LANE: Final = 8  # until the lane takes more
STALL_CLIENT: Final = 16  # until the client reads
STALL_TURN: Final = 64  # until the next loop turn
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


class Conduct(Protocol):
    """What requests other than PLAIN do (conduct.py)."""

    def __call__(self, session: Session, route: Route, args: list[bytes]) -> bool:
        """Act on the request; False where it must wait: the session has been stalled, nothing was
        done."""


@dataclass(slots=True)
class Context:
    """What all sessions of a process have in common."""

    lanes: Lanes
    clients: Clients[Session]
    table: Table
    conduct: Conduct
    turn: Turn
    commands: Scopes
    loaders: LoaderKeys
    start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    learn: Callable[
        [], None
    ]  # a command that the table does not know has worked: read COMMAND again
    dialect: Dialect = Dialect.REDIS
    fields: tuple[bytes, ...] = ()  # of the upstream's CLIENT LIST lines
    getorset: Callable[[Session, bytes, int], int] = lambda session, data, pos: 0
    customs: Mapping[bytes, CommandSpec] = field(default_factory=dict)  # ours, by upper-case name
    info: Callable[[], bytes] = lambda: b""  # our section of INFO
    near: NearCache | None = None


class TextSlot(Run):
    """An answer of the proxy itself, behind what is outstanding."""

    __slots__ = ()

    def __init__(self, session: Session, text: bytes) -> None:
        super().__init__(session, 0)
        self.count = 1  # of the window: what we say ourselves is bounded too
        self.parts = [text]


class PeekSlot(Run):
    """One reply that the session looks at, whole, when it arrives; what ``seen`` returns goes to
    the client, or what ``lost`` returns where none will arrive."""

    __slots__ = ("got", "lost", "muted", "seen")

    def __init__(
        self,
        session: Session,
        seen: Callable[[bytes], bytes],
        lost: Callable[[ProxyError], bytes],
        muted: bool,
    ) -> None:
        super().__init__(session, 1)
        self.seen = seen
        self.lost = lost
        self.muted = muted
        self.got: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        self.got.append(chunk)
        if not self.want:
            reply = b"".join(self.got)
            self._answer(lambda: self.seen(reply))

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0
        self._answer(lambda: self.lost(why))

    def _answer(self, text_of: Callable[[], bytes]) -> None:
        self.got.clear()
        try:
            text = text_of()
        except Exception:
            # A defect of ours must cost this client its connection, not everybody the lane.
            log.exception("looking at a reply failed")
            self.session.abort("a defect in the proxy")
            text = b""
        Run.feed(self, b"" if self.muted else text)


def line_of(why: ProxyError) -> bytes:
    """What a client gets for a reply that will not come."""
    return why.line


class Session(SessionCore):
    __slots__ = (
        "_eof", "_paused", "_upload", "blocking", "born", "context", "holds", "id", "lane_key",
        "library", "local", "marks", "name", "patches", "peer", "redirect", "running", "voids",
        "wrote",
    )  # fmt: skip
    lane: Lane | None

    def __init__(self, context: Context, key: LaneKey) -> None:
        super().__init__(context.table.plain, context.turn)
        self.context = context
        self.lane_key = key
        self.id = 0
        self.name = b""
        self.library = (b"", b"")  # CLIENT SETINFO lib-name, lib-ver
        self.peer = ""
        self.local = ""
        self.born = context.turn.now
        self.holds = 0
        self.marks = ""  # CLIENT LIST's flags for NO-EVICT and NO-TOUCH
        self.redirect = -1  # whose client gets our invalidations
        self.patches: list[
            tuple[int, Callable[[bytes], bytes]]
        ] = []  # of EXEC's reply, by position
        self.blocking = 0  # blocking commands outstanding
        self.running: set[asyncio.Task[None]] = set()  # what ends with us
        self.wrote: list[bytes] | None = []  # keys that EXEC writes, None: any
        self.voids: list[bytes] = []  # leases that EXEC must void before it writes their keys
        self._paused = False
        self._eof = False
        self._upload: Cutter | None = None

    def __repr__(self) -> str:
        state = f"owed={self.owed} stalls={self.stalls} holds={self.holds}"
        return f"<Session {self.id} db={self.lane_key.db} {state}>"

    @property
    def subscriptions(self) -> tuple[int, int, int]:
        """Channels, patterns and shard channels subscribed (clients.Client)."""
        framing = self.lane.framing if self.lane is not None else None
        return framing.counts if framing is not None else (0, 0, 0)

    @property
    def user(self) -> bytes:
        """The upstream user that our commands run as."""
        if self.lane_key.user is not None:
            return self.lane_key.user.name
        return (self.context.lanes.dial.upstream.username or "default").encode()

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
        shown = "".join(flag for flag, bit in flags.items() if self.holds & bit) + self.marks
        return shown or "N"

    # --- Client side (asyncio.Protocol) -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have asyncio.Transport's methods, not its class.
        self.wire = wire = cast(asyncio.Transport, transport)
        self.peer = _address(wire.get_extra_info("peername"), wire.get_extra_info("sockname"))
        self.local = _address(wire.get_extra_info("sockname"), None)
        self.choose_routes()
        keep_alive(wire, CLIENT_KEEP_ALIVE)
        wire.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        if not self.context.clients.join(self):
            self.write(MAX_CLIENTS)
            self.close()

    def odd_received(self, data: bytes) -> None:
        """Bytes of a tunnel or of a large request."""
        if self.holds & HOLD_TUNNEL:
            self._through(data)
        else:
            at = self._upload_more(data)
            if at < len(data):
                self.data_received(data[at:])

    def eof_received(self) -> bool:
        """The client sends no more: what it asked is still answered, unless it waits for the
        future."""
        self._eof = True
        waits = self.holds & (HOLD_BLOCKED | HOLD_SUBSCRIBED | HOLD_TUNNEL | HOLD_UPLOAD)
        if waits or (self.head is None and not (self.rest and self.stalls)):
            return False
        self.at_drain = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.wire = None
        self.take_rest()
        for task in self.running:
            task.cancel()
        lane, self.lane = self.lane, None
        if lane is not None:
            if lane.lent:
                # With it go MULTI, WATCH, a wait: no element is popped for nobody.
                lane.tainted |= bool(self.holds or self.head is not None)
                self.context.lanes.give_back(lane)
            else:
                lane.users -= 1
                lane.resume_reading()
        if self.tracked is not None:
            self.tracked.resume_reading()
        self.context.clients.leave(self)

    def pause_writing(self) -> None:
        self.stalls |= STALL_CLIENT
        for lane in self._lanes():
            lane.pause_reading(self)

    def resume_writing(self) -> None:
        for lane in self._lanes():
            lane.resume_reading()
        self.resume(STALL_CLIENT)

    def _lanes(self) -> list[Lane]:
        """Those that replies for us may come from."""
        return [cast(Lane, lane) for lane in (self.lane, self.tracked) if lane is not None]

    # --- Requests -----------------------------------------------------------------------------

    def keep(self, data: bytes) -> None:
        """Hold unparsed bytes; past the bound, the client waits in its own socket buffer."""
        self.rest = data
        self.gathered = len(data)
        if not self.stalls and self.routes is self.context.table.locked:
            self.special(data, 0, ODD)  # a request that is not whole may be too large already
        # A blocked client's end must be seen, and it only shows behind what it sent before.
        bound = BLOCKED_READ_AHEAD if self.holds & HOLD_BLOCKED else READ_AHEAD
        if self.stalls and len(data) > bound and not self._paused and self.wire is not None:
            self._paused = True
            self.wire.pause_reading()

    def special(self, data: bytes, pos: int, route: int) -> int:
        """Act on a request that is no PLAIN one; the offset behind it, -1: later, when more has
        come."""
        if data[pos] in b"\r\n":
            blank = _blank_lines(data, pos)
            if blank:
                return pos + blank
        if route == Route.GETORSET:
            behind = self.context.getorset(self, data, pos)
            if behind:
                return behind
        if self.asking or self.on_tracked:
            self.stall(STALL_DRAIN)
            return -1
        if route == Route.MULTI:
            behind = self._whole_transaction(data, pos)
            if behind:
                return behind
        locked = self.routes is self.context.table.locked
        try:
            request = parse_request(data, pos, locked, self.context.dialect)
        except ProtocolError as error:
            self.say(error.line)
            self.end()
            return -1
        if isinstance(request, Partial):
            return self._incomplete(data, pos, route, request.need)
        args = request.args
        if args:
            routes = self.context.table.plain if locked else self.routes
            named = Route(route) if route > PLAIN else Route(routes.get(args[0]))
            try:
                if not self.context.conduct(self, refined(named, args), args):
                    return -1
            except Exception:
                # A defect of ours must cost this client its connection, and nobody else anything.
                log.exception("a request failed")
                self.abort("a defect in the proxy")
                return -1
        return request.end

    def _whole_transaction(self, data: bytes, pos: int) -> int:
        """Forward MULTI ... EXEC where all of it is here, and nothing in it has a state: 0 if not.

        In one piece it needs no lane of our own: nothing comes between, EXEC always ends it."""
        table = self.context.table
        routes = table.inside
        begin = _MULTI.match(data, pos)
        own = self.lane is not None and self.lane.lent
        if begin is None or own or self.mute or self.routes not in (table.plain, table.far):
            return 0
        count = routes.scan(data, begin.end(), WINDOW_MAX)
        end = _EXEC.match(data, routes.end)
        if end is None:
            return 0
        keys = self._keys_written(data, begin.end(), end.start()) if self.cache else []
        if keys:
            self.forward_write(data[pos : end.end()], count + 2, keys)
        else:
            self.forward(data[pos : end.end()], count + 2)
        return end.end()

    def _keys_written(self, data: bytes, pos: int, end: int) -> list[bytes]:
        """By the plain requests in data[pos:end]."""
        routes, keys = self.context.table.plain, []
        while pos < end:
            key = routes.key(data, pos)
            if key is not None and routes.route == WRITE_ONE:
                keys.append(key)
                pos = routes.end
            else:
                pos = Cutter(True).cut(data, pos, 1)
        return keys

    def _incomplete(self, data: bytes, pos: int, route: int, need: int) -> int:
        """A request that is not whole: stream it, or gather it until it is."""
        table, size = self.context.table, len(data) - pos
        most = GATHER_MAX
        if data[pos : pos + 1] == b"*" and self.routes is not table.locked:
            # Where a load may run for one of its keys it must be read before it is sent.
            unread = route in (ODD, Route.SCRIPTED) and not (table.ours.voids or table.ours.near)
            writes = route in (Route.WRITE, Route.WRITE_ONE) and not self.holds
            if size <= UPLOAD_AT and (unread or writes):
                most = UPLOAD_AT
            elif unread:
                return self.upload(data, pos)
            elif writes:
                name, key = _first_words(data, pos)
                if key is not None and table.writes_one(name):
                    return self.upload(data, pos, [key])
        if size > GATHER_MAX:
            written = route in (Route.WRITE, Route.WRITE_ONE, Route.SCRIPTED)
            if written and not table.ours.voids:
                return self.upload(data, pos, None)  # whatever keys it has
            self.say(ProtocolError("request too large for a command of the proxy").line)
            self.end()
        self.need = min(need, most + 1)
        return -1

    def yield_turn(self) -> None:
        """Let other clients have their turn."""
        self.stall(STALL_TURN)
        asyncio.get_running_loop().call_soon(self.resume, STALL_TURN)

    def attach(self) -> Lane:
        """The shared lane of our key, from now on."""
        lane = self.lane = self.context.lanes.shared(self.lane_key)
        lane.users += 1
        return lane

    def peek(
        self,
        data: bytes,
        seen: Callable[[bytes], bytes],
        lane: Lane | None = None,
        lost: Callable[[ProxyError], bytes] = line_of,
    ) -> None:
        """Send one request and look at its reply before the client does."""
        self.read_far = True
        slot = PeekSlot(self, seen, lost, bool(self.mute))
        self.mute &= ~MUTE_SKIP
        self.push_slot(slot)
        lane = lane or self.lane or self.attach()
        lane.send(data, slot)
        if lane.choked:
            self.wait_for(lane)

    def open_tracked(self) -> None:
        """See that the tracked lane is there or on its way, and the space that it fills."""
        self.find_tracked().open()

    def find_tracked(self) -> Lane:
        """The tracked lane and the space that it fills, of the db and user that we have now."""
        before = self.tracked
        scope = self.context.commands.place(self.lane_key).scope
        self.space, lane = scope.filled()
        self.tracked = lane
        if before is not None and before is not self.tracked:
            self.fresh_after = lane.sent  # what it has learnt by way of another is not forgotten
        return lane

    def wait_for(self, lane: LaneCore) -> None:
        assert isinstance(lane, Lane)
        self.stalls |= STALL_LANE
        lane.blocked.append(self)
        if self._upload is not None or self.holds & HOLD_TUNNEL:
            self._paused = True
            if self.wire is not None:
                self.wire.pause_reading()

    # --- Large requests -----------------------------------------------------------------------

    def upload(self, data: bytes, pos: int, keys: list[bytes] | None = NONE_WRITTEN) -> int:
        """Stream the request that begins at pos on a lane of our own; the offset reached. It
        writes these keys, None: any."""
        cutter = Cutter(True)
        cutter.cut(data, pos, 1)
        if cutter.stop == BROKEN:
            # A server might frame it otherwise than we: it is gathered, and sent as we read it.
            self.need = len(data) - pos + 1
            return -1
        if not self.pin():
            return pos
        assert self.lane is not None
        self.holds |= HOLD_UPLOAD
        self.lane.patient = True
        self._upload = cutter
        self.odd = True
        if self.holds & HOLD_MULTI and keys is None:
            self.wrote = None
        if keys:
            self.void_leases(keys)
        if keys is NONE_WRITTEN or self.cache is None:
            self.forward(data[pos:], 1)
        else:
            self.forward_write(data[pos:], 1, keys)
        if self.lane.state is not LaneState.READY and not self.stalls & STALL_LANE:
            self.wait_for(self.lane)  # rather in the client's memory than in ours
        return len(data)

    def void_leases(self, keys: list[bytes]) -> list[bytes]:
        """These keys are about to be written: no load of them may be joined from now on. Their
        leases, if they may have any: they must be deleted before."""
        context = self.context
        context.commands.void(self.lane_key, keys)
        leases = [lease_key(key) for key in keys if context.loaders.manages(key)]
        if leases and not self.holds & HOLD_MULTI:
            lane = self.lane or self.attach()
            assert isinstance(lane, Lane)
            lane.ask(drop, b"DEL", *leases)
        return leases

    def _upload_more(self, data: bytes) -> int:
        assert self.lane is not None
        assert self._upload is not None
        lane, cutter = self.lane, self._upload
        at = cutter.cut(data, 0, 1)
        if cutter.stop == BROKEN:
            # What the server has of it cannot be taken back.
            self.stall(STALL_END)
            lane.give_up(ProtocolError("a large request must be canonical: $<length>\\r\\n"))
            return len(data)
        lane.send_part(data[:at])
        if cutter.stop == DONE:
            self._upload = None
            self.odd = False
            self.holds &= ~HOLD_UPLOAD
            lane.patient = bool(self.blocking)
        elif lane.choked:
            self.wait_for(lane)
        return at

    # --- Answers ------------------------------------------------------------------------------

    def say(self, text: bytes) -> None:
        """An answer of our own, in its place."""
        if self.mute:
            self.mute &= ~MUTE_SKIP
        elif self.head is None:
            self.write(text)
        else:
            self.push_slot(TextSlot(self, text))

    def drained(self) -> None:
        """Nothing is outstanding: a lane that nothing holds goes back, what waited for this goes
        on."""
        self.at_drain = False
        if self.closed:
            return
        lane = self.lane
        if lane is not None and lane.lent:
            self.at_drain = True
            if lane.framing is not None and lane.framing.empty:
                lane.unsubscribe()
                self.let_go(HOLD_SUBSCRIBED)
            if not self.holds:
                self.unpin()
        elif lane is not None and lane.key.use is Use.SCRIPTS:
            self.unpin()
            self.choose_routes()
        if self.stalls & STALL_END or (self._eof and not self.rest):
            self.close()
            return
        self.at_drain |= self._eof
        self.resume(STALL_DRAIN | STALL_WINDOW)

    # --- States -------------------------------------------------------------------------------

    def stall(self, reason: int) -> None:
        """Parse no further until ``resume`` with the same reason."""
        self.stalls |= reason
        if reason & (STALL_DRAIN | STALL_WINDOW | STALL_END):
            self.at_drain = True

    def resume(self, reason: int) -> None:
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
        if self._paused and self.wire is not None:
            self._paused = False
            self.wire.resume_reading()
        if self._eof and self.head is None:
            self.close()

    @property
    def leaving(self) -> bool:
        """Whether the client has said that it sends no more: it must not begin to wait for
        anything."""
        return self._eof

    def idle(self) -> bool:
        """Whether nothing is outstanding; if something is, the session stalls until it is
        answered."""
        if self.head is None:
            return True
        self.stall(STALL_DRAIN)
        return False

    def pin(self, key: LaneKey | None = None) -> bool:
        """Take a lane of our own; False: not yet, something is outstanding on a shared one."""
        lane = self.lane
        if lane is not None and lane.lent:
            return True
        if not self.idle():
            return False
        if lane is not None:
            lane.users -= 1
        self.lane = self.context.lanes.borrow(key or self.lane_key, self)
        self.at_drain = True
        return True

    def run_scripts(self) -> None:
        """Go to the lane for scripts until all is answered; nothing is outstanding now."""
        self.unpin()
        self.lane = self.context.lanes.shared(replace(self.lane_key, use=Use.SCRIPTS))
        self.lane.users += 1
        if self.routes in (self.context.table.plain, self.context.table.far):
            self.routes = self.context.table.scripting
        self.at_drain = True

    def unpin(self) -> None:
        """Give the lane back; it is clean, or tainted."""
        lane, self.lane = self.lane, None
        if lane is None:
            return
        if lane.lent:
            self.context.lanes.give_back(lane)
        else:
            lane.users -= 1

    def rekey(self, key: LaneKey) -> None:
        """Go on under another db, RESP version or user; a lane of our own has changed with us."""
        lane = self.lane
        if lane is not None and lane.lent:
            lane.key = key
            if lane.framing is not None:
                lane.framing.resp = key.resp
        elif lane is not None:
            self.unpin()
        self.lane_key = key
        if self.tracked is not None:
            self.find_tracked()
        self.choose_routes()

    def hold(self, why: int) -> None:
        self.holds |= why
        self.choose_routes()

    def let_go(self, why: int) -> None:
        self.holds &= ~why
        self.choose_routes()

    def choose_routes(self) -> None:
        """Which requests the kernel may forward unseen, in the state we are in."""
        table = self.context.table
        self.far, self.near_only, self.waiting = table.far, table.near_only, table.waiting
        self.flat = self.lane_key.resp == 2
        self.cache = self.context.near
        self.space = None
        routes = self._routes_of_state()
        if routes is table.plain:
            self.find_tracked()
        if self.asking or self.on_tracked:
            self.home = routes
            self.routes = table.waiting if self.asking else table.near_only
        else:
            self.routes = routes

    def _routes_of_state(self) -> RouteMap:
        table = self.context.table
        if self.lane_key.user is None and self.context.lanes.locked:
            return table.locked
        if self.holds & HOLD_MULTI:
            return table.queueing
        if self.holds & HOLD_SUBSCRIBED and self.lane_key.resp == 2:
            return table.subscribed
        return table.far if self.holds or not table.ours.near else table.plain

    def enter_tunnel(self) -> None:
        """From now on bytes pass both ways as they are, for as long as the connection lasts."""
        assert self.lane is not None
        assert self.lane.lent
        self.lane.enter_tunnel()
        self.odd = True
        self.stalls &= STALL_CLIENT | STALL_LANE | STALL_END
        self.hold(HOLD_TUNNEL)

    def _through(self, data: bytes) -> None:
        lane = self.lane
        if lane is None:
            return
        lane.send_part(data)
        if lane.choked:
            self.wait_for(lane)

    def end(self) -> None:
        """Close when all that is outstanding has been answered."""
        self.stall(STALL_END)
        self.take_rest()
        if self.head is None:
            self.close()

    def close(self) -> None:
        """Close when what was written has left."""
        if self.wire is not None:
            self.stalls |= STALL_END
            self.flush()
            self.wire.close()

    def abort(self, why: str) -> None:
        """Cut the connection: what the client has of a reply cannot be completed."""
        event(log, logging.INFO, "client cut", client=self.id, peer=self.peer, reason=why)
        if self.wire is not None:
            self.stalls |= STALL_END
            self.flush()
            self.wire.abort()

    def drain(self) -> bool:
        """The process stops: close now if nothing runs, else when it is answered. Whether it is
        closing now."""
        waits = self.holds & (HOLD_BLOCKED | HOLD_SUBSCRIBED | HOLD_TUNNEL)
        if waits or (self.head is None and not self.stalls & STALL_REPLY):
            self.close()
            return True
        self.end()
        return False

    # --- What a lane of our own reports (lane.Owner) ------------------------------------------

    def pushed(self, frame: bytes) -> None:
        """A push that precedes one of our replies on a shared lane."""
        if self.lane_key.resp == 3:
            self.write(frame)

    def lane_pushed(self, lane: Lane, frame: bytes) -> None:
        self.write(frame)

    def lane_raw(self, lane: Lane, data: bytes) -> None:
        self.write(data)

    def lane_ends(self, lane: Lane) -> None:
        if self.lane is lane and self.holds & HOLDS_STATE:
            # What is still to come was meant for the state that is lost: none of it may run
            # elsewhere.
            self.stall(STALL_END)
            self.take_rest()

    def lane_lost(self, lane: Lane, why: ProxyError) -> None:
        if self.lane is not lane:
            return
        self.lane = None
        self.context.lanes.give_back(lane)
        if self.holds & HOLDS_STATE:
            event(
                log,
                logging.INFO,
                "client closed",
                client=self.id,
                reason="its lane is lost",
                error=why,
            )
            self.close()
            return
        self.let_go(HOLD_BLOCKED)
        self.resume(STALL_DRAIN)

    def lane_writable(self, lane: Lane) -> None:
        if self.holds & HOLD_TUNNEL or self._upload is not None:
            self._paused = False
            if self.wire is not None:
                self.wire.resume_reading()
        self.resume(STALL_LANE)


def _blank_lines(data: bytes, pos: int) -> int:
    """How many bytes from pos on are blank lines, all at once: a client may send nothing else."""
    rest = data[pos:]
    return rest.rfind(b"\n", 0, len(rest) - len(rest.lstrip(b"\r\n"))) + 1


def _first_words(data: bytes, pos: int) -> tuple[bytes, bytes | None]:
    """The name and the word behind it, if they are there already."""
    found = _HEAD.match(data, pos)
    if found is None:
        return b"", None
    start, size = found.end(), int(found[2])
    whole = start + size + 2 <= len(data)
    return found[1].upper(), data[start : start + size] if whole else None


def _address(name: object, server: object) -> str:
    """An address as Redis writes it; a unix client has its server's path and port 0."""
    if isinstance(name, tuple):
        host, port = str(name[0]), name[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    path = name or server
    return f"{path.decode() if isinstance(path, bytes) else path}:0"
