"""The lanes of a cluster, as sessions borrow and share them: those of one server, but virtual.

shared(key) ─▶ ClusterLane        borrow(key, owner) ─▶ a lane to a Connection of its own
asking()    ─▶ a node's           tick, close ─▶ of the nodes too"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import UpstreamDown
from ..hot.lane import LaneState
from ..resp.kernel import RouteMap
from ..upstream.dial import Dial
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey
from ..upstream.lanes import Lanes
from ..upstream.ports import Home, Owner
from . import scan
from .cluster import Cluster
from .dial import VirtualDial
from .lane import ClusterLane
from .planner import Planner
from .unblocking import Unblocking
from .written import Written


class ClusterLanes(Lanes):
    def __init__(
        self,
        cluster: Cluster,
        planner: Planner,
        routes: RouteMap,
        dial: Dial,
        *args: Any,
        **more: Any,
    ) -> None:
        self._cluster = cluster
        self._routes = routes
        upstream, retry, tls = dial.upstream, dial.retry, dial.tls
        virtual = VirtualDial(upstream, retry, cluster, self.shared, planner.plan, tls)
        self._planner = Unblocking(planner, cluster, virtual.open_)
        super().__init__(virtual, *args, **more)

    def __len__(self) -> int:
        return sum(map(len, self._cluster.pools))

    def walks(self) -> Sequence[bytes]:
        """Cursors of SCAN at the beginning of each shard."""
        topology = self._cluster.topology
        if topology is None:
            return scan.starts(0, 1)
        return scan.starts(topology.fingerprint, len(topology.shards))

    def pool_of(self, key: bytes) -> Lanes:
        """The lanes to the node that has a key. UpstreamDown: nobody is known to have it."""
        pool = self._cluster.primary_of(key)
        if pool is None:
            raise UpstreamDown("no node serves the key's slot")
        return pool

    def written(self) -> Written | None:
        """For a session: what it writes, where its reads may go to replicas."""
        return Written() if self._cluster.readers.active else None

    @property
    def pools(self) -> Sequence[Lanes]:
        """Of real lanes: one for each node."""
        return self._cluster.pools

    @property
    def replica_reads(self) -> int:
        """Requests that were sent to replicas."""
        return self._cluster.readers.reads

    @property
    def found(self) -> str:
        """What the cluster is, for people."""
        topology = self._cluster.topology
        if topology is None:
            return "a cluster of which no node has answered"
        primaries = len(topology.shards)
        replicas = sum(len(shard.replicas) for shard in topology.shards)
        first = "1 primary" if primaries == 1 else f"{primaries} primaries"
        return f"a cluster of {first} and {replicas} replica{'s' * (replicas != 1)}"

    @property
    def shards(self) -> Sequence[tuple[str, Sequence[str]]]:
        """The address of each primary, and those of its replicas, as far as they are known."""
        topology = self._cluster.topology
        if topology is None:
            return ()
        return [
            (
                f"{shard.primary.host}:{shard.primary.port}",
                [f"{node.host}:{node.port}" for node in shard.replicas],
            )
            for shard in topology.shards
        ]

    @property
    def slots(self) -> Sequence[int]:
        """How many slots each of ``shards`` serves."""
        topology = self._cluster.topology
        if topology is None:
            return ()
        return [sum(last + 1 - first for first, last in shard.ranges) for shard in topology.shards]

    @property
    def slots_told(self) -> int:
        """How many slots have a canary; -1: some server refuses them."""
        canaries = [
            lane.canaries for lane in self._shared.values() if isinstance(lane, ClusterLane)
        ]
        return -1 if any(each.refused for each in canaries) else sum(map(len, canaries))

    @property
    def silent(self) -> bool:
        return False

    def _new(
        self,
        key: LaneKey,
        owner: Owner[Lane] | None = None,
        *,
        home: Home[Lane] | None = None,
        bare: bool = False,
    ) -> Lane:
        if owner is not None or bare:
            return super()._new(key, owner, home=home, bare=bare)
        return ClusterLane(
            self._cluster,
            self._planner,
            self._routes,
            next(self._numbers),
            key,
            self.dial,
            self,
            offline_max=self._offline_max,
            timeout_s=self._timeout_s,
            most_s=self._most_s,
        )

    def servers(self) -> Sequence[Lane]:
        """A lane of our own to each primary."""
        return self._cluster.primaries(LaneKey())

    def asking(self) -> Lane:
        pool = self._cluster.any_pool()
        return super().asking() if pool is None else pool.asking()

    def suspected(self, lane: Lane, why: str, *, hasty: bool = False) -> None:
        """The lanes of the nodes are suspected by their own pools; what is lent has only those."""
        if isinstance(lane, ClusterLane):
            lane.suspect_silent(why)
        elif not lane.lent:
            super().suspected(lane, why, hasty=hasty)

    def take_maxclients(self, count: int) -> None:
        super().take_maxclients(count)
        self._cluster.take_maxclients(count)

    def tick(self) -> None:
        super().tick()
        self._cluster.tick()

    def close(self) -> None:
        super().close()
        self._cluster.close()


class NodeLanes(Lanes):
    """The lanes to one node: whatever happens to them may mean that the map is old."""

    def __init__(self, trouble: Callable[[Lanes], None], *args: Any, **more: Any) -> None:
        self._trouble = trouble
        self._stood = set[Lane]()
        super().__init__(*args, **more)

    def lane_ready(self, lane: Lane) -> None:
        self._stood.add(lane)
        super().lane_ready(lane)

    def give_back(self, lane: Lane) -> None:
        stood = lane in self._stood
        self._stood.discard(lane)  # where it is closed, that is by ourselves
        super().give_back(lane)
        if stood and lane.state is LaneState.READY:
            self._stood.add(lane)

    def lane_moved(self, lane: Lane) -> None:
        super().lane_moved(lane)
        if lane in self._stood:
            self._stood.discard(lane)
            self._trouble(self)
