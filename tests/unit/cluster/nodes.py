"""A cluster of three scripted nodes in time of its own, and a virtual connection to it.

Each node answers by its ``say``: the first line that fits a request's words, else +OK; what a node
pushes comes by ``push``. The map is set, and never asked for."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from nearhit.proxy.cluster.cluster import Cluster
from nearhit.proxy.cluster.connection import Connection
from nearhit.proxy.cluster.lanes import ClusterLanes, NodeLanes
from nearhit.proxy.cluster.planner import Planner
from nearhit.proxy.cluster.table import one_key
from nearhit.proxy.cluster.topology import Topology, parse_slots
from nearhit.proxy.resp.kernel import RouteMap
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.resp.routes import Route
from nearhit.proxy.table.table import snapshot
from nearhit.proxy.upstream.lane_key import LaneKey
from nearhit.proxy.upstream.lanes import Lanes

from tests.clusters import key_in
from tests.fakes import FakeDial, Tasks
from tests.virtual import VirtualLoop

A, B, C = key_in(100), key_in(6000), key_in(12000)  # a key at each node
ENDS = (5000, 10000, 16384)
PATIENCE = 2.0
Answer = bytes | None
TABLE = snapshot()


def owners(ports: Sequence[int]) -> Topology:
    """Who has which third of the slots."""
    rows: list[Any] = []
    start = 0
    for end, port in zip(ENDS, ports, strict=True):
        rows.append([start, end - 1, [b"n", port, b"%040d" % port, []]])
        start = end
    return parse_slots(rows, "n")


class Node:
    def __init__(self, port: int) -> None:
        self.dial = FakeDial()
        self.dial.upstream = replace(self.dial.upstream, host="n", port=port)
        self.dial.answer = self._answer
        self.seen: list[bytes] = []  # requests, as one line each
        self._script: list[tuple[bytes, list[Answer]]] = []

    def say(self, begin: bytes, *answers: Answer) -> None:
        """Answer requests that begin so: each once, and the last one ever after; None: never."""
        self._script.insert(0, (begin, list(answers)))

    def _answer(self, words: list[bytes]) -> bytes:
        line = b" ".join(words)
        self.seen.append(line)
        for begin, answers in self._script:
            if line.startswith(begin):
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                return answer or b""
        return b"+OK\r\n"

    def push(self, data: bytes) -> None:
        """On the connection that was made last."""
        self.dial.wires[-1].reply(data)

    def lose(self) -> None:
        for wire in self.dial.wires:
            wire.lose()


class Protocol(asyncio.Protocol):
    """The lane's end."""

    def __init__(self) -> None:
        self.got = b""
        self.ended = False
        self.full = False

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False


class World:
    def __init__(self) -> None:
        self.tasks = Tasks()
        self.trouble: list[Lanes] = []
        self.valkey = False
        self.nodes = [Node(port) for port in (1, 2, 3)]
        self.cluster = Cluster(
            [("seed", 1)],
            self._pool,
            self.tasks.start,
            patience=PATIENCE,
            commands=lambda: TABLE.commands,
            valkey=lambda: self.valkey,
        )
        self.cluster.watch.refresh = lambda why, avoid=None: None  # type: ignore[method-assign]
        self.cluster.open = lambda: None  # type: ignore[method-assign]
        self.lanes = ClusterLanes(
            self.cluster,
            Planner(lambda: TABLE.commands, lambda: None, lambda: False),
            RouteMap(dict.fromkeys(one_key(TABLE.commands), int(Route.PLAIN))),
            FakeDial(),
            self.tasks.start,
            timeout_s=30,
            offline_max=1 << 20,
            on_ready=lambda _: None,
            on_refused=lambda *_: None,
        )

    def _pool(self, host: str, port: int) -> Lanes:
        return NodeLanes(
            self.trouble.append,
            self.nodes[port - 1].dial,
            self.tasks.start,
            timeout_s=30,
            offline_max=1 << 20,
            on_ready=lambda _: None,
            on_refused=lambda *_: None,
        )

    def map(self, *ports: int) -> None:
        """The slots are there from now on."""
        old, new = self.cluster.topology, owners(ports)
        self.cluster.watch.topology = new
        self.cluster._changed(old, new)  # pyright: ignore[reportPrivateUsage]

    async def connect(self) -> Line:
        protocol = Protocol()
        dial: Any = self.lanes.dial
        connection = await dial.open(asyncio.get_running_loop(), lambda: protocol)
        return Line(connection, protocol)


class Line:
    """A virtual connection and who uses it."""

    def __init__(self, connection: Connection, protocol: Protocol) -> None:
        self.connection = connection
        self.protocol = protocol

    def send(self, *requests: str | bytes) -> None:
        """Words by spaces."""
        lines = [one.encode() if isinstance(one, str) else one for one in requests]
        self.connection.write(b"".join(encode(line.split(b" ")) for line in lines))

    async def ask(self, *requests: str | bytes, seconds: float = 0.01) -> bytes:
        """What has come that soon."""
        self.send(*requests)
        return await self.heard(seconds)

    async def heard(self, seconds: float = 0.01) -> bytes:
        await asyncio.sleep(seconds)
        got, self.protocol.got = self.protocol.got, b""
        return got


def clustered(test: Callable[[World], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        async def in_a_world() -> None:
            world = World()
            world.map(1, 2, 3)
            try:
                await test(world)
            finally:
                world.lanes.close()
                await world.tasks.stop()

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(in_a_world())

    del run.__wrapped__  # type: ignore[attr-defined]  # pytest would ask it for its fixtures
    return run


def key(resp: int = 2) -> LaneKey:
    return LaneKey(resp=resp)
