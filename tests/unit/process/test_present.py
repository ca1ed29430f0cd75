"""What STATS PROXY tells, of parts by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from nearhit.proxy.errors import ProxyError
from nearhit.proxy.process.present import SUMMED, Present
from nearhit.proxy.stats.counters import READS, ROWS, Stats
from nearhit.proxy.stats.families import Families
from nearhit.proxy.stats.shared import Board

from .showing import Cluster, World


def shown(present: Present) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", present.show())


@pytest.fixture
def world() -> World:
    return World()


def test_it_tells_all_rows_and_what_runs(world: World) -> None:
    world.stats.add("hits", 3)
    world.stats.add("misses", 1)
    world.families.read("loads_running", lambda: [(("a",), [2]), (("b",), [1])])

    found = shown(Present(world.parts, None))

    assert found["stats"].keys() == {row.name for row in (*READS, *ROWS)} | {"hit_ratio"}
    assert found["stats"]["hit_ratio"] == 0.75
    assert (found["workers"], found["near_budget"]) == (1, 1000)
    assert {name: found[name] for name in SUMMED} == dict.fromkeys(SUMMED, 0) | {"loads_running": 3}
    assert repr(Present(world.parts, None)) == "<Present workers=1>"


def test_without_a_near_cache_there_is_no_budget(world: World) -> None:
    world.parts.context.near = None

    assert shown(Present(world.parts, None))["near_budget"] is None


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

    found = shown(Present(world.parts, board.place(0)))

    assert str(found["stats"]["commands"]) == "12"
    assert (found["workers"], found["near_budget"]) == (2, 2000)
    assert found["stats"]["tracking"] == "on"
    (node,) = found["nodes"]
    assert node["lanes"] == {"shared": 3}


def test_one_server_is_shown_with_why_it_is_down(world: World) -> None:
    world.pool.down = ProxyError(b"-UPSTREAM gone")

    found = shown(Present(world.parts, None))

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

    found = shown(Present(world.parts, None))["nodes"]

    assert [(one["address"], one["role"], one["slots"], one["down"]) for one in found] == [
        ("a:1", "primary", 16384, None),
        ("b:1", "replica", None, None),
        ("c:1", "server", None, "UPSTREAM gone"),
    ]
