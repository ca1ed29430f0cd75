"""What the status page shows, of parts that are wired and servers that are scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nearhit.proxy.cluster.lanes import ClusterLanes
from nearhit.proxy.errors import ProxyError, ServerError
from nearhit.proxy.jobs.board import Owner, Record
from nearhit.proxy.process import status as module
from nearhit.proxy.process.status import VALUE_MOST, Status
from nearhit.proxy.stats.counters import Stats
from nearhit.proxy.stats.families import Families
from nearhit.proxy.stats.shared import Board
from nearhit.proxy.upstream.lane_key import LaneKey

KEY = b"user:1"


class Server:
    """Answers by the words it is asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[bytes, ...], object] = {
            (b"TYPE", KEY): "string",
            (b"STRLEN", KEY): 2000,
            (b"GETRANGE", KEY, b"0", b"%d" % (VALUE_MOST - 1)): b"value",
            (b"PTTL", KEY): 1500,
            (b"GET", b"lease:{user:1}"): None,
        }

    async def ask(self, *words: bytes) -> object:
        return self.answers[words]


class Pool:
    def __init__(self, address: str, down: ProxyError | None = None) -> None:
        self.dial = SimpleNamespace(address=address)
        self.down = down
        self.primary_key = SimpleNamespace(db=3)
        self.newcomer_key = object()
        self.is_locked = False

    def locked(self, key: object) -> bool:
        return self.is_locked


class Cluster(ClusterLanes):
    def __init__(self) -> None:
        self.down = None
        self.primary_key = LaneKey()
        self.newcomers = cast("Any", SimpleNamespace(barred=False, era=0))

    shards = cast("Any", [("a:1", ["b:1"])])
    slots = cast("Any", [16384])
    pools = cast("Any", [Pool("a:1"), Pool("c:1", ProxyError(b"-UPSTREAM gone"))])


class World:
    """Parts of a proxy, and time in the test's hands."""

    def __init__(self, lanes: object | None = None) -> None:
        self.now = 100.0
        self.server = Server()
        self.pool = Pool("127.0.0.1:6379")
        self.stats, self.families = Stats(), Families()
        self.jobs: list[Record] = []
        self.loader: Any = None
        self.near: Any = SimpleNamespace(budget=1000)
        scope = SimpleNamespace(tracked=SimpleNamespace(upstream=self.server))
        self.parts: Any = SimpleNamespace(
            stats=self.stats,
            families=self.families,
            context=SimpleNamespace(near=self.near),
            lanes=self.pool if lanes is None else lanes,
            jobs=SimpleNamespace(all=self._jobs),
            scopes=SimpleNamespace(scope=lambda key: scope),
            loaders=SimpleNamespace(match=lambda key: self.loader),
        )

    def _jobs(self, owner: Owner) -> Sequence[Record]:
        return [one for one in self.jobs if one.owner == owner]

    def status(self, board: Board | None = None) -> Status:
        place = None if board is None else board.place(0)
        return Status(self.parts, place, lambda: self.now)


def shown(status: Status) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", status.show())


@pytest.fixture
def world() -> World:
    return World()


def test_it_shows_rates_and_sums(world: World) -> None:
    status = world.status()
    world.stats.add("commands", 40)
    world.stats.add("hits", 3)
    world.stats.add("misses", 1)
    world.now += 2
    status.tick()
    world.now += 0.5

    found = shown(status)

    assert found["stats"]["hit_ratio"] == 0.75
    assert found["stats"]["commands"] == 40
    assert found["stats"]["tracking"] == "off"
    assert found["history"]["commands"] == [20.0]
    assert found["history"]["at"] == [-0.5]
    assert found["near_budget"] == 1000
    assert repr(status) == "<Status <History 2 samples>>"


