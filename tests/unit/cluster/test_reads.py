"""To whom reads go where replicas may answer them, and what becomes of those that they do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from nearhit.proxy.cluster.plans import Anywhere, Everywhere, One, Spread
from nearhit.proxy.cluster.reads import NO_REPLICA, Reads, readable
from nearhit.proxy.cluster.replicas import ReadFrom
from nearhit.proxy.cluster.topology import Node, Shard
from nearhit.proxy.cluster.written import WINDOW_S, Written
from nearhit.proxy.hot.answers import RunSlot
from nearhit.proxy.resp.kernel import RouteMap, hash_slot
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.resp.routes import Route
from nearhit.proxy.table.table import Command, snapshot
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey, Use

from tests.fakes import FakeDial
from tests.unit.cluster.bench import PLAIN, A, B, Bench, C, Reader, get, later, set_

COMMANDS = snapshot().commands
OK, NIL = b"+OK\r\n", b"$-1\r\n"
KEY = LaneKey(use=Use.REPLICA)


def node(port: int) -> Node:
    return Node(b"%040d" % port, "n", port, frozenset({"n"}))


class Client(Reader):
    """A session's answers, with what it has written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = Written()


class World:
    """Three shards whose replica is at port 10, 11, 12. Fulfils Cluster and Replicas for Reads."""

    def __init__(self, read_from: ReadFrom = ReadFrom.PREFER_REPLICA) -> None:
        self.bench = Bench()
        self.read_from = read_from
        self.version = self.reads = 0
        self.fit = {10, 11, 12}
        self.hung = False
        self.dials = {port: FakeDial() for port in (10, 11, 12)}
        self.lanes = {
            port: Lane(port, KEY, dial, self.bench.home, offline_max=1 << 20, timeout_s=30)
            for port, dial in self.dials.items()
        }
        self.shards = [Shard(node(at), (node(at + 10),), ()) for at in range(3)]
        self.spreading: set[object] = set()
        self.owners = self.bench.owners
        self.chooser = Reads(cast(Any, self), LaneKey(), RouteMap({**PLAIN}))
        self.bench.router.reads = self.chooser
        self.table: dict[bytes, Command] = {}  # the servers have not said yet what they know
        self.client = Client()

    async def open(self) -> World:
        await self.bench.open()
        self.chooser.mapped(self.bench.router.lanes)
        await later(0)
        self.version += 1
        self.table = dict(COMMANDS)
        return self

    async def close(self) -> None:
        self.chooser.close()
        for lane in self.lanes.values():
            lane.close()
        await self.bench.close()

    def send(self, *requests: bytes) -> RunSlot:
        return self.client.run(self.bench, *requests)

    def took(self, port: int) -> bytes:
        """What a primary (0, 1, 2) or a replica was sent since it was last looked at."""
        wire = self.bench.node(port) if port < 3 else self.dials[port].wires[-1]
        data, wire.written = wire.written, b""
        return data

    def answer(self, port: int, *replies: bytes) -> None:
        (self.bench.node(port) if port < 3 else self.dials[port].wires[-1]).reply(*replies)

    # Cluster and Replicas

    @property
    def readers(self) -> Any:
        return _Replicas(self)

    @property
    def topology(self) -> World:
        return self

    def commands(self) -> Any:
        return self.table

    def pool(self, _host: str, port: int) -> Any:
        lane = self.lanes[port]

        class Pool:
            def shared(self, _key: LaneKey) -> Lane:
                return lane

        return Pool()


class _Replicas:
    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    @property
    def reads(self) -> int:
        return self._world.reads

    @reads.setter
    def reads(self, count: int) -> None:
        self._world.reads = count

    def readers(self, shard: Shard) -> list[Node]:
        return [one for one in shard.replicas if one.port in self._world.fit]

    def doubt(self, one: Node) -> None:
        self._world.fit.discard(one.port)
        self._world.version += 1

    def silent(self, _node: Node) -> bool:
        return self._world.hung


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = await World().open()
    yield made
    await made.close()


