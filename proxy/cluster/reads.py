"""To whom the reads of one LaneKey go, where ``read_from`` is not ``primary``.

    a run of requests ─┬─ all of them reads, of slots not written of late ─▶ a replica per shard
                       └─ else ──▶ the primaries, and what it writes is noted (written.py)

A session stays with one replica of each shard while that may be read. Whole runs go one way, so
that a read comes to no other node than the write before it. Which nodes may be read: replicas.py;
what becomes of a read that a replica refuses: router.py, by ``refused``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

from ..errors import UpstreamDown
from ..hot.answers import RunSlot, Slot
from ..hot.lane import LaneCore, LaneState
from ..hot.own import GetOrSetRun
from ..hot.router import ReadingCore
from ..resp.kernel import RouteMap, hash_slot, split
from ..resp.routes import Route
from ..table.table import Command
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey, Use
from .cluster import Cluster
from .replicas import ReadFrom
from .table import one_key
from .topology import Node
from .written import Written

# Sessions take turns among the replicas of a shard: one, two, three, four or six of them are even.
WAYS: Final = 12
NO_REPLICA: Final = UpstreamDown("no replica may be read, and read_from is replica")
_SCRIPTS: Final = frozenset({b"EVAL_RO", b"EVALSHA_RO", b"FCALL_RO"})


def readable(commands: Mapping[bytes, Command]) -> frozenset[bytes]:
    """The commands that a replica answers as well: they change nothing, wait for nothing, and name
    their keys from the first word on."""
    return frozenset(name for name, command in commands.items() if _is_readable(name, command))


def _is_readable(name: bytes, command: Command) -> bool:
    barred = command.flags & {b"blocking", b"movablekeys", b"may_replicate"}
    plain = b"readonly" in command.flags and not barred and not command.subcommands
    # Cursors are of one node. PFCOUNT writes what it has counted, whatever its flags say.
    apart = name.endswith(b"SCAN") or name in _SCRIPTS or name == b"PFCOUNT"
    return plain and not apart and command.keys[0] == 1


def _requests(routes: RouteMap, data: bytes) -> Iterator[tuple[int, Sequence[bytes] | None]]:
    """Each request of a run: the slot of its one key where the map knows it, else -1 and its
    words."""
    pos = 0
    while pos < len(data):
        found = routes.hash_slot(data, pos)
        if found >= 0:
            pos = routes.end
            yield found, None
        else:
            words, pos = split(data, pos)
            yield -1, words


class Nowhere(LaneCore):
    """Stands for the replica that is not there."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.state = LaneState.DOWN

    def send_later(self, data: bytes, slot: Slot) -> None:
        slot.fail(NO_REPLICA, False)


