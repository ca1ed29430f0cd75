"""One upstream connection. Owns its socket and the slots waiting on it.
Never decides which requests take it: that is lanes.py and session.py.

                    send(data, slot)
    not READY ───────────┴────────── READY
    offline  [data, slot]...         out      [data]...  ─ flush, once per loop turn ─▶ socket
       │ sent when READY             waiting  [slot]...  ◀─ cut, head first ─────────── socket
       ▼ failed when DOWN or refused                        pushes ─▶ owner

A lane that dies fails the slots of ``waiting`` that were sent (outcome unknown) and keeps the
unsent ones, the last ``len(out)``, for its next connection. A lent lane has an owner and only one
life: it is not connected again."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final, Protocol, cast

from ..errors import (
    NO_AUTH_COMMAND,
    ProxyError,
    UpstreamDown,
    UpstreamLost,
    UpstreamNotReady,
    UpstreamRefused,
)
from ..hot.session import LaneCore, LaneState, Slot
from ..log import event
from ..resp.kernel import BROKEN, Cutter
from ..resp.requests import encode, integer_of
from .ask import AskSlot, Done, Reply
from .dial import Dial

log = logging.getLogger(__name__)

# Upstream bytes a lane holds in its transport before the sessions that feed it are paused.
WRITE_HIGH: Final = 4 * 1024 * 1024
WRITE_LOW: Final = 1024 * 1024
HANDSHAKE_TIMEOUT: Final = 10.0  # seconds
# While handshaking, a server that says one of these is not ready yet.
NOT_READY: Final = (b"-LOADING", b"-MASTERDOWN")


@dataclass(frozen=True, slots=True)
class User:
    """An upstream user as a client authenticated it; known as long as sessions or lanes are its.

    Equal with the same password only: one who came with another that is also right has other
    lanes."""

    name: bytes
    password: bytes

    def __repr__(self) -> str:
        return f"<User {self.name!r}>"


class Use(Enum):
    """What a shared lane is for: those of one use wait for each other only."""

    REQUESTS = auto()
    SCRIPTS = auto()  # everything behind a long one waits for it
    TRACKED = auto()  # reads whose keys the server remembers, and tells us when they change
    BULK = auto()  # work in quantity: scans, fills of many keys


@dataclass(frozen=True, slots=True)
class LaneKey:
    """What the commands of a session depend on: lanes are shared by sessions of equal keys.

    No user: the proxy's own, out of the upstream URL."""

    db: int = 0
    resp: int = 2
    user: User | None = None
    use: Use = Use.REQUESTS

    def with_db(self, db: int) -> LaneKey:
        return replace(self, db=db)

    def with_resp(self, resp: int) -> LaneKey:
        return replace(self, resp=resp)

    def with_user(self, user: User | None) -> LaneKey:
        return replace(self, user=user)


MOVES: Final = {
    LaneState.IDLE: {LaneState.CONNECTING, LaneState.CLOSED},
    LaneState.CONNECTING: {
        LaneState.READY,
        LaneState.DOWN,
        LaneState.IDLE,
        LaneState.CLOSED,
    },
    LaneState.READY: {LaneState.CONNECTING, LaneState.IDLE, LaneState.CLOSED},
    LaneState.DOWN: {LaneState.READY, LaneState.IDLE, LaneState.CLOSED},
    LaneState.CLOSED: set(),
}


class Owner(Protocol):
    """Whoever a lane was lent to."""

    def lane_pushed(self, lane: Lane, frame: bytes) -> None:
        """A whole push, or a frame that no slot waits for."""

    def lane_raw(self, lane: Lane, data: bytes) -> None:
        """Bytes of a tunnel, as they came."""

    def lane_ends(self, lane: Lane) -> None:
        """The connection is gone, its slots are about to be failed: send nothing more."""

    def lane_lost(self, lane: Lane, why: ProxyError) -> None:
        """The connection is gone; its slots have been failed already."""

    def lane_writable(self, lane: Lane) -> None:
        """The lane takes data again after ``choked``."""


class Listener(Protocol):
    """Whoever lives by what a tracked lane is told, in the order in which it is told."""

    def pushed(self, frame: bytes) -> None:
        """A whole push; all replies before it have been handed over, none behind it."""

    def opened(self) -> None:
        """A connection stands; ``lane.tracking`` says whether we are told of changes."""

    def dropped(self) -> None:
        """The connection is gone, and the server has forgotten what we read on it."""