@pytest.fixture
async def strict() -> AsyncIterator[World]:
    made = await World(ReadFrom.REPLICA).open()
    yield made
    await made.close()


def test_only_what_changes_nothing_and_waits_for_nothing_may_be_read_at_replicas() -> None:
    found = readable(COMMANDS)

    assert {b"GET", b"MGET", b"HGETALL", b"EXISTS", b"TTL", b"ZRANGE", b"SINTER"} <= found | {
        b"SINTER"
    }
    assert not found & {
        *(b"SET", b"GETEX", b"SCAN", b"HSCAN", b"SSCAN", b"ZSCAN", b"XREAD", b"PFCOUNT"),
        *(b"EVAL", b"EVAL_RO", b"EVALSHA_RO", b"FCALL_RO", b"KEYS", b"DBSIZE", b"SORT"),
    }


async def test_what_has_waited_in_a_gate_is_the_primaries_whoever_reads_meanwhile(
    world: World,
) -> None:
    flush, script = encode([b"FLUSHALL"]), encode([b"EVAL", b"s", b"1", B])
    everywhere = Everywhere(False, lambda replies: replies[0])
    world.bench.plans = {b"FLUSHALL": everywhere, b"EVAL": One(hash_slot(B))}
    world.send(set_(A, b"1"))
    await later(0)
    world.bench.own(A, 1)
    world.send(set_(A, b"2"))
    world.send(flush, script)
    Client().run(world.bench, get(B), get(B))
    await later(0)
    assert world.took(11) == get(B) * 2

    world.answer(0, world.bench.moved(A, 1), b"*0\r\n")
    await later()

    assert script in world.took(1)
    assert world.took(11) == b""


async def test_what_reads_is_learnt_anew_with_another_table(world: World) -> None:
    world.send(get(A))
    await later(0)
    assert world.took(10) == get(A)
    world.answer(10, b":1\r\n")

    world.table = {name: command for name, command in COMMANDS.items() if name != b"GET"}
    world.send(get(A))
    await later(0)

    assert (world.took(0), world.took(10)) == (get(A), b"")


async def test_reads_go_to_replicas_and_come_back_in_order(world: World) -> None:
    world.send(get(A), get(B), get(A))
    await later(0)
    assert [world.took(port) for port in (0, 1, 2)] == [b""] * 3
    assert (world.took(10), world.took(11)) == (get(A) * 2, get(B))

    world.answer(11, b":2\r\n")
    world.answer(10, b":1\r\n:3\r\n")
    await later(0)

    assert world.client.took == b":1\r\n:2\r\n:3\r\n"
    assert world.reads == 3


async def test_a_run_with_a_write_goes_to_primaries_whole(world: World) -> None:
    world.send(get(B), set_(A, b"1"), get(A))
    await later(0)

    assert (world.took(0), world.took(1)) == (set_(A, b"1") + get(A), get(B))
    assert world.reads == 0


async def test_what_was_written_is_read_at_the_primary_for_a_while(world: World) -> None:
    world.send(set_(A, b"1"))
    world.send(get(A))
    world.send(get(B))
    await later(0)
    assert world.took(0) == set_(A, b"1") + get(A)
    assert world.took(11) == get(B)
    world.answer(0, OK, b":1\r\n")
    world.answer(11, NIL)

    world.send(get(A))
    await later(0)
    assert world.took(0) == get(A)
    world.answer(0, b":1\r\n")

    written = world.client.written
    assert not written.touches([hash_slot(A)], world.chooser._loop.time() + WINDOW_S)  # pyright: ignore[reportPrivateUsage]


async def test_another_client_reads_at_the_replica_meanwhile(world: World) -> None:
    world.send(set_(A, b"1"))
    world.client = Client()
    world.send(get(A))
    await later(0)

    assert world.took(10) == get(A)


