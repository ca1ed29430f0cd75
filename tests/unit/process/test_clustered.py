"""The lanes of a cluster, made of settings, in front of scripted nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from nearhit.proxy.cluster.lane import ClusterLane
from nearhit.proxy.process.clustered import cluster_lanes
from nearhit.proxy.settings.address import Upstream
from nearhit.proxy.upstream.ask import Reply
from nearhit.proxy.upstream.dial import Retry
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey
from nearhit.proxy.upstream.lanes import Lanes

from tests.cluster.fake import FakeCluster, fake_cluster
from tests.clusters import key_in, slot_of
from tests.fakes import TABLE

KEYS = [key_in(slot) for slot in (1, 8000, 16000)]


@pytest.fixture
def scripted() -> Iterator[FakeCluster]:
    with fake_cluster() as made:
        yield made


async def test_each_request_goes_to_the_node_that_has_its_key(scripted: FakeCluster) -> None:
    ready: list[Lane] = []
    nodes: list[Lanes] = []
    tasks: list[asyncio.Task[None]] = []

    def start(work: Coroutine[Any, Any, None]) -> None:
        tasks.append(asyncio.create_task(work))

    lanes = cluster_lanes(
        Upstream.parse(scripted.url),
        Retry(3),
        start,
        commands=lambda: TABLE.commands,
        valkey=lambda: False,
        node_ready=lambda: nodes.append(lanes),
        on_ready=ready.append,
        timeout_s=5.0,
        offline_max=1 << 20,
        on_refused=lambda lane, why: None,
    )
    lane = lanes.shared(LaneKey())
    answers: asyncio.Queue[Reply] = asyncio.Queue()
    try:
        for key in KEYS:
            lane.ask(answers.put_nowait, b"GET", key)
        async with asyncio.timeout(5):
            assert [await answers.get() for _ in KEYS] == [b"$-1\r\n"] * 3
    finally:
        lanes.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(lane, ClusterLane)
    assert ready == [lane], "of the nodes' own lanes nobody is told"
    assert len(nodes) >= len(KEYS), "but that they stand"
    for node in scripted.nodes:
        asked = [words[1] for words in node.asked if words[0] == b"GET"]
        assert asked == [key for key in KEYS if node.owner(slot_of(key)) is node]