class Home(Protocol):
    """What a lane reports to: the pool it came from."""

    def start(self, lane: Lane) -> None:
        """Run ``lane.run()`` as a task, once."""

    def lane_ready(self, lane: Lane) -> None: ...

    def lane_down(self, lane: Lane, why: ProxyError) -> None: ...

    def lane_refused(self, lane: Lane, why: UpstreamRefused) -> None: ...

    @property
    def down(self) -> ProxyError | None:
        """Why the upstream counts as down; None while it does not."""


class Framing(Protocol):
    """Tells replies from frames that no slot waits for, on a subscribed lane."""

    resp: int

    def unasked(self, frame: bytes, head: Slot | None) -> bool:
        """Whether the frame is for nobody's request; one that is for ``head`` may set what it
        wants."""

    @property
    def empty(self) -> bool:
        """Whether no subscription is left."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Channels, patterns and shard channels subscribed."""


class Lane(LaneCore):
    def __init__(
        self,
        number: int,
        key: LaneKey,
        dial: Dial,
        home: Home,
        *,
        offline_max: int,
        timeout_s: float,
        owner: Owner | None = None,
        bare: bool = False,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop.call_soon)
        self.number = number
        self.key = key
        self.owner = owner
        self.lent = owner is not None
        self.users = 0  # sessions that use this shared lane now
        self.idle_ticks = 0
        self.patient = False  # a blocking command waits: silence is no sign of death
        self.blocked: list[Owner] = []
        self.tunnel = False
        self.framing: Framing | None = None
        self.listener: Listener | None = None
        self.client_id = 0
        self.locked = False  # the server wants a login that we do not have
        self._bare = bare
        self.tainted = False  # holds state that cannot be undone: never lent again
        self.offline: deque[tuple[bytes, Slot]] = deque()
        self.offline_bytes = 0
        self._offline_max = offline_max
        self._timeout_s = timeout_s
        self._waited = 0  # ticks that the offline requests have waited
        self._dial = dial
        self._home = home
        self._loop = loop
        self._silent = 0
        self._heard_at_tick = -1
        self._why: ProxyError = UpstreamLost("closed by the server")
        self._gone: asyncio.Future[None] | None = None
        self._running = False

    def __repr__(self) -> str:
        kind = "lent" if self.lent else "shared"
        where = f"{self.number} {kind} {self.state.name} db={self.key.db}"
        return f"<Lane {where} waiting={len(self.waiting)}>"

    def _become(self, state: LaneState) -> None:
        assert state in MOVES[self.state], f"{self.state.name} -> {state.name}"
        self.state = state

    # --- Sending ------------------------------------------------------------------------------

    def send_later(self, data: bytes, slot: Slot) -> None:
        """Keep a request until the lane is READY, or fail it where that is known not to come."""
        down = self._home.down
        if self.state is LaneState.CLOSED:
            slot.fail(self._why, False)
        elif self.state is LaneState.DOWN and down is not None:
            slot.fail(down, False)
        else:
            self.offline.append((data, slot))
            self.offline_bytes += len(data)
            self.choked = self.offline_bytes > self._offline_max
            self.open()

    def send_part(self, data: bytes) -> None:
        """More bytes of a request whose slot was given with its first ones (lent lanes only)."""
        if self.state is LaneState.READY:
            if not self.out:
                self.call_soon(self.flush)
            self.out.append(data)
        elif self.offline:
            head, slot = self.offline.pop()
            self.offline.append((head + data, slot))
            self.offline_bytes += len(data)
            self.choked = self.offline_bytes > self._offline_max

    def ask(self, done: Done, *args: bytes) -> None:
        """Send one request of the proxy itself; ``done`` gets the whole reply, or why none
        will come."""
        self.send(encode(args), AskSlot(done))

    # --- Life ---------------------------------------------------------------------------------

    def open(self) -> None:
        """See that a connection is there or on its way."""
        if self.state is LaneState.IDLE:
            self._become(LaneState.CONNECTING)
            if not self._running:
                self._running = True
                self._home.start(self)

    async def run(self) -> None:
        """Keep a connection until the lane is closed or has nothing to do (started by
        ``Home.start``)."""
        self._running = True
        try:
            await self._keep_connected()
        finally:
            self._running = False

    async def _keep_connected(self) -> None:
        attempt = 0
        while self.state in (LaneState.CONNECTING, LaneState.DOWN):
            attempt += 1
            try:
                await self._connect()
            except UpstreamRefused as refused:
                self._refuse(refused)
                attempt = 0
                continue
            except (OSError, ProxyError) as error:
                if not self._over():
                    self._failed(attempt, error)
                if self._over():
                    return
                await asyncio.sleep(self._dial.retry.delay(attempt))
                continue
            if self._over():  # closed meanwhile
                self._abort()
                return
            attempt = 0
            self._opened()
            assert self._gone is not None
            await self._gone

    def _over(self) -> bool:
        return self.state is LaneState.CLOSED

    async def _connect(self) -> None:
        """Dial and shake hands. OSError, ProxyError: not now; UpstreamRefused: not as we are."""
        self.cutter = Cutter()
        if self.key.use is Use.TRACKED:
            self.cutter.places = []  # it speaks RESP3 to clients of RESP2 too
        self.frame.clear()
        self.paused = False
        self._why = UpstreamLost("closed by the server")
        self._gone = self._loop.create_future()
        self.wire = await self._dial.open(self._loop, self._protocol)
        self.wire.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        try:
            async with asyncio.timeout(min(HANDSHAKE_TIMEOUT, self._timeout_s)):
                await self._shake_hands()
        except BaseException:
            self._abort()
            raise

    def _abort(self) -> None:
        transport, self.wire = self.wire, None
        if transport is not None:
            transport.abort()

    def _protocol(self) -> asyncio.Protocol:
        # A compiled class cannot derive from asyncio.Protocol; it has all of its methods.
        return cast(asyncio.Protocol, self)

    async def _shake_hands(self) -> None:
        upstream = self._dial.upstream
        if self._bare:
            login: list[bytes] = []
        elif self.key.user is not None:
            login = [self.key.user.name, self.key.user.password]
        elif upstream.password is not None:
            # Without a name, the one-word AUTH also serves servers that only know requirepass.
            login = [(upstream.username or "default").encode(), upstream.password.encode()]
        else:
            login = []
        steps: list[list[bytes]] = []
        if login:
            named = self.key.user is not None or upstream.username is not None
            steps.append([b"AUTH", *(login if named else login[1:])])
        if self.key.resp == 3:
            steps.append([b"HELLO", b"3"])
        if self.key.db:
            steps.append([b"SELECT", b"%d" % self.key.db])
        needed = len(steps)
        tracked = self.key.use is Use.TRACKED
        if tracked:
            # Where the server does not know these, the lane serves without being told of changes.
            steps += [[b"HELLO", b"3"], [b"CLIENT", b"TRACKING", b"ON", b"OPTIN"]]
        replies = await self._converse([*steps, [b"CLIENT", b"ID"], [b"PING"]])
        if tracked:
            self.tracking = not any(reply.startswith(b"-") for reply in replies[needed:-2])
        for reply in replies:
            if reply.startswith(NOT_READY):
                raise UpstreamNotReady(reply)
        for at, reply in enumerate(replies[:needed]):
            if reply.startswith(b"-"):
                is_login = bool(login) and at == 0
                if is_login and b"unknown command" in reply:
                    # its own words repeat the password
                    reply = NO_AUTH_COMMAND
                raise UpstreamRefused(reply, login=is_login)
        self.locked = replies[-1].startswith(b"-NOAUTH")
        identity = replies[-2]
        self.client_id = integer_of(identity[1:-2]) or 0 if identity.startswith(b":") else 0

    async def _converse(self, requests: list[list[bytes]]) -> list[bytes]:
        """Ask on the new connection, before anybody else may."""
        assert self.wire is not None
        assert not self.waiting
        replies: list[bytes] = []
        answered: asyncio.Future[None] = self._loop.create_future()

        def take(reply: Reply) -> None:
            if isinstance(reply, bytes):
                replies.append(reply)
            elif not answered.done():
                answered.set_result(None)
            if len(replies) == len(requests) and not answered.done():
                answered.set_result(None)

        self.waiting.extend(AskSlot(take) for _ in requests)
        self.wire.write(b"".join(map(encode, requests)))
        try:
            await answered
        finally:
            self.waiting.clear()
        if len(replies) < len(requests) or self._gone is None or self._gone.done():
            if replies and replies[0].startswith(b"-"):
                raise UpstreamNotReady(replies[0])  # max number of clients reached, say
            raise UpstreamDown("connection lost during the handshake")
        return replies

    def _opened(self) -> None:
        """A connection stands: send what waited for it."""
        self._become(LaneState.READY)
        self._listen()
        self.done = self.sent  # the handshake's own replies were counted too
        event(log, logging.DEBUG, "lane ready", lane=self.number, db=self.key.db, lent=self.lent)
        offline, self.offline, self.offline_bytes = self.offline, deque(), 0
        for data, slot in offline:
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
            else UpstreamDown(f"{self._dial.address}: {error or type(error).__name__}")
        )
        level = logging.WARNING if attempt in (1, self._dial.retry.attempts) else logging.DEBUG
        event(log, level, "connect failed", lane=self.number, attempt=attempt, error=why)
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
        event(log, logging.WARNING, "handshake refused", lane=self.number, error=refused)
        self._home.lane_refused(self, refused)
        if self.lent:
            self._end(refused)
            return
        self._become(LaneState.IDLE)
        self._fail_offline(refused)

    def _lost(self) -> None:
        """The connection of a READY lane is gone."""
        event(
            log,
            logging.INFO,
            "lane lost",
            lane=self.number,
            waiting=len(self.waiting),
            error=self._why,
        )
        if self.lent:
            self._end(self._why)
            return
        self._forgotten()
        waiting, self.waiting = self.waiting, deque()
        # The last slots belong to requests that did not leave: they wait for the next connection.
        unsent = [(data, waiting.pop()) for data in reversed(self.out)]
        self.out.clear()
        self.offline.extendleft(unsent)
        self.offline_bytes += sum(len(data) for data, _ in unsent)
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
        # Pushes and the frames of a subscribed lane are handed over whole.
        inside = self.cutter.inside and not self.frame and self.plain_framing
        for slot in slots:
            slot.fail(why, inside)
            inside = False

    def _fail_offline(self, why: ProxyError) -> None:
        offline, self.offline, self.offline_bytes = self.offline, deque(), 0
        for _, slot in offline:
            slot.fail(why, False)
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
        """Once a second: give up a connection that owes replies and has been silent for too
        long."""
        owes = self.state is LaneState.READY and self.waiting
        if not owes or self.patient or self.paused or self.heard != self._heard_at_tick:
            self._silent = 0
        else:
            self._silent += 1
            # The first tick may have come right behind the request.
            if self._silent > self._timeout_s:
                self.lose(f"no answer in {self._timeout_s:g} s")
        self._heard_at_tick = self.heard
        self._waited = self._waited + 1 if self.offline else 0
        if self._waited > self._timeout_s:
            why = UpstreamDown(f"none in {self._timeout_s:g} s")
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
        at = self.cutter.cut(data, pos, 1, True)
        self.frame.append(data[pos:at])
        if self.cutter.stop == BROKEN:
            self.lose("bytes that are not RESP")
            return len(data)
        if self.cutter.done:
            frame = b"".join(self.frame)
            self.frame.clear()
            self._pushed(frame)
        return at

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
            at = self.cutter.cut(data, pos, 1, True)
            self.frame.append(data[pos:at])
            if self.cutter.stop == BROKEN:
                self.lose("bytes that are not RESP")
                return
            pos = at
            if not self.cutter.done:
                return
            frame = b"".join(self.frame)
            self.frame.clear()
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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """``_connect`` has the transport from its dial."""

    def eof_received(self) -> None:
        """The server sends no more: let the transport close."""

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
        blocked, self.blocked = self.blocked, []
        for owner in blocked:
            owner.lane_writable(self)

    def pause_reading(self, reader: object) -> None:
        """Stop taking replies: their client does not take them. Only while nobody else waits
        here."""
        shared = not self.lent
        if shared and (
            len(self.waiting) != 1 or getattr(self.waiting[0], "session", 0) is not reader
        ):
            return
        if self.wire is not None and not self.paused:
            self.paused = True
            self.wire.pause_reading()

    def resume_reading(self) -> None:
        if self.wire is not None and self.paused:
            self.paused = False
            self.wire.resume_reading()
