"""The lanes of a cluster as sessions borrow and share them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.cluster.lane import ClusterLane
from nearhit.proxy.errors import UpstreamDown
from nearhit.proxy.upstream.lane_key import LaneKey, Use

from tests.unit.cluster.test_cluster import TRACKED, A, Town


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    made = Town()
    yield made
    made.lanes.close()
    await made.tasks.stop()


async def test_shared_lanes_are_virtual_and_count_the_real_ones(town: Town) -> None:
    lane = town.lanes.shared(LaneKey())
    assert isinstance(lane, ClusterLane)
    assert town.lanes.shared(LaneKey()) is lane
    lane.open()
    await town.become(1, 2, 3)

    assert len(town.lanes) == 3


async def test_slots_that_are_told_of_are_counted(town: Town) -> None:
    lane = town.lane(TRACKED)
    lane.canaries.sent[7] = 1
    assert town.lanes.slots_told == 1
    lane.canaries.refused = True
    assert town.lanes.slots_told == -1


async def test_asking_is_a_nodes(town: Town) -> None:
    await town.become(1, 2)
    assert town.lanes.asking() is town.cluster.pools[0].asking()
    assert Use.REQUESTS is LaneKey().use


async def test_what_is_found_is_told_for_people(town: Town) -> None:
    assert town.lanes.found == "a cluster of which no node has answered"
    await town.become(1, 2)
    assert town.lanes.found == "a cluster of 2 primaries and 0 replicas"
    await town.become(1)
    assert town.lanes.found == "a cluster of 1 primary and 0 replicas"


async def test_the_slots_of_each_shard_are_told(town: Town) -> None:
    assert list(town.lanes.slots) == []
    await town.become(1, 2)
    assert sum(town.lanes.slots) == 16384
    assert len(town.lanes.slots) == len(town.lanes.shards) == 2


async def test_a_walk_begins_at_each_shard(town: Town) -> None:
    assert town.lanes.walks() == [b"0"]
    await town.become(1, 2, 3)

    walks = town.lanes.walks()

    assert walks[0] == b"0"
    assert len({*walks}) == 3


async def test_a_key_is_at_the_node_of_its_slot(town: Town) -> None:
    with pytest.raises(UpstreamDown, match="no node serves the key's slot"):
        town.lanes.pool_of(b"k")

    await town.become(1, 2)

    assert town.lanes.pool_of(A) is town.cluster.pool("n", 1)
    assert town.lanes.pool_of(b"foo") is town.cluster.pool("n", 2)


async def test_where_reads_are_the_primaries_nothing_is_noted_of_writes(town: Town) -> None:
    assert town.lanes.written() is None
    assert town.lanes.replica_reads == 0
