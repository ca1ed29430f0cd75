"""Whether a walk of SCAN has seen all: asked of the nodes themselves, when it is behind the last.

    A ── walked ──▶ B ── walked ──▶ CLUSTER NODES, of all primaries
      ◀── slot ───                    ├─▶ nothing has moved: the end
                                      ├─▶ a key may have gone to A unseen: A and B once more
                                      └─▶ the map of this walk is old: a new one comes soon

A slot that moves key by key is its old node's until all keys are at the new one, so the map alone
cannot tell. Once more is enough: what was at B for all of B's walk was seen there, and what had
left is at A before A is walked again. Who gains or loses a slot is the first to know, so each is
asked of itself only. Pure.
Source: https://valkey.io/commands/cluster-nodes/ (slots, and [slot->-node], [slot-<-node])"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..resp.replies import Value, parsed
from .topology import Ranges, Topology

QUESTION: Final = (b"CLUSTER", b"NODES")

_MARK: Final = re.compile(rb"\[(\d+)-([<>])-([0-9a-zA-Z]+)\]")
_RANGE: Final = re.compile(rb"(\d+)(?:-(\d+))?")
_SLOTS_AT: Final = 8  # word of a node's line where its slots begin


class Unsettled(Exception):
    """The nodes are not as the map has them."""


@dataclass(frozen=True, slots=True)
class Own:
    """What a node says of itself. ``to``, ``of``: the nodes that slots are on their way to from it,
    and the other way."""

    id: bytes
    primary: bool
    ranges: Ranges
    to: frozenset[bytes]
    of: frozenset[bytes]


def own(reply: bytes) -> Own:
    """The node's own line of an answer to CLUSTER NODES. ValueError where there is none."""
    text: Value = parsed(reply)
    if isinstance(text, str):
        text = text.encode()
    if not isinstance(text, bytes):
        raise ValueError("CLUSTER NODES is no text")
    for line in text.split(b"\n"):
        words = line.split()
        if len(words) >= _SLOTS_AT and b"myself" in words[2].split(b","):
            return _own(words)
    raise ValueError("CLUSTER NODES does not name the node itself")


def _own(words: Sequence[bytes]) -> Own:
    ranges = list[tuple[int, int]]()
    marks: dict[bytes, set[bytes]] = {b">": set(), b"<": set()}
    for word in words[_SLOTS_AT:]:
        found = _RANGE.fullmatch(word)
        if found is not None:
            first = int(found[1])
            ranges.append((first, int(found[2] or first)))
            continue
        mark = _MARK.fullmatch(word)
        if mark is not None:
            marks[mark[2]].add(mark[3])
    primary = b"master" in words[2].split(b",")
    to, of = frozenset(marks[b">"]), frozenset(marks[b"<"])
    return Own(words[0], primary, tuple(sorted(ranges)), to, of)


def walk_again(topology: Topology, replies: Sequence[bytes]) -> int | None:
    """By the answers of all primaries in the order of the map: the shard from which on to walk once
    more; None: all was seen. Unsettled: it cannot be told with this map. ValueError as ``own``."""
    nodes = [own(reply) for reply in replies]
    ours = [(shard.primary.id, True, shard.ranges) for shard in topology.shards]
    if [(node.id, node.primary, node.ranges) for node in nodes] != ours:
        raise Unsettled
    at = {node.id: index for index, node in enumerate(nodes)}
    ways = {(node.id, other) for node in nodes for other in node.to}
    ways |= {(other, node.id) for node in nodes for other in node.of}
    passed = list[int]()
    for source, target in ways:
        if target not in at or source not in at:
            raise Unsettled  # to a node without slots, which is in no walk
        if at[target] < at[source]:
            passed.append(at[target])
    return min(passed, default=None)
