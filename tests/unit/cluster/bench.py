"""Three nodes without sockets, and a router in front of them: the lanes are real, the map is a
test's to change."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Sequence

from nearhit.proxy.cluster.canary import Canaries
from nearhit.proxy.cluster.plans import Anywhere, One, Plan, Spread
from nearhit.proxy.cluster.router import Router
from nearhit.proxy.cluster.scripts import Scripts
from nearhit.proxy.cluster.topology import SLOTS, UNCOVERED
from nearhit.proxy.errors import ProxyError
from nearhit.proxy.hot.answers import Answers, RunSlot, Slot, Turn
from nearhit.proxy.hot.lane import LaneCore, LaneState
from nearhit.proxy.resp.kernel import RouteMap, hash_slot
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.resp.routes import Route
from nearhit.proxy.upstream.ask import AskSlot
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey

from tests.clusters import key_in
from tests.fakes import FakeDial, FakeHome, Tray, Upstream, Wire, settle

A, B, C = key_in(0), key_in(6000), key_in(12000)
PLAIN = dict.fromkeys((b"GET", b"SET", b"INCR", b"PTTL"), int(Route.PLAIN))


def get(key: bytes) -> bytes:
    return encode([b"GET", key])


def set_(key: bytes, value: bytes) -> bytes:
    return encode([b"SET", key, value])


class Bench:
    """``nodes`` are at port 0, 1, 2. Fulfils Nodes and Front (router.py, gated.py)."""

    def __init__(self, *, held_max: int = 1 << 20, patience: float = 30.0) -> None:
        self.patience = patience
        self.scripts = Scripts()
        self.tracked = True
        self.refreshed: list[str] = []
        self.freshened = self.room = 0
        self.left: list[int] = []
        self.lately = set[int]()
        self.silent = 0.0
        self.refusing = set[int]()
        self.canaries = Canaries(self.left.append)
        self.plans: dict[bytes, Plan] = {}
        self.home = FakeHome()
        self.dials = [FakeDial() for _ in range(3)]
        self.lanes = [
            Lane(at, LaneKey(), dial, self.home, offline_max=1 << 20, timeout_s=30)
            for at, dial in enumerate(self.dials)
        ]
        self.owners = array("h", [slot * 3 // SLOTS for slot in range(SLOTS)])
        self.router = Router(self, RouteMap(PLAIN), self.owners, self, held_max)
        self.router.lanes = list[LaneCore](self.lanes)
        self.front = LaneCore(asyncio.get_running_loop().call_soon)
        self.front.router, self.front.state = self.router, LaneState.READY

    async def open(self) -> Bench:
        for lane in self.lanes:
            lane.users = 1
            lane.open()
        await settle()
        return self

    def silent_s(self, lane: Lane) -> float:
        return self.silent

    def node(self, at: int) -> Upstream:
        return self.dials[at].wires[-1]

    def send(self, *requests: bytes, slot: Slot | None = None) -> Tray:
        tray = Tray(len(requests))
        self.front.send(b"".join(requests), slot or tray)
        return tray

    def does_without(self, slot: Slot, keys: Sequence[bytes]) -> bool:
        return isinstance(slot, AskSlot) and slot.forgoes

    def refused(self, slot: int) -> None:
        self.refusing.add(slot)

    def is_refused(self, slot: int) -> bool:
        return self.owners[slot] == UNCOVERED or slot in self.refusing

    def moved_lately(self, slot: int) -> bool:
        return slot in self.lately

    def moved(self, key: bytes, to: int) -> bytes:
        return b"-MOVED %d node:%d\r\n" % (hash_slot(key), to)

    def asks(self, key: bytes, to: int) -> bytes:
        return b"-ASK %d node:%d\r\n" % (hash_slot(key), to)

    def own(self, key: bytes, to: int) -> None:
        """Its slot is that node's from now on, as the map says."""
        slot = hash_slot(key)
        was = self.owners[slot]
        if was != to:
            self.owners[slot] = to
            self.router.move({slot}, self.lanes[was])

    async def close(self) -> None:
        for lane in self.lanes:
            lane.close()
        await self.home.tasks.stop()

    # Nodes

    def plan(self, words: Sequence[bytes]) -> Plan:
        if words[0] in self.plans:
            return self.plans[words[0]]
        return One(hash_slot(words[3])) if words[0] == b"EVAL" else Anywhere()

    def by_key(self, words: Sequence[bytes]) -> Spread | None:
        if words[0] != b"DEL":
            return None
        pieces = [(hash_slot(key), encode([b"DEL", key])) for key in words[1:]]
        return Spread(pieces, lambda replies: b",".join(replies))

    def reads(self, name: bytes) -> bool:
        return name == b"GET"

    def refresh(self, why: str) -> None:
        self.refreshed.append(why)

    def follow(self, slot: int, host: str, port: int) -> bool:
        if port > 2:
            return False
        if self.owners[slot] != port:
            was, self.owners[slot] = self.owners[slot], port
            self.router.move({slot}, self.lanes[was])
        return True

    def lane_at(self, host: str, port: int) -> Lane | None:
        return self.lanes[port] if port < 3 else None

    def replica_lanes(self) -> Sequence[Lane]:
        return []

    # Front

    def lane_writable(self, lane: Lane | None) -> None:
        self.room += 1

    def freshen(self) -> None:
        self.freshened += 1


async def later(seconds: float = 0.01) -> None:
    """Until gates without a pause have opened."""
    await settle()
    await asyncio.sleep(seconds)
    await settle()


__all__ = ["A", "B", "Bench", "C", "ProxyError", "get", "later", "set_"]


class Reader(Answers):
    """A client's queue of answers."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(Turn(loop.call_soon, 0.0, loop.time))
        self.socket = Wire(asyncio.Protocol())
        self.wire = self.socket
        self.aborted = ""

    def run(self, bench: Bench, *requests: bytes, reads: int = 0, marks: bytes = b"") -> RunSlot:
        slot = RunSlot(self, len(requests))
        slot.reads, slot.marks = reads, marks or None
        self.push_slot(slot)
        bench.front.send(b"".join(requests), slot)
        return slot

    @property
    def took(self) -> bytes:
        self.flush()
        data, self.socket.written = self.socket.written, b""
        return data

    def abort(self, why: str) -> None:
        self.aborted = why

    def resume(self, reason: int) -> None: ...

    def pushed(self, frame: bytes) -> None:
        self.write(frame)


def took(bench: Bench, at: int) -> bytes:
    """What the node was sent since it was last looked at."""
    node = bench.node(at)
    data, node.written = node.written, b""
    return data
