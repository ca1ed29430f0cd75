"""What drops what is kept near for other reasons than a changed key: of the parts that wiring.py
has made. Builds nothing else; server.py runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from ..cluster.lanes import ClusterLanes
from ..stats.fleet import Sending
from ..upstream.lane import Lane
from ..upstream.tracked import TrackedLane
from .rights import Rights
from .swaps import Swaps
from .wiring import Parts

DEFAULT: Final = b"default"  # who a password alone logs in as


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
        upstream.username.encode() if upstream.username else DEFAULT,
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
    """A lane of our own to each server whose answers may be kept; where it wants a login that we
    do not have, one of those who have logged in as its default user: what that one may not ask it
    refuses once for each connection."""
    lanes = parts.lanes
    if isinstance(lanes, ClusterLanes):
        return lanes.servers()
    if not parts.primary.locked:
        return [parts.primary]
    users = ((one, one.key.user) for one in parts.scopes.tracked)
    logins = [one.lane() for one, user in users if user is not None and user.name == DEFAULT]
    return logins[:1] or [parts.primary]
