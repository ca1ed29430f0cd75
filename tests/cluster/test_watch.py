"""The watch of real clusters: what they answer is understood, and what happens to them is seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest
from nearhit.proxy.cluster.topology import Topology, parse_slots
from nearhit.proxy.cluster.watch import QUESTION, Watch
from nearhit.proxy.resp.replies import Value, parsed, parsed_many
from nearhit.proxy.resp.requests import encode

from tests.clusters import Cluster
from tests.servers import HOST
from tests.wire.frames import frame_end
from tests.wire.link import Link

pytestmark = pytest.mark.waits
SEEN_S = 2.0  # far more than the bars say: this machine is shared


async def ask(host: str, port: int) -> Sequence[Value]:
    """On a connection of its own."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"".join(encode(words) for words in QUESTION))
        data = b""
        while (first := frame_end(data)) is None or frame_end(data[first:]) is None:
            more = await reader.read(65536)
            if not more:
                raise ConnectionResetError(f"{host}:{port} has gone")
            data += more
        return parsed_many(data, len(QUESTION))
    finally:
        writer.close()


class Watching:
    """A watch of the cluster from its last node on, and what it told."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.told: list[Topology] = []
        self.owned: list[object] = []  # the same, of those that differ in who owns what
        self.watch = Watch([(HOST, cluster.nodes[-1].port)], ask, self._tell)
        self.task = asyncio.get_running_loop().create_task(self.watch.run())

    def _tell(self, old: Topology | None, new: Topology) -> None:
        self.told.append(new)
        owned = [(shard.primary.id, shard.ranges) for shard in new.shards]
        if [owned] != self.owned[-1:]:
            self.owned.append(owned)

    def owner(self, slot: int) -> int:
        """Its port."""
        shard = self.watch.topology.shard(slot) if self.watch.topology else None
        return shard.primary.port if shard else 0

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> float:
        """Seconds that it took."""
        begun = time.monotonic()
        while not condition():
            assert time.monotonic() - begun < seconds, repr(self.watch)
            await asyncio.sleep(0.002)
        return time.monotonic() - begun


def watched(cluster: Cluster, test: Callable[[Watching], Awaitable[None]]) -> None:
    async def run() -> None:
        watching = Watching(cluster)
        await watching.until(lambda: watching.watch.topology is not None)
        await test(watching)
        assert not watching.task.done()
        watching.task.cancel()
        await asyncio.gather(watching.task, return_exceptions=True)

    asyncio.run(run())


@pytest.mark.parametrize("resp", ["2", "3"])
def test_its_answer_is_understood_in_both_protocols(cluster: Cluster, resp: str) -> None:
    found = []
    for member in cluster.nodes:
        link = Link(member.port)
        link.ask("HELLO", resp)
        found.append(parse_slots(parsed(link.ask("CLUSTER", "SLOTS")), HOST))
        link.close()

    assert found == [found[0]] * 6
    assert found[0].missing == 0
    assert found[0].find(HOST, cluster.nodes[4].port) in list(found[0].nodes)


def test_a_quiet_cluster_is_told_once(cluster: Cluster) -> None:
    async def test(watching: Watching) -> None:
        await asyncio.sleep(2.5)
        assert len(watching.told) == 1

    watched(cluster, test)


def test_a_failover_is_seen_as_soon_as_it_has_happened(cluster: Cluster) -> None:
    async def test(watching: Watching) -> None:
        primary, replica = cluster.nodes[0], cluster.nodes[3]
        await asyncio.to_thread(cluster.fail_over, replica, known=False)
        watching.watch.refresh("test")
        await watching.until(lambda: watching.owner(0) == replica.port, SEEN_S)
        assert watching.owner(8000) == cluster.nodes[1].port
        # Redis names it a replica when it has something of its new primary's.
        await watching.until(lambda: watching.told[-1].find(HOST, primary.port) is not None)
        await asyncio.sleep(2.5)
        assert len(watching.owned) == 2, "it went to and fro"

    watched(cluster, test)


def test_the_heir_of_a_killed_primary_is_seen(cluster: Cluster) -> None:
    async def test(watching: Watching) -> None:
        heir = cluster.nodes[4]
        cluster.nodes[1].kill()
        await watching.until(lambda: heir.is_primary)
        await watching.until(lambda: watching.owner(8000) == heir.port, SEEN_S)
        cluster.nodes[1].start()
        await asyncio.sleep(2)
        assert watching.owner(8000) == heir.port
        assert len(watching.owned) == 2, "it went to and fro"

    watched(cluster, test)


def test_the_heir_of_a_frozen_primary_is_seen_and_the_old_one_not_believed(
    cluster: Cluster,
) -> None:
    async def test(watching: Watching) -> None:
        old, heir = cluster.nodes[2], cluster.nodes[5]
        old.freeze()
        await watching.until(lambda: heir.is_primary)
        await watching.until(lambda: watching.owner(16383) == heir.port, SEEN_S)
        old.thaw()
        for _ in range(10):
            watching.watch.refresh("test")
            await asyncio.sleep(0.2)
        assert len(watching.owned) == 2, "it went to and fro"

    watched(cluster, test)


def test_slots_that_move_one_by_one_are_seen_once_each(cluster: Cluster) -> None:
    """The second slot that goes to a node raises no epoch, and the third node hears late of it."""

    async def test(watching: Watching) -> None:
        target = cluster.nodes[1]
        for slot in (100, 102, 104, 106):
            await asyncio.to_thread(cluster.move(slot, target).begin().finish, known=False)
            node = watching.told[-1].find(HOST, target.port)
            assert node is not None
            watching.watch.patch(slot, node)
            assert watching.owner(slot) == target.port
            await asyncio.sleep(0.3)
        await asyncio.sleep(1.5)
        assert all(watching.owner(slot) == target.port for slot in (100, 102, 104, 106))
        assert len(watching.owned) == 5, "it went to and fro"

    watched(cluster, test)