async def test_who_has_written_what_cannot_be_seen_reads_everything_at_primaries(
    world: World,
) -> None:
    world.bench.plans[b"FLUSHALL"] = Anywhere()
    world.send(encode([b"FLUSHALL"]))
    world.send(get(C))
    await later(0)

    assert world.took(2).endswith(get(C))


async def test_reads_of_many_keys_go_to_replicas_too(world: World) -> None:
    pieces = ((hash_slot(A), get(A)), (hash_slot(B), get(B)))
    world.bench.plans[b"MGET"] = Spread(pieces, lambda replies: b"".join(replies))

    world.send(encode([b"MGET", A, B]))
    await later(0)

    assert (world.took(10), world.took(11)) == (get(A), get(B))


@pytest.mark.parametrize(
    ("refusal", "left"),
    [
        (b"-LOADING it is\r\n", True),
        (b"-MASTERDOWN\r\n", True),
        # The map is old, and nothing is wrong with the replica.
        (b"-MOVED 0 n:9\r\n", False),
        (b"-ASK 0 n:9\r\n", False),
    ],
)
async def test_what_a_replica_refuses_its_primary_answers(
    world: World, refusal: bytes, left: bool
) -> None:
    world.send(get(A), get(A))
    await later(0)

    world.answer(10, refusal, NIL)
    await later()
    assert world.took(0) == get(A)
    world.answer(0, b":1\r\n")
    await later(0)

    assert world.client.took == b":1\r\n" + NIL
    assert (10 not in world.fit) is left


async def test_a_replica_that_is_lost_costs_no_error(world: World) -> None:
    world.send(get(A), get(A))
    await later(0)

    world.dials[10].wires[-1].lose()
    await later()
    assert world.took(0) == get(A) * 2
    world.answer(0, b":1\r\n:2\r\n")
    await later(0)

    assert world.client.took == b":1\r\n:2\r\n"
    world.send(get(A))
    await later(0)
    assert world.took(0) == get(A)


async def test_one_that_is_left_while_it_owes_can_be_resumed_until_it_has_answered(
    world: World,
) -> None:
    world.send(get(A))
    await later(0)
    lane = world.lanes[10]

    world.fit.discard(10)
    world.version += 1
    world.chooser.tick()
    assert lane in world.chooser.held

    world.answer(10, b":1\r\n")
    world.version += 1
    world.chooser.tick()
    assert lane not in world.chooser.held
    assert world.client.took == b":1\r\n"


async def test_one_that_hangs_is_given_up(world: World) -> None:
    world.send(get(A))
    await later(0)

    world.fit.discard(10)  # as it is with the first INFO that is late
    world.version += 1
    world.chooser.tick()
    world.hung = True
    world.chooser.tick()
    await later()

    assert world.took(0) == get(A)


async def test_without_a_replica_the_primary_answers(world: World) -> None:
    world.fit.clear()
    world.version += 1

    world.send(get(A))
    await later(0)

    assert world.took(0) == get(A)
    assert world.reads == 0


async def test_or_it_is_an_error_where_only_replicas_may(strict: World) -> None:
    strict.fit.remove(10)
    strict.version += 1

    strict.send(get(A))
    strict.send(get(B), get(A))
    await later(0)
    strict.answer(11, NIL)
    await later(0)

    assert strict.client.took == NO_REPLICA.line + NIL + NO_REPLICA.line
    assert strict.bench.router.owing == 0


async def test_a_read_that_the_only_replica_refuses_is_an_error_there(strict: World) -> None:
    strict.send(get(A))
    await later(0)

    strict.answer(10, b"-LOADING it is\r\n")
    await later()

    assert strict.client.took == NO_REPLICA.line
    assert strict.took(0) == b""


async def test_a_near_lane_reads_at_primaries(world: World) -> None:
    world.bench.router.reads = Reads(
        cast(Any, world), LaneKey(use=Use.TRACKED), RouteMap({b"GET": int(Route.PLAIN)})
    )

    world.send(get(A))
    await later(0)

    assert world.took(0) == get(A)
