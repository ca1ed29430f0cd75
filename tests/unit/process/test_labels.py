"""The numbers with labels that are looked at: each family shows what its place holds now."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from nearhit.proxy.hot.answers import Turn
from nearhit.proxy.hot.lane import LaneState
from nearhit.proxy.process import labels
from nearhit.proxy.stats.counters import Stats
from nearhit.proxy.stats.families import FAMILIES, Families
from nearhit.proxy.stats.sampler import Class, Sampler, Tier
from nearhit.proxy.upstream.lane_key import LaneKey, Use

from tests.fakes import World
from tests.unit.cluster.nodes import A, B, clustered
from tests.unit.cluster.nodes import World as Cluster
from tests.worlds import world as world


@pytest.fixture
def families() -> Families:
    return Families()


@pytest.fixture
def turn() -> Turn:
    return Turn(lambda call: None, 0.0, lambda: 0.0)


def values(families: Families, name: str) -> dict[tuple[str, ...], float]:
    """The first number of each value of a family."""
    return {key[1]: value[0] for key, value in families.series().items() if key[0] == name}


def test_commands_are_shown_by_class_and_tier(families: Families, turn: Turn) -> None:
    sampler, stats = Sampler(), Stats()
    labels.read_commands(families, stats, turn, sampler)
    turn.near_reads, turn.near_owns, turn.asking, turn.writing = 1, 2, 3, 4
    turn.owns, turn.others, turn.errors = 5, 6, 7
    sampler.local[Class.OTHER] += 8
    sampler.failures += 9

    found = values(families, "commands")

    assert {key: count for key, count in found.items() if count} == {
        ("read", "near"): 1,
        ("own", "near"): 2,
        ("read", "server"): 3,
        ("write", "server"): 4,
        ("own", "server"): 5,
        ("other", "server"): 6,
        ("other", "proxy"): 8,
    }
    assert values(families, "command_errors") == {("server",): 7, ("proxy",): 9}
    assert (stats.running("commands"), stats.running("command_errors")) == (29, 16)


def test_durations_are_shown_of_those_that_there_can_be(families: Families, turn: Turn) -> None:
    sampler, stats = Sampler(), Stats()
    labels.read_commands(families, stats, turn, sampler)
    sampler.observe(Class.OWN, Tier.LOAD, 0.5)
    sampler.trips.took(0.25)

    found = values(families, "command_duration_seconds")

    assert found["own", "load"] == 0.5
    assert ("write", "near") not in found
    assert values(families, "upstream_duration_seconds") == {(): 0.25}


def test_strings_are_shown_by_who_answered(families: Families, turn: Turn) -> None:
    labels.read_strings(families, turn, {"hits": 10, "misses": 5}.__getitem__)
    turn.near_hits, turn.near_nils = 7, 1

    assert values(families, "reads") == {
        ("near", "hit"): 7,
        ("near", "miss"): 1,
        ("server", "hit"): 3,
        ("server", "miss"): 4,
    }


def test_loaders_are_shown_by_their_names(families: Families) -> None:
    one = SimpleNamespace(name="users", gate=SimpleNamespace(running=2, waiting=3))

    class Loaders(list[Any]):
        told: Any = None

    loaders: Any = Loaders([one])
    labels.read_loaders(families, loaders)
    loaders.told("users", "success", 0.5)

    assert values(families, "loads_running") == {("users",): 2}
    assert values(families, "loads_queued") == {("users",): 3}
    assert values(families, "load_duration_seconds") == {("users", "success"): 0.5}


def test_leases_and_locks_are_shown(families: Families) -> None:
    scopes: Any = SimpleNamespace(leases_held=3, locks_renewing=4)
    labels.read_scopes(families, scopes)

    assert values(families, "leases_held") == {(): 3}
    assert values(families, "locks_renewing") == {(): 4}


async def test_lanes_are_shown_by_node_and_use(families: Families, world: World) -> None:
    labels.read_lanes(families, world.lanes)
    client = world.client()
    client.send(b"GET", b"k")
    client.send(b"BLPOP", b"q", b"0")
    await world.settle()
    client.send(b"GET", b"k")
    await world.upstream(0)

    node = world.dial.address

    assert values(families, "lanes")[node, "shared"] == 1
    assert values(families, "lane_queue")[node, "sent"] == 1
    assert values(families, "lane_queue")[node, "unsent"] == 0
    assert values(families, "pinned_waiters") == {(): 0}
    assert values(families, "tracked_lanes") == {}


@pytest.mark.parametrize(
    ("lent", "owner", "state", "use"),
    [
        (False, None, LaneState.READY, ("shared",)),
        (True, object(), LaneState.READY, ("pinned",)),
        (True, None, LaneState.READY, ("warm",)),
        (False, None, LaneState.CONNECTING, None),
    ],
)
def test_a_connection_has_one_use(
    lent: bool, owner: object, state: LaneState, use: tuple[str, ...] | None
) -> None:
    lane: Any = SimpleNamespace(lent=lent, owner=owner, state=state)

    assert labels.use_of(lane) == use


@pytest.mark.parametrize(
    ("kind", "tracking", "state", "shown"),
    [
        (Use.TRACKED, True, LaneState.READY, ("on",)),
        (Use.TRACKED, False, LaneState.READY, ("off",)),
        (Use.TRACKED, True, LaneState.CONNECTING, ("off",)),
        (Use.REQUESTS, False, LaneState.READY, None),
    ],
)
def test_only_tracked_lanes_track(
    kind: Use, tracking: bool, state: LaneState, shown: tuple[str, ...] | None
) -> None:
    lane: Any = SimpleNamespace(key=LaneKey(use=kind), tracking=tracking, state=state, lent=False)

    assert labels.tracking_of(lane) == shown


async def test_every_family_has_a_place(world: World, families: Families, turn: Turn) -> None:
    nothing: Any = SimpleNamespace(leases_held=0, locks_renewing=0)
    gate = SimpleNamespace(running=0, waiting=0)

    class Loaders(list[Any]):
        told: Any = None

    loaders: Any = Loaders([SimpleNamespace(name="users", gate=gate)])
    labels.read_commands(families, Stats(), turn, Sampler())
    labels.read_strings(families, turn, lambda name: 0)
    labels.read_loaders(families, loaders)
    labels.read_scopes(families, nothing)
    labels.read_lanes(families, world.lanes)
    loaders.told("users", "success", 0.5)
    world.lanes.shared(LaneKey(use=Use.TRACKED)).open()
    await world.settle()

    assert {name for name, _ in families.series()} == {row.name for row in FAMILIES}


@clustered
async def test_in_a_cluster_lanes_are_shown_of_each_node(cluster: Cluster) -> None:
    families = Families()
    labels.read_lanes(families, cluster.lanes)
    line = await cluster.connect()
    await line.ask(f"GET {A}", f"GET {B}")

    lanes = values(families, "lanes")

    nodes = {pool.dial.address for pool in cluster.lanes.pools}
    assert nodes
    assert {node for node, _ in lanes} <= nodes
    assert sum(lanes.values()) == len(cluster.lanes)
    assert values(families, "pinned_waiters") == {(): 0}
