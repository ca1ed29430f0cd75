"""Both ends of the proxy without sockets: a client that keeps what it gets, a scripted upstream.

    Client.send ─▶ Session ─▶ Lanes, Lane ─▶ Upstream.expect
    Client.took ◀─ Session ◀─ Lanes, Lane ◀─ Upstream.reply

Everything between is the real thing. ``World.settle`` runs the loop until nothing is ready: no test
sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from nearhit.proxy.errors import ProtocolError, ProxyError, UpstreamRefused
from nearhit.proxy.hot.answers import Turn
from nearhit.proxy.near.cache import NearCache
from nearhit.proxy.resp.requests import Partial, encode, parse_request
from nearhit.proxy.session.acts.conduct import ALL_ACTS
from nearhit.proxy.session.clients import Clients
from nearhit.proxy.session.context import Context
from nearhit.proxy.session.scopes import Scope, Scopes
from nearhit.proxy.session.session import Session
from nearhit.proxy.settings.address import Upstream as Address
from nearhit.proxy.table.table import Ours, snapshot
from nearhit.proxy.upstream.dial import Dial
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey
from nearhit.proxy.upstream.lanes import Lanes
from nearhit.proxy.upstream.tracked import TrackedLane

TABLE = snapshot()
NEAR_TABLE = snapshot(Ours(near=True))


class Wire(asyncio.Transport):
    """A transport that keeps what is written; closing is told to the protocol in the next turn."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.written = b""
        self.reading = True
        self.end = ""  # how our side has ended it
        self.lost = False
        self.unread = 0  # bytes that the other side has not read

    def get_write_buffer_size(self) -> int:
        return self.unread

    def write(self, data: bytes) -> None:  # type: ignore[override]  # nothing else is written
        assert isinstance(data, bytes)
        assert data
        if not self.end and not self.lost:
            self.written += data

    def close(self) -> None:
        self._end("closed")

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """The other side closes when it sees the end of ours."""
        self._end("closed")

    def abort(self) -> None:
        self._end("aborted")

    def _end(self, how: str) -> None:
        if not self.end:
            self.end = how
            asyncio.get_running_loop().call_soon(self.lose)

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone."""
        if not self.lost:
            self.lost = True
            self.protocol.connection_lost(error)

    def is_closing(self) -> bool:
        return bool(self.end)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": ("10.0.0.1", 5000), "sockname": ("10.0.0.2", 6380)}.get(name, default)

    def take(self) -> bytes:
        """What was written since the last look."""
        taken, self.written = self.written, b""
        return taken


HANDSHAKE = {
    b"READONLY": b"+OK\r\n",
    b"AUTH": b"+OK\r\n",
    b"CLIENT": b"+OK\r\n",
    b"PING": b"+PONG\r\n",
    b"SELECT": b"+OK\r\n",
}


class Upstream(Wire):
    """The server's end of one lane: answers the handshake by itself, then follows the script."""

    def __init__(self, protocol: asyncio.Protocol, dial: FakeDial) -> None:
        super().__init__(protocol)
        self.dial = dial
        self.handshake: list[list[bytes]] | None = None

    def write(self, data: bytes) -> None:  # type: ignore[override]
        if self.handshake is None:
            self.handshake = requests(data)
            if not self.dial.mute:
                asyncio.get_running_loop().call_soon(self._shake)
            return
        if self.dial.permits and b"$3\r\nACL\r\n" in data[:16]:
            asking = requests(data)
            assert all(words[1] == b"DRYRUN" for words in asking)
            asyncio.get_running_loop().call_soon(self.reply, b"+OK\r\n" * len(asking))
            return
        super().write(data)
        if self.dial.answer is not None:
            asyncio.get_running_loop().call_soon(self._answer)

    def _shake(self) -> None:
        assert self.handshake is not None
        number = len(self.dial.wires) + 100
        hello = b"%%2\r\n$2\r\nid\r\n:%d\r\n$5\r\nproto\r\n:3\r\n" % number
        known = {**HANDSHAKE, b"HELLO": hello, **self.dial.handshake}
        self.reply(b"".join(known[words[0]] for words in self.handshake))

    def _answer(self) -> None:
        """Answer by itself whatever whole requests have come."""
        pos = 0
        while pos < len(self.written):
            try:
                request = parse_request(self.written, pos)
            except ProtocolError as error:  # out of a tunnel: answered and closed, as a server does
                self.reply(error.line)
                self.lose()
                break
            if isinstance(request, Partial):
                break
            pos = request.end
            if request.args and self.dial.answer is not None:
                reply = self.dial.answer(request.args)
                self.dial.seen.append(request.args)
                if reply:
                    self.reply(reply)
        self.written = self.written[pos:]

    def reply(self, *chunks: bytes) -> None:
        """Bytes from the server, each chunk a read of its own."""
        for chunk in chunks:
            if not self.end and not self.lost:
                self.protocol.data_received(chunk)

    def expect(self, *words: bytes) -> None:
        """The next request that came here is exactly this one."""
        wanted = encode(words)
        assert self.written[: len(wanted)] == wanted
        self.written = self.written[len(wanted) :]

    @property
    def quiet(self) -> bool:
        return not self.written


