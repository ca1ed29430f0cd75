"""Where the numbers are that STATS, INFO and /metrics show and that nobody counts for them.

Owns the list of (row of stats/counters.py, where its value stands). Counts nothing: what is counted
where it happens needs no line here. Called once by wiring.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sized

from ..bounds import WaitingRoom
from ..cluster.lanes import ClusterLanes
from ..hot.answers import Turn
from ..near.cache import NearCache
from ..resp.kernel import COMPILED
from ..session.clients import Clients
from ..session.scopes import Scopes
from ..stats.counters import Stats
from ..upstream.sentinel.master import Master
from ..upstream.tracked import STALE_MAX_MS


def read_turn(stats: Stats, turn: Turn) -> None:
    """Reads through sessions: the hot path counts them itself."""
    stats.counter("hits", lambda: turn.hits)
    stats.counter("misses", lambda: turn.misses)
    stats.counter("near_found", lambda: turn.near_hits)


def read_near(stats: Stats, near: NearCache) -> None:
    """The near cache counts for itself, compiled."""
    counters: Mapping[str, Callable[[], int]] = {
        "near_hits": lambda: near.hits,
        "near_misses": lambda: near.misses,
        "near_evictions": lambda: near.evictions,
        "near_fills": lambda: near.fills,
        "near_fills_refused": lambda: near.fills_refused,
        "near_invalidations": lambda: near.invalidations,
        "near_bypass_misses": lambda: near.turned["misses"],
        "near_bypass_fills": lambda: near.turned["fills"],
        "near_flushed_lost": lambda: near.flushes["lost"],
        "near_flushed_silent": lambda: near.flushes["silent"],
        "near_flushed_null": lambda: near.flushes["null"],
        "near_flushed_written": lambda: near.flushes["flushed"],
        "near_hits_down": lambda: near.down_hits,
    }
    for name, read in counters.items():
        stats.counter(name, read)
    stats.gauge("near_stale_max_ms", lambda: STALE_MAX_MS)
    stats.gauge("near_bypass", lambda: near.unpaid)
    stats.gauge("near_entries", lambda: near.entries)
    stats.gauge("near_bytes", lambda: near.used)


def read_process(
    stats: Stats, *, clients: Clients, lanes: Sized, scopes: Scopes, clock: Callable[[], float]
) -> None:
    """Who is connected. The uptime is whole seconds of ``clock`` from now on."""
    began = clock()
    stats.gauge("clients", lambda: len(clients))
    stats.counter("clients_refused", lambda: clients.refusals.count)
    stats.counter("clients_cut", lambda: clients.cuts)
    stats.gauge("upstream_connections", lambda: len(lanes))
    stats.gauge("tracking", lambda: "on" if scopes.tracking else "off")
    stats.gauge("compiled", lambda: int(COMPILED))
    stats.gauge("uptime_s", lambda: int(clock() - began))


def read_tasks(stats: Stats, loop: asyncio.AbstractEventLoop) -> None:
    """All there are, whoever began them."""
    stats.gauge("tasks", lambda: len(asyncio.all_tasks(loop)))


def read_master(stats: Stats, master: Master) -> None:
    """What Sentinels tell."""
    stats.gauge("sentinels", lambda: master.listening.hearing)
    stats.counter("master_moves", lambda: master.dial.moves)


def read_cluster(stats: Stats, lanes: ClusterLanes) -> None:
    """What is known of the slots that stand in the near cache, and who was read."""
    stats.gauge("near_slots", lambda: lanes.slots_told)
    stats.counter("replica_reads", lambda: lanes.replica_reads)


def read_rooms(stats: Stats, *, loads: WaitingRoom, locks: WaitingRoom) -> None:
    """Who waits."""
    stats.gauge("waiting", lambda: loads.waiting)
    stats.gauge("lock_waiters", lambda: locks.waiting)
