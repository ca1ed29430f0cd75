"""How a lane gets its connection, and gets it again: attempts, handshake, the states between.

    IDLE ──▶ CONNECTING ──▶ READY ──▶ lost: CONNECTING where somebody needs it, else IDLE
                 │  ▲ ▼
                 │  attempts by the retry rule of dial.py
                 ├──▶ DOWN    the attempts are used up; tried on, READY when one succeeds
                 └──▶ IDLE    refused: the next request asks again
    each ──▶ CLOSED           for good

Owns the transport from dialling to its end and moves the state. What a new, failed or refused
connection means for the requests is for its subclass Lane to say."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Final, Protocol, cast

from ..errors import (
    NODE_OF_CLUSTER,
    ProxyError,
    UpstreamDown,
    UpstreamLost,
    UpstreamNotReady,
    UpstreamRefused,
)
from ..hot.lane import LaneCore, LaneState
from ..resp.kernel import Cutter, RouteMap
from ..resp.requests import encode
from .ask import AskSlot, Reply
from .dial import Dial, Mute
from .handshake import again, judge, steps
from .lane_key import LaneKey, Use

# Upstream bytes a lane holds in its transport before the sessions that feed it are paused.
WRITE_HIGH: Final = 4 * 1024 * 1024
WRITE_LOW: Final = 1024 * 1024
HANDSHAKE_TIMEOUT: Final = 10.0  # seconds
# A connection that has stood for so many seconds was a good one. After those that end sooner the
# next ones come ever more slowly.
GOOD: Final = 1.0

MOVES: Final[Mapping[LaneState, set[LaneState]]] = {
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


class RoundTrips(Protocol):
    """What keeps how long the server takes (stats/sampler.py)."""

    def gap(self) -> int:
        """Batches until one is timed."""
        ...

    def now(self) -> float:
        """Seconds."""
        ...

    def took(self, seconds: float) -> None: ...


class Connecting(LaneCore):
    """A lane's connection, kept by ``run`` for as long as the lane has something to do."""

    def __init__(self, key: LaneKey, dial: Dial, *, timeout_s: float, bare: bool) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop.call_soon)
        self.key = key
        self.client_id = 0
        self.locked = False  # the server wants a login that we do not have
        self._bare = bare  # never logs in
        self._dial = dial
        self._loop = loop
        self._handshake_s = min(HANDSHAKE_TIMEOUT, timeout_s)
        self._why: ProxyError = UpstreamLost("closed by the server")
        self._gone: asyncio.Future[None] | None = None  # done as the connection is lost
        self._running = False
        self.failing = False  # the last attempt to connect has failed
        self._short = 0  # connections in a row that did not last
        self._trips: RoundTrips | None = None
        self._left_at = 0.0  # what is timed
        self._opened_at = math.inf

    @property
    def host(self) -> str:
        """Of its server; empty where that is a socket file."""
        return self._dial.upstream.host

    @property
    def port(self) -> int:
        return self._dial.upstream.port

    @property
    def now(self) -> float:
        """Seconds, monotonic."""
        return self._loop.time()

    @property
    def reads(self) -> RouteMap | None:
        """The commands that only read, and may be asked twice (dial.py)."""
        return self._dial.reads

    @property
    def halfway(self) -> bool:
        """Whether a part of a reply has come, and not all of it."""
        # Pushes and the frames of a subscribed lane are handed over whole.
        return self.cutter.inside and not self.frame and self.plain_framing

    @property
    def owes(self) -> bool:
        """Whether replies are to come."""
        return bool(self.waiting)

    @property
    def why(self) -> ProxyError:
        """What ended the last connection."""
        return self._why

    @property
    def can_track(self) -> bool:
        """Whether the server tells of changes here, as far as is known."""
        return self.tracking or self.state is not LaneState.READY

    def is_away(self, key: bytes) -> bool:
        """Whether the server that has the key is known not to be there: it cannot be connected
        to."""
        return self.failing and self.state is not LaneState.READY

    def _become(self, state: LaneState) -> None:
        assert state in MOVES[self.state], f"{self.state.name} -> {state.name}"
        self.state = state

    async def run(self) -> None:
        """Keep a connection until the lane is closed or has nothing to do. ``Home.start`` runs it
        as a task."""
        self._running = True
        try:
            await self._keep_connected()
        finally:
            self._running = False

    async def _keep_connected(self) -> None:
        retry = self._dial.retry
        attempt = 0
        pause = retry.again(self._short) if self._short else None
        moves = self._dial.moves
        while self.state in (LaneState.CONNECTING, LaneState.DOWN):
            if pause is not None:
                await self._dial.pause(pause, moves)
                if self._over():
                    return
            attempt = attempt + 1 if moves == self._dial.moves else 1
            moves = self._dial.moves
            try:
                await self._connect()
            except UpstreamRefused as refused:
                self._refuse(refused)
                continue
            except (OSError, ProxyError) as error:
                self.failing = True
                if not self._over() and self._not_there(moves):
                    self._failed(attempt, error)
                pause = retry.delay(attempt)
                continue
            if self._over():  # closed meanwhile
                self._abort()
                return
            self._opened_at = self._loop.time()
            self.failing = False
            self._opened()
            assert self._gone is not None
            await self._gone
            if not self._over():
                self._not_there(moves)
            attempt = 0
            self._short = 0 if self.good else self._short + 1
            pause = retry.again(self._short) if self._short else None

    def _not_there(self, moves: int) -> bool:
        """A connection failed, or was lost. False: because the upstream has moved since."""
        if moves != self._dial.moves:
            return False
        self._dial.failed()
        return True

    def cut(self, why: ProxyError) -> None:
        """The upstream is elsewhere from now on: send nothing more to where it was, and take no
        answer. What is connected anew is connected there."""
        if self.state is LaneState.READY:
            self._why = why
            self._abort()
            self._lost()
        elif self.wire is not None:  # in the handshake
            self.wire.abort()

    @property
    def good(self) -> bool:
        """Whether the connection has stood for a while, or had when it was lost."""
        return self._loop.time() - self._opened_at >= GOOD

    def _over(self) -> bool:
        return self.state is LaneState.CLOSED

    async def _connect(self) -> None:
        """Dial and shake hands. OSError, ProxyError: not now; Mute: the server says nothing;
        UpstreamRefused: not as we are."""
        self.cutter = Cutter()
        if self.key.use is Use.TRACKED:
            self.cutter.places = []  # it speaks RESP3 to clients of RESP2 too
        self.frame.clear()
        self.paused = False
        self.timed_to = 0
        self._why = UpstreamLost("closed by the server")
        self._gone = self._loop.create_future()
        self.wire = await self._dial.open(self._loop, self._protocol)
        self.wire.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        try:
            async with asyncio.timeout(self._handshake_s):
                await self._shake_hands()
        except TimeoutError:  # the clock's own has no words
            self._abort()
            raise Mute(f"no answer within {self._handshake_s:g} s") from None
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
        tracks = self.key.use is Use.TRACKED and await self._may_track()
        asked = steps(self.key, self._dial.upstream, bare=self._bare, tracks=tracks)
        replies = await self._converse([step.words for step in asked])
        more = again(asked, replies)
        if more:
            replies += await self._converse([step.words for step in more])
        standing = judge([*asked, *more], replies)
        if standing.cluster and self._dial.on_cluster is not None:
            # Before anything else is sent: whoever waits must not see what a node answers.
            self._dial.on_cluster()
            raise UpstreamRefused(NODE_OF_CLUSTER, login=False)
        self.client_id = standing.client_id
        self.locked = standing.locked
        self.tracking = standing.tracking

    async def _converse(self, requests: list[tuple[bytes, ...]]) -> list[bytes]:
        """The replies to requests that are sent before anybody else may send.

        UpstreamNotReady, UpstreamDown: the connection was lost before all had come."""
        assert self.wire is not None
        assert not self.waiting
        replies: list[bytes] = []
        answered: asyncio.Future[None] = self._loop.create_future()

        def take(reply: Reply) -> None:
            if isinstance(reply, bytes):
                replies.append(reply)
            over = isinstance(reply, ProxyError) or len(replies) == len(requests)
            if over and not answered.done():
                answered.set_result(None)

        self.waiting.extend(AskSlot(take) for _ in requests)
        for words in requests:
            self._dial.ledger.note(words, self._loop.time())
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

    def time_by(self, trips: RoundTrips) -> None:
        """Have some of what is sent from now on timed."""
        self._trips = trips
        self.countdown = trips.gap()

    def time(self) -> None:
        assert self._trips is not None
        self.countdown = self._trips.gap()
        if not self.timed_to:
            self.timed_to, self._left_at = self.sent, self._trips.now()

    def timed(self) -> None:
        assert self._trips is not None
        self.timed_to = 0
        self._trips.took(self._trips.now() - self._left_at)

    def rest_a_turn(self) -> None:
        """Read on in the next turn of the loop: others are served in between."""
        if self.wire is not None and not self.paused:
            self.wire.pause_reading()
            self.call_soon(self._rested)

    def _rested(self) -> None:
        if self.wire is not None and not self.paused:
            self.wire.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """``_connect`` has the transport from its dial."""

    def eof_received(self) -> None:
        """The server sends no more: let the transport close."""

    # --- What a subclass makes of it ----------------------------------------------------------

    async def _may_track(self) -> bool:
        """Whether the key's user may track, as far as it can be known without asking as the
        user."""
        return True

    def _opened(self) -> None:
        """A connection stands and its handshake is done."""
        raise NotImplementedError

    def _lost(self) -> None:
        """The connection of a READY lane is gone. Not READY any more, then."""
        raise NotImplementedError

    def _failed(self, attempt: int, error: Exception) -> None:
        """The attempt with this number (from 1) failed."""
        raise NotImplementedError

    def _refuse(self, refused: UpstreamRefused) -> None:
        """The server answered the handshake with an error. Not CONNECTING any more, then."""
        raise NotImplementedError
