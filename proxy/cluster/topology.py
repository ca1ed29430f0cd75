"""Which node owns which slot: one node's answer to CLUSTER SLOTS as a value.

Nodes are told apart by their ids; an address is what a node has. Owns the reading of the answer in
all its forms (Redis 6.2 to 8, Valkey 7.2 to 9, in RESP2 and RESP3). Never asks, never puts two
nodes' answers together: whom to believe is watch.py's question.
Source: https://valkey.io/commands/cluster-slots/"""

from __future__ import annotations

import itertools
import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ..resp.replies import Value

SLOTS: Final = 16384
UNCOVERED: Final = -1  # the owner of a slot that no node serves
_UNKNOWN: Final = b"?"  # where a node that answers does not know how to reach another

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A node and where to dial it. ``names``: its host, address and host name in lower case, as
    far as they were told; a redirection may use any of them."""

    id: bytes
    host: str
    port: int
    names: frozenset[str]

    def __repr__(self) -> str:
        return f"<Node {self.id[:8].decode()} {self.host}:{self.port}>"


@dataclass(frozen=True, slots=True)
class Shard:
    """A primary, its replicas (sorted by id) and its slots: ranges with both ends, in order,
    none touching the next."""

    primary: Node
    replicas: tuple[Node, ...]
    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Topology:
    """The shards, sorted by their primaries' ids. Equal topologies have equal shards.

    ``owners``: for each slot the index of its shard, or UNCOVERED."""

    shards: tuple[Shard, ...]
    owners: array[int] = field(init=False, repr=False, compare=False)
    _known: dict[tuple[str, int], Node] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        owners = array("h", [UNCOVERED]) * SLOTS
        for index, shard in enumerate(self.shards):
            for first, last in shard.ranges:
                owners[first : last + 1] = array("h", [index]) * (last + 1 - first)
        known = {(name, node.port): node for node in self.nodes for name in node.names}
        object.__setattr__(self, "owners", owners)
        object.__setattr__(self, "_known", known)

    @property
    def nodes(self) -> Iterator[Node]:
        """Primaries and replicas."""
        for shard in self.shards:
            yield shard.primary
            yield from shard.replicas

    @property
    def missing(self) -> int:
        """How many slots no node serves."""
        return self.owners.count(UNCOVERED)

    @property
    def fingerprint(self) -> int:
        """Ten bits of who owns what; replicas and addresses are not in it."""
        owned = [(shard.primary.id, shard.ranges) for shard in self.shards]
        return zlib.crc32(repr(owned).encode()) & 1023

    def shard(self, slot: int) -> Shard | None:
        """Who serves the slot; None: nobody."""
        index = self.owners[slot]
        return None if index == UNCOVERED else self.shards[index]

    def find(self, host: str, port: int) -> Node | None:
        """The node that a redirection names. None: it is not known, and not to be dialled, since
        any client can forge a redirection with EVAL."""
        return self._known.get((host.lower(), port))

    @property
    def primaries(self) -> set[bytes]:
        """Their ids."""
        return {shard.primary.id for shard in self.shards}

    def moved(self, other: Topology) -> set[int]:
        """The slots whose primary differs between the two, by its id."""
        mine, others = self._owner_ids(), other._owner_ids()
        return {slot for slot in range(SLOTS) if mine[slot] != others[slot]}

    def with_owner(self, slot: int, owner: Node) -> Topology:
        """The same with the slot at that primary, as a redirection says. The same topology where it
        is there, or the node is no primary here: a whole answer will tell."""
        at = self.shard(slot)
        there = at is not None and at.primary.id == owner.id
        if there or owner.id not in self.primaries:
            return self
        return Topology(tuple(_with(shard, slot, owner.id) for shard in self.shards))

    def _owner_ids(self) -> list[bytes]:
        ids = [shard.primary.id for shard in self.shards]
        ids.append(b"")  # at UNCOVERED
        return [ids[index] for index in self.owners]


def parse_slots(reply: Value, host: str) -> Topology:
    """The answer to CLUSTER SLOTS of a node that was reached at ``host``, which stands where the
    node does not name one. Nodes that it cannot name are left out, and their slots uncovered.

    ValueError, in words for the operator, where it is no such answer."""
    if not isinstance(reply, list):
        raise ValueError(f"CLUSTER SLOTS was answered with {_shown(reply)}")
    nodes: dict[bytes, Node] = {}
    replicas: dict[bytes, set[bytes]] = {}
    owners: dict[bytes, list[tuple[int, int]]] = {}
    for entry in reply:
        if not isinstance(entry, list) or len(entry) < 3:
            raise ValueError(f"CLUSTER SLOTS has an entry that is {_shown(entry)}")
        first, last = _range(entry[0], entry[1])
        primary, *others = [_node(item, host) for item in entry[2:]]
        if primary is None:
            continue
        for node in (primary, *others):
            if node is not None:
                nodes.setdefault(node.id, node)
        owners.setdefault(primary.id, []).append((first, last))
        replicas.setdefault(primary.id, set()).update(
            node.id for node in others if node is not None
        )
    _refuse_overlaps(sorted(span for spans in owners.values() for span in spans))
    return Topology(
        tuple(
            Shard(
                nodes[id],
                tuple(nodes[other] for other in sorted(replicas[id])),
                _joined(sorted(owners[id])),
            )
            for id in sorted(owners)
        )
    )


def _with(shard: Shard, slot: int, owner: bytes) -> Shard:
    spans = [
        part
        for first, last in shard.ranges
        for part in ((first, min(last, slot - 1)), (max(first, slot + 1), last))
        if part[0] <= part[1]
    ]
    if shard.primary.id == owner:
        spans.append((slot, slot))
    return Shard(shard.primary, shard.replicas, _joined(sorted(set(spans))))


def _joined(spans: list[tuple[int, int]]) -> Ranges:
    """Sorted ranges, those that touch as one."""
    found: list[tuple[int, int]] = []
    for first, last in spans:
        if found and found[-1][1] + 1 == first:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return tuple(found)


def _refuse_overlaps(spans: list[tuple[int, int]]) -> None:
    for (_, last), (first, _) in itertools.pairwise(spans):
        if first <= last:
            raise ValueError(f"CLUSTER SLOTS gives slot {first} to two nodes")


def _range(first: Value, last: Value) -> tuple[int, int]:
    if type(first) is int and type(last) is int and 0 <= first <= last < SLOTS:
        return first, last
    raise ValueError(f"CLUSTER SLOTS has a range from {_shown(first)} to {_shown(last)}")


def _node(item: Value, host: str) -> Node | None:
    """None: the node that answered does not know how to reach it."""
    match item:
        case [None | bytes() as endpoint, int(port), bytes(id), *rest] if id and port < 65536:
            if endpoint == _UNKNOWN or port <= 0:
                return None
            name = _text(endpoint) if endpoint else host
            told = _named(rest[0]) if rest else set[str]()
            return Node(id, name, port, frozenset({name.lower(), *told}))
        case _:
            raise ValueError(f"CLUSTER SLOTS has a node that is {_shown(item)}")


def _named(meta: Value) -> set[str]:
    """The names in what is told of a node beside its endpoint: a map, or a flat array."""
    pairs: list[tuple[object, Value]]
    if isinstance(meta, Mapping):
        pairs = list(meta.items())  # the reader leaves its names as bytes
    elif isinstance(meta, list):
        pairs = list(zip(meta[::2], meta[1::2], strict=False))
    else:
        pairs = []
    return {
        _text(value).lower()
        for name, value in pairs
        if name in (b"ip", b"hostname") and isinstance(value, bytes) and value
    }


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _shown(value: Value) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "..."