class NoWait:
    """A retry rule whose waits are loop turns."""

    attempts = 3

    def delay(self, attempt: int) -> float:
        return 0

    def again(self, count: int) -> float:
        return 0


class FakeDial(Dial):
    """Connects to scripts; ``refuse`` that many times first."""

    def __init__(self) -> None:
        super().__init__(Address(), NoWait())  # type: ignore[arg-type]  # has what Retry has
        self.wires: list[Upstream] = []
        self.refuse = 0
        self.mute = False  # accept, but never answer the handshake
        self.permits = True  # answer ACL DRYRUN by itself: everybody may everything
        self.handshake: dict[bytes, bytes] = {}
        self.answer: Callable[[list[bytes]], bytes] | None = None
        self.seen: list[list[bytes]] = []  # what was answered by itself
        self.failed_times = 0
        self.moved_by = 0  # what a refusal adds to ``moves``

    def failed(self) -> None:
        self.failed_times += 1

    async def open(
        self, loop: asyncio.AbstractEventLoop, protocol: Callable[[], asyncio.Protocol]
    ) -> asyncio.Transport:
        if self.refuse:
            self.refuse -= 1
            self.moves += self.moved_by
            raise ConnectionRefusedError("refused by the script")
        wire = Upstream(protocol(), self)
        self.wires.append(wire)
        wire.protocol.connection_made(wire)
        return wire


class Client:
    """A client of the proxy and its session."""

    def __init__(self, context: Context) -> None:
        self.session = Session(context, ALL_ACTS, context.lanes.primary_key)
        self.wire = Wire(self.session)
        self.session.connection_made(self.wire)

    def send(self, *words: bytes) -> None:
        self.raw(encode(words))

    def raw(self, data: bytes) -> None:
        if not self.wire.end and not self.wire.lost:
            self.session.data_received(data)

    def leave(self) -> None:
        self.wire.lose()

    def finish(self) -> None:
        """Send no more: the end of its stream."""
        if not self.wire.end and not self.session.eof_received():
            self.wire.close()

    def took(self) -> bytes:
        return self.wire.take()


class Tasks:
    """What Home.start was given."""

    def __init__(self) -> None:
        self.running: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.running.append(task)
        return task

    async def stop(self) -> None:
        for task in self.running:
            task.cancel()
        for ended in await asyncio.gather(*self.running, return_exceptions=True):
            assert ended is None or isinstance(ended, asyncio.CancelledError), repr(ended)


class NoKeys:
    """No loaders (spec.LoaderKeys)."""

    def manages(self, key: bytes) -> bool:
        return False

    def read_through(self, key: bytes) -> bool:
        return False

    def timed(self, key: bytes) -> bool:
        return False


class NoFlights:
    """No loads that a write could void."""

    def void(self, keys: Sequence[bytes]) -> None: ...

    def tick(self) -> None: ...


def _nowhere(key: LaneKey) -> Scope:
    raise AssertionError(f"no command of our own is known, and {key} was asked for")


