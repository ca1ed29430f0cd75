"""What drops what is kept near for other reasons than a changed key: of the parts that wiring.py
has made. Builds nothing else; server.py runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..cluster.lanes import ClusterLanes
from ..stats.fleet import Sending
from ..upstream.lane import Lane
from ..upstream.tracked import TrackedLane
from .rights import Rights
from .swaps import Swaps
from .wiring import Parts


def swaps_of(
    parts: Parts, ask: Sending | None = None, changed: Callable[[], None] | None = None
) -> Swaps:
    """What notices SWAPDB, and new rights, by a server's own count."""

    def swapped() -> None:
        _drop(parts)
        parts.scopes.wake()

    return Swaps(
        ask or parts.primary.ask,
        needed=lambda: any(parts.scopes.tracked),  # rights that are won are noticed too
        swapped=swapped,
        new_rights=changed or partial(_new_rights, parts),
    )


def rights_of(parts: Parts) -> Rights:
    """What keeps the near cache to what users may; from now on it is told of each."""
    context, upstream = parts.context, parts.lanes.dial.upstream

    def turned(lane: TrackedLane) -> None:
        for client in context.clients:
            if client.berth.lane_key.user == lane.key.user:
                client.berth.choose_mode()

    rights = Rights(
        partial(_servers, parts),
        (upstream.username or "default").encode(),
        swaps=partial(swaps_of, parts),
        tracked=lambda: parts.scopes.tracked if context.near is not None else (),
        needed=lambda: _keeps(parts),
        drop=partial(_new_rights, parts),
        turned=turned,
    )
    if context.near is not None:
        parts.scopes.born = rights.came
        context.rights_changed = rights.forget
    return rights


def _keeps(parts: Parts) -> bool:
    """Whether anything is kept near, or on its way."""
    near = parts.context.near
    return near is not None and bool(near.entries or near.filling)


def _drop(parts: Parts) -> None:
    if parts.context.near is not None:
        parts.context.near.flush("flushed")


def _new_rights(parts: Parts) -> None:  # loads and locks go on: what they read is as it was
    _drop(parts)
    parts.lanes.newcomers.look()


def _servers(parts: Parts) -> Sequence[Lane]:
    """A lane of our own to each server whose answers may be kept."""
    lanes = parts.lanes
    return lanes.servers() if isinstance(lanes, ClusterLanes) else [parts.primary]
