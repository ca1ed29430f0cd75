"""Which locks a db and user has: those in the upstream, or a vote of the lock servers.

A part of the wiring, which hands in what the Config says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..bounds import WaitingRoom
from ..cluster.lanes import ClusterLanes
from ..custom.spec import Asking
from ..locking.locks import Locks
from ..settings.address import Upstream
from ..stats.counters import Stats
from ..upstream.dial import ATTEMPTS, Retry
from ..upstream.lane_key import LaneKey
from ..upstream.lanes import Lanes
from ..upstream.tracked import TrackedLane
from .acks import Acks
from .lock_servers import LockServers, Start


class LockMaker:
    """``starts``: what runs lanes, and what runs commands. StartError: see LockServers."""

    def __init__(
        self,
        lanes: Lanes,
        servers: Sequence[Upstream],
        starts: tuple[Start, Start],
        clock: Callable[[], float],
        stats: Stats,
        room: WaitingRoom,
    ) -> None:
        self._lanes = lanes
        self._start = starts[1]
        self._clock = clock
        self._stats = stats
        self._room = room
        self.servers: LockServers | None = None
        if servers:
            # Few attempts: who locks does not wait for one of many.
            retry = Retry(ATTEMPTS["development"])
            self.servers = made = LockServers(
                servers, retry, *starts, clock=clock, stats=stats, room=room
            )
            stats.gauge("lock_servers_up", lambda: made.connected)

    def __repr__(self) -> str:
        return f"<LockMaker {self.servers!r}>"

    def of(self, tracked: TrackedLane) -> Locks:
        """The locks that are asked for on a tracked lane's db, as its user."""
        key = tracked.key
        if self.servers is not None:
            return self.servers.locks(key.db)
        return Locks(
            tracked.upstream,
            tracked,
            self._start,
            replicated=Acks(self._pool_of, LaneKey(db=key.db, user=key.user)),
            clock=self._clock,
            stats=self._stats,
            room=self._room,
        )

    def _pool_of(self, key: bytes) -> Lanes:
        """The lanes to the server that has a key."""
        lanes = self._lanes
        return lanes.pool_of(key) if isinstance(lanes, ClusterLanes) else lanes

    def listed(self, db: int) -> Sequence[Asking]:
        """Where a db's locks are looked for that are a vote; none: they are in the upstream."""
        if self.servers is None:
            return ()
        return [member.bulk for member in self.servers.members(db)]