class World:
    """A proxy without sockets."""

    def __init__(self, *, offline_max: int = 1 << 20, near: NearCache | None = None) -> None:
        self.near = near
        self.now = 100.0
        self.loop = asyncio.get_running_loop()
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.dial = FakeDial()
        self.tasks = Tasks()
        self.learnt = 0
        self.refused: list[UpstreamRefused] = []
        self.lanes = Lanes(
            self.dial,
            self.tasks.start,
            timeout_s=3,
            offline_max=offline_max,
            on_ready=lambda lane: None,
            on_refused=lambda lane, why: self.refused.append(why),
        )
        self.context = Context(
            lanes=self.lanes,
            clients=Clients(1000, lambda: None),
            table=TABLE if near is None else NEAR_TABLE,
            turn=Turn(self.loop.call_soon, 100.0, lambda: self.now),
            scopes=Scopes((), _nowhere if near is None else self._place),
            loaders=NoKeys(),
            start=self.tasks.start,
            learn=self._learn,
            near=near,
        )

    def _place(self, key: LaneKey) -> Scope:
        """A db's tracked lane and its space of the near cache; it runs no commands of our own."""
        nothing: Any = None
        flights: Any = NoFlights()
        return Scope(TrackedLane(self.lanes, key, self.near), flights, flights, nothing, nothing)

    def _learn(self) -> None:
        self.learnt += 1

    def client(self) -> Client:
        client = Client(self.context)
        if self.near is not None:
            client.session.open_tracked()  # else its first read would, and go elsewhere
        return client

    async def upstream(self, number: int) -> Upstream:
        """The lane's end at the server, by the order of connecting, once what was sent has come."""
        await self.settle()
        return self.dial.wires[number]

    @property
    def connections(self) -> int:
        return len(self.dial.wires)

    async def settle(self) -> None:
        await settle()
        assert not self.errors, self.errors

    async def close(self) -> None:
        self.lanes.close()
        await self.tasks.stop()
        await self.settle()


class FakeHome:
    """What a lane reports to, kept."""

    def __init__(self) -> None:
        self.tasks = Tasks()
        self.silent = False
        self.spoken = True  # a silent connection counts as a silent server
        self.suspects: list[str] = []
        self.down: ProxyError | None = None
        self.paused = False
        self.refused: list[UpstreamRefused] = []
        self.ready = 0

    def start(self, lane: Lane) -> None:
        self.tasks.start(lane.run())

    def lane_ready(self, lane: Lane) -> None:
        self.ready += 1
        self.down = None

    def lane_down(self, lane: Lane, why: ProxyError) -> None:
        self.down = why

    def lane_moved(self, lane: Lane) -> None: ...

    def lane_silent(self, lane: Lane) -> None:
        self.silent = self.spoken

    def suspected(self, lane: Lane, why: str) -> None:
        self.suspects.append(why)

    async def may_track(self, key: LaneKey) -> bool:
        return True

    def lane_refused(self, lane: Lane, why: UpstreamRefused) -> None:
        self.refused.append(why)


class Tray:
    """A slot that keeps what it gets and bears no second filling."""

    def __init__(self, want: int = 1) -> None:
        self.want = want
        self.got = b""
        self.error = b""
        self.inside = False
        self.filled = 0

    def feed(self, chunk: bytes) -> None:
        assert not self.filled, "fed after it was filled"
        assert chunk
        self.got += chunk
        if not self.want:
            self.filled += 1

    def fail(self, why: ProxyError, inside: bool) -> None:
        assert not self.filled, "failed after it was filled"
        self.error = why.line
        self.inside = inside
        self.want = 0
        self.filled += 1


async def settle() -> None:
    """Run the loop until what is ready has run, and what that made ready too."""
    for _ in range(30):
        await asyncio.sleep(0)


def requests(data: bytes) -> list[list[bytes]]:
    """Whole requests, as words."""
    found: list[list[bytes]] = []
    pos = 0
    while pos < len(data):
        request = parse_request(data, pos)
        assert not isinstance(request, Partial)
        found.append(request.args)
        pos = request.end
    return found
