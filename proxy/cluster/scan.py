"""Cursors of SCAN that walk all shards, one after the other.

    0 | fingerprint of the topology, 10 bits | shard, 9 bits | again, 1 bit | the server's, 43 bits

Owns the numbers only. They hold all there is to know, so that any proxy in front of the cluster can
go on, and stay below 2^63 for clients that read them as integers. The server's cursor means nothing
on another node or after a failover: another fingerprint starts the walk again. SCAN may give a key
twice, and may not miss one: behind the last shard is a place of no keys, where the nodes are asked
whether any was on its way past the walk (scan_end.py). Pure.

0 is the client's beginning and end: no place on the way has that number, as either its shard or its
server's cursor is not 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..errors import BadInput

CURSOR_BITS: Final = 43
AGAIN_BITS: Final = 1
SHARD_BITS: Final = 9
FINGERPRINT_BITS: Final = 10
SHARDS_MAX: Final = 1 << SHARD_BITS

_SHARD_AT: Final = CURSOR_BITS + AGAIN_BITS
_FINGERPRINT_AT: Final = _SHARD_AT + SHARD_BITS
_CURSOR_MASK: Final = (1 << CURSOR_BITS) - 1
_SHARD_MASK: Final = SHARDS_MAX - 1
_FINGERPRINT_MASK: Final = (1 << FINGERPRINT_BITS) - 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk is: ``shard`` counts the primaries in the order of their ids; as many as there
    are: behind them all. ``again``: some are walked for the second time, which is enough."""

    shard: int
    cursor: int
    again: bool = False
    restarted: bool = False  # the cluster has changed since: from its beginning again


START: Final = Place(0, 0)


def encode(place: Place, fingerprint: int) -> int:
    """The client's cursor. BadInput where a part has no room in it."""
    if not 0 <= place.cursor <= _CURSOR_MASK:
        raise BadInput(f"the server's cursor {place.cursor} is too large for SCAN of a cluster")
    if not 0 <= place.shard <= _SHARD_MASK:
        raise BadInput(f"SCAN of a cluster walks up to {_SHARD_MASK} shards")
    top = (fingerprint & _FINGERPRINT_MASK) << _FINGERPRINT_AT | place.shard << _SHARD_AT
    return top | place.again << CURSOR_BITS | place.cursor


def decode(cursor: bytes, fingerprint: int, shards: int) -> Place:
    """Where to go on: at the beginning for 0, and, restarted, for a cursor of another topology.
    BadInput, in the server's words, for what is no cursor."""
    number = int(cursor) if cursor.isdigit() and len(cursor) <= 20 else -1
    if not 0 <= number < 1 << 64:
        raise BadInput("invalid cursor")
    if number == 0:
        return START
    shard, inside = number >> _SHARD_AT & _SHARD_MASK, number & _CURSOR_MASK
    known = shard < shards or (shard == shards and not inside)
    if number >> _FINGERPRINT_AT != fingerprint & _FINGERPRINT_MASK or not known:
        return Place(0, 0, restarted=True)
    return Place(shard, inside, bool(number >> CURSOR_BITS & 1))


def starts(fingerprint: int, shards: int) -> list[bytes]:
    """Where each shard's walk begins, which is where that of the shard before it has ended."""
    return [b"0", *(b"%d" % encode(Place(at, 0), fingerprint) for at in range(1, shards))]


def following(place: Place, cursor: int, fingerprint: int) -> int:
    """The client's next cursor, by the one that the shard's server gave. A shard that is at its end
    leads to the next one's beginning, or behind the last. BadInput as with ``encode``."""
    shard = place.shard if cursor else place.shard + 1
    return encode(Place(shard, cursor, place.again), fingerprint)
