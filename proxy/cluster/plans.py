"""What is to be done with one request in a cluster: the answer of the command table (table.py) as a
value that the router carries out. Pure values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

# The replies, in the order of what was asked, as one.
Merge = Callable[[Sequence[bytes]], bytes]


@dataclass(frozen=True, slots=True)
class One:
    """The request as it is, to the primary that has the slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class Anywhere:
    """The request as it is, to any primary."""


@dataclass(frozen=True, slots=True)
class Unplaced:
    """The request as it is, to any primary: only a server can tell its keys, and it redirects."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A request for each slot."""

    pieces: Sequence[tuple[int, bytes]]
    merge: Merge


@dataclass(frozen=True, slots=True)
class Everywhere:
    """The request as it is, to every primary; ``replicas``: and to those. ``request``: another one
    in its stead. A merge to nothing: what is to be done is to be looked up anew, a little later."""

    replicas: bool
    merge: Merge
    request: bytes = b""


@dataclass(frozen=True, slots=True)
class At:
    """Another request, to the primary with this index in the topology."""

    shard: int
    request: bytes
    merge: Merge


@dataclass(frozen=True, slots=True)
class Said:
    """Nobody is asked."""

    reply: bytes


Plan = One | Anywhere | Unplaced | Spread | Everywhere | At | Said


class Planning(Protocol):
    """Who knows what to do (planner.py)."""

    def plan(self, words: Sequence[bytes], resp: int = 2) -> Plan:
        """What is to be done with a request, whose replies are in that protocol."""
        ...

    def by_key(self, words: Sequence[bytes], resp: int = 2) -> Spread | None:
        """The request for each of its keys, where those of one slot are at two nodes; None: it
        cannot be cut so."""
        ...