def test_numbers_are_those_of_all_workers(world: World) -> None:
    board, other, others = Board(2), Stats(), Families()
    other.add("commands", 5)
    other.gauge("tracking", lambda: "on")
    others.read("lanes", lambda: [(("127.0.0.1:6379", "shared"), [2])])
    world.families.read("lanes", lambda: [(("127.0.0.1:6379", "shared"), [1])])
    place = board.place(1)
    place.publish(other)
    place.publish_series(others)
    world.stats.add("commands", 7)

    found = shown(world.status(board))

    assert found["stats"]["commands"] == 12
    assert found["stats"]["tracking"] == "on"
    (node,) = found["nodes"]
    assert node["lanes"] == {"shared": 3}


def test_one_server_is_shown_with_why_it_is_down(world: World) -> None:
    world.pool.down = ProxyError(b"-UPSTREAM gone")

    found = shown(world.status())

    assert found["down"] == "UPSTREAM gone"
    assert found["nodes"] == [
        {
            "address": "127.0.0.1:6379",
            "role": "server",
            "slots": None,
            "down": "UPSTREAM gone",
            "lanes": {},
            "tracked_lanes": {},
            "lane_queue": {},
        }
    ]


def test_a_cluster_is_shown_by_its_nodes() -> None:
    world = World(Cluster())

    found = shown(world.status())["nodes"]

    assert [(one["address"], one["role"], one["slots"], one["down"]) for one in found] == [
        ("a:1", "primary", 16384, None),
        ("b:1", "replica", None, None),
        ("c:1", "server", None, "UPSTREAM gone"),
    ]


def test_jobs_are_those_of_the_upstreams_user_without_each_failure(world: World) -> None:
    result = {"loaded": 2, "errors": [b"k: no"]}
    world.jobs = [
        Record("1", Owner(3), "WARM", "running", 5, result),
        Record("2", Owner(3, b"ann"), "WARM", "running", 5, result),
    ]

    (job,) = shown(world.status())["jobs"]

    assert job == {
        "id": "1",
        "command": "WARM",
        "state": b"running",
        "total": 5,
        "loaded": 2,
        "error": None,
    }


async def test_who_would_have_to_log_in_sees_nothing(world: World) -> None:
    status = world.status()
    world.pool.is_locked = True

    with pytest.raises(ServerError, match="NOAUTH"):
        status.show()
    with pytest.raises(ServerError, match="NOAUTH"):
        await status.key(KEY)


async def test_a_string_is_shown_shortened(world: World) -> None:
    world.loader = SimpleNamespace(name="users", kind="url", tags=lambda key: [b"t"])

    assert await world.status().key(KEY) == {
        "type": "string",
        "size": 2000,
        "value": b"value",
        "shown": VALUE_MOST,
        "ttl_ms": 1500,
        "loader": "users",
        "loads_from": "url",
        "tags": [b"t"],
        "lease": None,
    }


@pytest.mark.parametrize(("kind", "size"), [(b"hash", 4), ("none", None)])
async def test_of_another_type_only_the_size_is_shown(
    kind: object, size: int | None, world: World
) -> None:
    world.near = world.parts.context.near = None
    world.server.answers |= {(b"TYPE", KEY): kind, (b"HLEN", KEY): 4}

    status = world.status()
    found = await status.key(KEY)

    assert shown(status)["near_budget"] is None
    assert (found["size"], found["value"], found["loader"], found["tags"]) == (size, None, None, [])


@pytest.mark.parametrize(
    ("stands", "state"),
    [(b"t0a3c55", "held"), (b"n", "not found"), (b"eLOADERR it said", "failed")],
)
async def test_a_lease_is_shown_and_never_its_token(
    stands: bytes, state: str, world: World
) -> None:
    lease = b"lease:{user:1}"
    world.server.answers |= {(b"GET", lease): stands, (b"PTTL", lease): 70}

    found = await world.status().key(KEY)

    assert found["lease"] == {"state": state, "ms": 70}


def test_every_size_is_of_a_type_that_redis_has() -> None:
    assert set(module.SIZES) == {"string", "list", "set", "zset", "hash", "stream"}
