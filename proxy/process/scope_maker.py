"""What the commands of one db and user have: made as it is asked for the first time.

    LaneKey ─▶ tracked lane ─▶ flights, leases, locks, refreshes ─▶ Scope, with the Call of commands

A part of the wiring, which hands in what all scopes share. Starts nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..bounds import WaitingRoom
from ..cluster.lanes import ClusterLanes
from ..custom.spec import Call
from ..errors import CacheBusy, LockBusy
from ..jobs.board import Owner
from ..jobs.jobs import Jobs, OwnJobs
from ..keys.ours import OurKeys
from ..loading.flights import Flights
from ..loading.lease_scripts import LeaseScripts
from ..loading.leases import Leases
from ..loading.loaders import Loaders
from ..loading.refreshes import Refreshes
from ..loading.writes import Voidable, Writes
from ..locking.locks import Locks
from ..near.cache import NearCache
from ..session.scopes import Scope
from ..stats.counters import Stats
from ..stats.fleet import Fleet, Statistics
from ..stats.views import Views
from ..upstream.lane_key import LaneKey
from ..upstream.lanes import Lanes
from ..upstream.tracked import TrackedLane
from .lock_maker import LockMaker

Start = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Rooms:
    """Where callers wait, for all dbs together: a bound for loads and leases, one for locks."""

    def __init__(self, limit: int) -> None:
        self.loads = WaitingRoom(limit, "loads and leases", CacheBusy)
        self.locks = WaitingRoom(limit, "locks", LockBusy)

    def limit(self, most: int) -> None:
        """So many from now on; who waits already, waits."""
        self.loads.limit = self.locks.limit = most

    def __repr__(self) -> str:
        return f"<Rooms loads={self.loads.waiting} locks={self.locks.waiting}>"


@dataclass(frozen=True, slots=True)
class ScopeMaker:
    """Makes what commands have in a db, as the db is asked for the first time."""

    lanes: Lanes
    loaders: Loaders
    stats: Stats
    fleet: Fleet
    near: NearCache | None
    start: Start
    clock: Callable[[], float]  # seconds
    rooms: Rooms
    jobs: Jobs
    ours: OurKeys
    running: Callable[[int], Iterable[Voidable]]  # what a write of a db ends: Scopes.running
    locks: LockMaker
    views: Views

    def __call__(self, key: LaneKey) -> Scope:
        tracked = TrackedLane(self.lanes, key, self.near)
        scripts = LeaseScripts(tracked, self.start, self.stats)
        flights = Flights(
            tracked,
            scripts,
            self.loaders,
            start=self.start,
            clock=self.clock,
            counts=self.stats,
            room=self.rooms.loads,
        )
        tracked.alone = flights.alone
        tracked.fails_open = flights.fails_open
        leases = Leases(
            tracked,
            scripts,
            start=self.start,
            clock=self.clock,
            counts=self.stats,
            room=self.rooms.loads,
        )
        locks = self.locks.of(tracked)
        refreshes = Refreshes(
            flights,
            self.loaders,
            counts=self.stats,
            clock=self.clock,
            room=self.rooms.loads,
        )
        call = replace(self._call(tracked, flights, leases, locks), refreshes=refreshes)
        return Scope(tracked, flights, leases, locks, call)

    def _call(self, tracked: TrackedLane, flights: Flights, leases: Leases, locks: Locks) -> Call:
        """What commands are handed, but for their request."""
        user = tracked.key.user
        owner = Owner(tracked.key.db, None if user is None else user.name)
        call = Call(
            request=None,
            upstream=tracked.upstream,
            bulk=tracked.bulk,
            loads=flights,
            leases=leases,
            writes=Writes(self.near, partial(self.running, tracked.key.db)),
            locks=locks,
            lock_servers=self.locks.listed(tracked.key.db),
            jobs=OwnJobs(self.jobs, owner),
            stats=Statistics(self.stats, self.fleet, self.views.reset),
            views=self.views.of(tracked.key.db),
            ours=self.ours,
            now=time.monotonic,  # uvloop's time is of whole milliseconds
            sleep=asyncio.sleep,
        )
        lanes = self.lanes
        return replace(call, walks=lanes.walks) if isinstance(lanes, ClusterLanes) else call
