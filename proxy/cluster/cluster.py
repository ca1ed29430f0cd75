"""The nodes of a cluster and the map of its slots, as all virtual lanes use them.

    Watch ── changed(old, new) ──▶ Cluster ── owners, pools ──▶ ClusterLane ... one for each LaneKey
      ▲                              │
      └── refresh, patch ── Nodes ◀──┘ what a Router asks, in terms of its own key

One pool of lanes for each address that was dialled; those of nodes that have left are closed when
what is in flight has had its time. Never decides where a request goes: router.py."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol

from ..resp.kernel import hash_slot
from ..resp.replies import Value
from ..resp.requests import encode
from ..table.table import Command
from ..upstream.asker import Asker
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey, Use
from ..upstream.lanes import Lanes
from .plans import Plan, Planning, Spread
from .replicas import ReadFrom, Replicas
from .scripts import Scripts
from .topology import SLOTS, UNCOVERED, Node, Topology
from .watch import QUESTION, Address, Watch

# Seconds for what is in flight at a node that has left the map.
LEAVE_S: Final = 5.0
# Seconds in which nodes may disagree still on a slot that has moved.
LATELY_S: Final = 5.0
# For how long a slot counts as refused behind the last reply that refused it.
REFUSED_S: Final = 1.0

Start = Callable[[Coroutine[Any, Any, None]], object]


class Mapped(Protocol):
    """A virtual lane, which is told of the map."""

    def take_lanes(self) -> None:
        """Look up the lanes anew: what is sent from now on goes by the new owners."""

    def map_changed(self, moved: set[int]) -> None:
        """These slots have other owners; all others have taken their lanes too."""

    def map_known(self) -> None:
        """There is a map now."""


class Reading(Protocol):
    """Who has lanes to replicas, for one LaneKey."""

    def tick(self) -> None:
        """Once a second."""


class Cluster:
    """``pool_of`` makes the lanes to an address, ``commands`` has what the servers know, and
    ``valkey`` whether they are Valkeys."""

    def __init__(
        self,
        seeds: Sequence[Address],
        pool_of: Callable[[str, int], Lanes],
        start: Start,
        *,
        patience: float,
        commands: Callable[[], Mapping[bytes, Command]],
        valkey: Callable[[], bool],
        read_from: ReadFrom = ReadFrom.PRIMARY,
        max_lag: float = 5.0,
        zone: str = "",
    ) -> None:
        self.patience = patience
        self.commands = commands
        self.valkey = valkey
        self.owners: array[int] = array("h", [UNCOVERED]) * SLOTS
        self.owners_before = self.owners[:]  # of the map before this one
        self.watch = Watch(seeds, self._ask, self._changed)
        self.mapped: set[Mapped] = set()
        self.failed_over: list[Callable[[], None]] = []  # told that some primary is one no more
        self.scripts = Scripts()
        self._pool_of = pool_of
        self._pools: dict[Address, Lanes] = {}
        self._leaving: dict[Address, float] = {}  # and when they are closed
        self._moved: dict[int, float] = {}  # slots, and until when that is lately
        self._refused: dict[int, float] = {}  # slots, and until when they count as refused
        self._primaries: list[Lanes] = []
        self._loop = asyncio.get_running_loop()
        self.readers = Replicas(read_from, self.pool, self._loop.time, max_lag=max_lag, zone=zone)
        self.spreading: set[Reading] = set()
        self._start = start
        self._running = False
        self._maxclients = 0  # of a node; 0: not known

    def __repr__(self) -> str:
        return f"<Cluster {self.watch!r} pools={len(self._pools)}>"

    @property
    def topology(self) -> Topology | None:
        return self.watch.topology

    def open(self) -> None:
        """See that the map is watched."""
        if not self._running:
            self._running = True
            self._start(self.watch.run())

    def primaries(self, key: LaneKey) -> list[Lane]:
        """The lanes of a key to the primaries, in the order of ``owners``."""
        return [pool.shared(key) for pool in self._primaries]

    def primary_of(self, key: bytes) -> Lanes | None:
        """The lanes to the node that has a key; None: nobody is known to have it."""
        owner = self.owners[hash_slot(key)]
        return self._primaries[owner] if 0 <= owner < len(self._primaries) else None

    def replicas(self, key: LaneKey) -> list[Lane]:
        shards = self.topology.shards if self.topology is not None else ()
        return [
            self.pool(node.host, node.port).shared(key) for each in shards for node in each.replicas
        ]

    def pool(self, host: str, port: int) -> Lanes:
        """The lanes to an address of the map, or of a seed."""
        pool = self._pools.get((host, port))
        if pool is None:
            pool = self._pools[host, port] = self._pool_of(host, port)
            if self._maxclients:
                pool.take_maxclients(self._maxclients)
        self._leaving.pop((host, port), None)
        return pool

    def take_maxclients(self, count: int) -> None:
        """Each node takes so many connections."""
        self._maxclients = count
        for pool in self._pools.values():
            pool.take_maxclients(count)

    def any_pool(self) -> Lanes | None:
        """Of a primary whose connection stands; of any, where none does; None: none is known."""
        for pool in self._primaries:
            if len(pool):
                return pool
        return self._primaries[0] if self._primaries else None

    def pool_of_lane(self, lane: Lane) -> Lanes:
        return self.pool(lane.host, lane.port)

    @property
    def pools(self) -> Sequence[Lanes]:
        return list(self._pools.values())

    def refresh(self, why: str, avoid: Lanes | None = None) -> None:
        """The map may be old; ``avoid``: the lanes to a node that does not answer."""
        node = self._node_of(avoid) if avoid is not None else None
        self.watch.refresh(why, node)

    def follow(self, slot: int, host: str, port: int) -> bool:
        """Take what a MOVED says for true; False: its target is no primary that is known."""
        topology = self.topology
        node = topology.find(host, port) if topology is not None else None
        if node is None:
            return False
        self.watch.patch(slot, node)
        assert self.topology is not None
        shard = self.topology.shard(slot)
        return shard is not None and shard.primary.id == node.id

    def moved_lately(self, slot: int) -> bool:
        """Whether the slot has come to its owner some seconds ago."""
        return slot in self._moved

    def refused(self, slot: int) -> None:
        """Nobody has answered for the slot, though it was asked for again and again."""
        self._refused[slot] = self._loop.time() + REFUSED_S

    def is_refused(self, slot: int) -> bool:
        """Whether it is known that no node answers for the slot, be it there or not."""
        if self.owners[slot] == UNCOVERED or self.watch.down:
            return True
        return self._refused.get(slot, 0.0) > self._loop.time()

    def lane_at(self, host: str, port: int, key: LaneKey) -> Lane | None:
        """The lane of a key to a node; None: the map has no such node."""
        node = self.topology.find(host, port) if self.topology is not None else None
        return None if node is None else self.pool(node.host, node.port).shared(key)

    def _node_of(self, pool: Lanes) -> Node | None:
        address = next((each for each, one in self._pools.items() if one is pool), None)
        return self.topology.find(*address) if self.topology is not None and address else None

    def _ask(self, host: str, port: int) -> Awaitable[Sequence[Value]]:
        pool = self.pool(host, port)
        asker = Asker(lambda: pool.shared(LaneKey()))
        return asker.begin([encode(words) for words in QUESTION], len(QUESTION))

    def _changed(self, old: Topology | None, new: Topology) -> None:
        moved = old.moved(new) if old is not None else set[int]()
        self._primaries = [
            self.pool(shard.primary.host, shard.primary.port) for shard in new.shards
        ]
        self.owners_before = self.owners[:]
        self.owners[:] = new.owners
        mapped = list(self.mapped)
        for each in mapped:
            each.take_lanes()
        for each in mapped:
            each.map_changed(moved)
            if old is None:
                each.map_known()
        if old is not None and old.primaries - new.primaries:
            for told in self.failed_over:
                told()
        self.readers.tick(new.shards)
        known = {(node.host, node.port) for node in new.nodes}
        self._moved.update(dict.fromkeys(moved, self._loop.time() + LATELY_S))
        ends = self._loop.time() + LEAVE_S
        for address in self._pools.keys() - known:
            self._leaving.setdefault(address, ends)

    def tick(self) -> None:
        """Once a second."""
        now = self._loop.time()
        for address in [each for each, ends in self._leaving.items() if ends <= now]:
            del self._leaving[address]
            self._pools.pop(address).close()
        if self._moved:
            self._moved = {slot: ends for slot, ends in self._moved.items() if ends > now}
        if self._refused:
            self._refused = {slot: ends for slot, ends in self._refused.items() if ends > now}
        for pool in self._pools.values():
            pool.tick()

        if self.topology is not None:
            self.readers.tick(self.topology.shards)
        for each in list(self.spreading):
            each.tick()

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()


class NodesOfKey:
    """The cluster as the router of one LaneKey knows it (router.Nodes)."""

    def __init__(self, cluster: Cluster, key: LaneKey, planner: Planning) -> None:
        self._cluster = cluster
        self._key = key
        self._planner = planner
        self._resp = 3 if key.use is Use.TRACKED else key.resp
        self.patience = cluster.patience
        self.scripts = cluster.scripts
        self.tracked = key.use is Use.TRACKED

    def plan(self, words: Sequence[bytes]) -> Plan:
        return self._planner.plan(words, self._resp)

    def by_key(self, words: Sequence[bytes]) -> Spread | None:
        return self._planner.by_key(words, self._resp)

    def commands(self) -> Mapping[bytes, Command]:
        return self._cluster.commands()

    def reads(self, name: bytes) -> bool:
        command = self._cluster.commands().get(name)
        return command is not None and b"readonly" in command.flags

    def refresh(self, why: str) -> None:
        self._cluster.refresh(why)

    def follow(self, slot: int, host: str, port: int) -> bool:
        return self._cluster.follow(slot, host, port)

    def moved_lately(self, slot: int) -> bool:
        return self._cluster.moved_lately(slot)

    def refused(self, slot: int) -> None:
        self._cluster.refused(slot)

    def is_refused(self, slot: int) -> bool:
        return self._cluster.is_refused(slot)

    def lane_at(self, host: str, port: int) -> Lane | None:
        return self._cluster.lane_at(host, port, self._key)

    def replica_lanes(self) -> Sequence[Lane]:
        return self._cluster.replicas(self._key)