class Reads(ReadingCore):
    """``primaries`` are the router's lanes, in the order of the map."""

    def __init__(self, cluster: Cluster, key: LaneKey, routes: RouteMap) -> None:
        super().__init__()
        self._cluster = cluster
        self._replicas = cluster.readers
        self._key = replace(key, use=Use.REPLICA)
        self._spreads = key.use is Use.REQUESTS
        self._routes = routes
        self._commands: Mapping[bytes, Command] = {}
        self._readable = frozenset[bytes]()
        self._one = RouteMap({})
        self._loop = asyncio.get_running_loop()
        self._nowhere = Nowhere()
        self._version = -1
        self._primaries: list[LaneCore] = []
        self._ways: list[list[LaneCore]] = []
        self._held: dict[Lane, Node] = {}
        self._leaving: dict[Lane, Node] = {}  # held before, and owing still
        cluster.spreading.add(self)

    def __repr__(self) -> str:
        return f"<Reads {self._replicas!r} lanes={len(self._held)}>"

    @property
    def held(self) -> Sequence[Lane]:
        """The lanes to replicas that may bring replies."""
        return [*self._held, *self._leaving]

    # --- Where to -----------------------------------------------------------------------------

    def choose(self, data: bytes, place: Slot, primaries: list[LaneCore]) -> list[LaneCore]:
        session = place.session if isinstance(place, RunSlot) else None
        written: Written | None = getattr(session, "written", None)
        if written is None or session is None:
            return primaries  # the proxy's own, or of a client with a connection of its own
        self._learn()
        slots = self._slots(data)
        if slots is None or isinstance(place, GetOrSetRun):
            self._note(data, written)
            return primaries
        now = self._loop.time()
        if session.head is place:
            written.answered(now)
        if not self._spreads or type(place) is not RunSlot or written.touches(slots, now):
            return primaries
        if self._version != self._replicas.version or self._primaries is not primaries:
            self._find(primaries)
        way = self._ways[written.number % WAYS]
        if any(lane.state is not LaneState.READY and lane is not self._nowhere for lane in way):
            self._find(primaries)
            way = self._ways[written.number % WAYS]
        owners = self._cluster.owners
        self._replicas.reads += sum(
            owners[slot] >= 0 and way[owners[slot]] in self._held for slot in slots
        )
        return way

    def _learn(self) -> None:
        """The table is the servers' own, and another one when they are."""
        commands = self._cluster.commands()
        if commands is not self._commands:
            self._commands = commands
            self._readable = readable(commands)
            one = one_key(commands) & self._readable
            self._one = RouteMap(dict.fromkeys(one, int(Route.PLAIN)))

    def _slots(self, data: bytes) -> list[int] | None:
        """The slots of a run that only reads; None: it does more."""
        slots: list[int] = []
        for found, words in _requests(self._one, data):
            if found >= 0:
                slots.append(found)
                continue
            if not words or words[0].upper() not in self._readable:
                return None
            slots += self._of_keys(words)
        return slots

    def _of_keys(self, words: Sequence[bytes]) -> list[int]:
        first, last, step = self._commands[words[0].upper()].keys
        end = last + 1 if last >= 0 else len(words) + last + 1
        return [hash_slot(key) for key in words[first : max(end, first + 1) : max(step, 1)]]

    def _note(self, data: bytes, written: Written) -> None:
        """The run may write: what, as far as that is to be seen."""
        slots: list[int] = []
        for found, words in _requests(self._routes, data):
            if found >= 0:
                slots.append(found)
                continue
            command = self._commands.get(words[0].upper()) if words else None
            if words and command is not None and b"readonly" in command.flags:
                continue
            if not words or command is None or command.keys[0] != 1 or command.subcommands:
                written.wrote_any()
                return
            slots += self._of_keys(words)
        written.wrote(slots)

    # --- The lanes ----------------------------------------------------------------------------

    def _find(self, primaries: list[LaneCore]) -> None:
        """Look up anew who may be read."""
        self._version, self._primaries = self._replicas.version, primaries
        topology = self._cluster.topology
        ways: list[list[LaneCore]] = [[] for _ in range(WAYS)]
        held: dict[Lane, Node] = {}
        for at, primary in enumerate(primaries):
            shard = topology.shards[at] if topology is not None else None
            found: list[LaneCore] = []
            for node in self._replicas.readers(shard) if shard is not None else ():
                if shard is not None and node.id == shard.primary.id:
                    found.append(primary)
                    continue
                lane = self._cluster.pool(node.host, node.port).shared(self._key)
                held[lane] = node
                lane.users += 1
                lane.open()
                if lane.state is LaneState.READY:
                    found.append(lane)
            if not found:
                strict = self._replicas.read_from is ReadFrom.REPLICA
                found = [self._nowhere if strict else primary]
            for way, lanes in enumerate(ways):
                lanes.append(found[way % len(found)])
        before = {**self._leaving, **self._held}
        self._let_go()
        self._held, self._ways = held, ways
        # Paused, it must be resumed; hung, it must be given up.
        leaving = before.items() - held.items()
        self._leaving = {lane: node for lane, node in leaving if lane.owes}

    def _let_go(self) -> None:
        for lane in self._held:
            lane.users -= 1
        self._held = {}

    def mapped(self, primaries: list[LaneCore]) -> None:
        """There is another map."""
        if self._spreads:
            self._find(primaries)

    def tick(self) -> None:
        """Have connections to those that may be read, before they are; give up what is in flight
        at a replica that says nothing: it is read elsewhere."""
        if self._spreads and self._version != self._replicas.version:
            self._find(self._primaries)
        for lane, node in [*self._held.items(), *self._leaving.items()]:
            if lane.owes and lane.state is LaneState.READY and self._replicas.silent(node):
                lane.lose("the replica does not answer")

    def close(self) -> None:
        self._cluster.spreading.discard(self)
        self._let_go()

    # --- What a replica does not answer -------------------------------------------------------

    def is_replica(self, lane: LaneCore | None) -> bool:
        """Whether a read was sent there as to a replica."""
        return isinstance(lane, Lane) and lane.key.use is Use.REPLICA

    def refused(self, slot: int, lane: LaneCore | None) -> LaneCore | None:
        at = cast(Lane, lane)
        node = self._held.get(at) or self._leaving.get(at)
        if node is not None:
            self._replicas.doubt(node)
        owner = self._cluster.owners[slot]
        if self._replicas.read_from is not ReadFrom.REPLICA or owner < 0:
            return None
        self._find(self._primaries)
        return self._ways[0][owner]
