"""The numbers that are looked at: each row shows what its place holds now."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from nearhit.proxy.bounds import WaitingRoom
from nearhit.proxy.errors import CacheBusy
from nearhit.proxy.hot.answers import Turn
from nearhit.proxy.near.cache import NearCache
from nearhit.proxy.process import gauges
from nearhit.proxy.resp.kernel import BUILD
from nearhit.proxy.session.clients import Clients
from nearhit.proxy.stats.counters import READS, ROWS, Reading, Stats
from nearhit.proxy.upstream.tracked import STALE_MAX_MS


def shown(stats: Stats, *names: str) -> list[Reading]:
    rows = {row.name: row for row in (*READS, *ROWS)}
    return [stats.reading(rows[name]) for name in names]


async def test_the_reads_of_sessions_are_shown_with_what_is_added() -> None:
    stats = Stats()
    loop = asyncio.get_running_loop()
    turn = Turn(loop.call_soon, 0.0, lambda: 0.0)
    gauges.read_turn(stats, turn)

    turn.hits += 3
    turn.near_hits += 1
    turn.misses += 2
    stats.add("hits")

    assert shown(stats, "hits", "misses", "near_found") == [4, 2, 1]


def test_the_near_cache_is_shown_as_it_is() -> None:
    stats = Stats()
    near: Any = SimpleNamespace(
        hits=1,
        misses=2,
        evictions=3,
        fills=4,
        fills_refused=5,
        invalidations=6,
        entries=7,
        used=8,
        unpaid=13,
        down_hits=16,
        turned={"misses": 14, "fills": 15},
        flushes={"lost": 9, "silent": 10, "null": 11, "flushed": 12},
    )

    gauges.read_near(stats, near)

    rows = [row.name for row in ROWS if row.name.startswith("near_")]
    assert dict(zip(rows, shown(stats, *rows), strict=True)) == {
        "near_hits": 1,
        "near_misses": 2,
        "near_evictions": 3,
        "near_fills": 4,
        "near_fills_refused": 5,
        "near_invalidations": 6,
        "near_entries": 7,
        "near_bytes": 8,
        "near_flushed_lost": 9,
        "near_flushed_silent": 10,
        "near_flushed_null": 11,
        "near_flushed_written": 12,
        "near_stale_max_ms": STALE_MAX_MS,
        "near_bypass": 13,
        "near_bypass_misses": 14,
        "near_bypass_fills": 15,
        "near_slots": 0,
        "near_hits_down": 16,
        "near_found": 0,  # the hot path's: read_turn
    }


def test_a_real_near_cache_has_every_one_of_them() -> None:
    stats = Stats()

    gauges.read_near(stats, NearCache(1 << 20, ttl_max=60.0))

    rows = [row.name for row in ROWS if row.name.startswith("near_")]
    assert sum(map(int, shown(stats, *rows))) == STALE_MAX_MS


def test_the_process_shows_who_is_connected_and_for_how_long_it_runs() -> None:
    stats = Stats()
    clients: Any = Clients(1, lambda: None)
    one: Any = SimpleNamespace(identity=SimpleNamespace(id=0), active=100.0)
    clients.join(one)
    clients.join(one)
    lanes = ["c"]
    scopes: Any = SimpleNamespace(tracking=False)
    now = 100.0
    gauges.read_process(stats, clients=clients, lanes=lanes, scopes=scopes, clock=lambda: now)
    names = ("clients", "clients_refused", "upstream_connections", "tracking", "uptime_s")

    assert shown(stats, *names) == [1, 1, 1, "off", 0]
    assert shown(stats, "compiled") == [int(BUILD == "compiled")]
    clients.cut(SimpleNamespace(abort=lambda why: None), "why")
    assert shown(stats, "clients_cut") == [1]

    scopes.tracking = True
    now = 107.9

    assert shown(stats, *names) == [1, 1, 1, "on", 7]


async def test_tasks_that_run_are_counted() -> None:
    stats, loop = Stats(), asyncio.get_running_loop()
    gauges.read_tasks(stats, loop)
    [before] = shown(stats, "tasks")

    task = loop.create_task(asyncio.sleep(60))

    assert shown(stats, "tasks") == [before + 1]
    task.cancel()


def test_the_rooms_show_who_waits() -> None:
    stats = Stats()
    loads, locks = (WaitingRoom(9, "it", CacheBusy) for _ in range(2))
    gauges.read_rooms(stats, loads=loads, locks=locks)

    with loads, loads, locks:
        assert shown(stats, "waiting", "lock_waiters") == [2, 1]

    assert shown(stats, "waiting", "lock_waiters") == [0, 0]


def test_what_sentinels_tell_is_shown() -> None:
    stats = Stats()
    master: Any = SimpleNamespace(
        listening=SimpleNamespace(hearing=3), dial=SimpleNamespace(moves=2)
    )

    gauges.read_master(stats, master)

    assert shown(stats, "sentinels", "master_moves") == [3, 2]


def test_slots_of_a_cluster_are_counted() -> None:
    class Lanes:
        slots_told = -1

    stats = Stats()
    gauges.read_cluster(stats, Lanes())  # type: ignore[arg-type]  # nothing else is asked of it

    assert shown(stats, "near_slots") == [-1]
