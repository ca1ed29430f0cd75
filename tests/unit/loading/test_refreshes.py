"""What readers of values that are stale, or soon will be, have loaded behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from nearhit.proxy.errors import UpstreamDown
from nearhit.proxy.loading.loaders import Loaders
from nearhit.proxy.loading.refreshes import PAUSE, PAUSES_MAX, Refreshes
from nearhit.proxy.loading.source import SourceError

from tests.fakes import settle
from tests.unit.loading.air import HELD, KEY, LEASED, Air, OneLoader, air

STALE, FRESH = 5_000, 15_000  # milliseconds left, of a grace of 10 s
DIGEST = b"digest"
SKIPPED: list[object] = [1, None]


class Sky(Air):
    refreshes: Refreshes


@asynccontextmanager
async def sky(max_waiters: int = 100, chance: float = 0.0, **settings: Any) -> AsyncIterator[Sky]:
    settings = {"grace": 10.0, "ttl": 60.0} | settings
    async with air(max_waiters, **settings) as here:
        sky = cast(Sky, here)
        sky.refreshes = Refreshes(
            here.flights,
            cast(Loaders, OneLoader(here.loader)),
            counts=here,
            clock=lambda: here.now,
            room=here.waiters,
            chance=lambda: chance,
        )
        yield sky


def counted(here: Air) -> dict[str, int]:
    names = ("stale_served", "refreshes", "early_refreshes", "refresh_failures")
    return {name: here.counts[name] for name in names if here.counts[name]}


async def test_a_fresh_value_is_let_alone() -> None:
    async with sky() as here:
        for ttl in (FRESH, -1, -3):
            here.refreshes.seen(KEY, ttl)
        here.refreshes.seen(b"nobody's", STALE)
        await settle()

        assert here.server.quiet
        assert counted(here) == {}


async def test_a_stale_value_is_handed_out_and_loaded_once_behind() -> None:
    async with sky() as here:
        for _ in range(5):
            here.refreshes.seen(KEY, STALE)
        take = await here.server.answer("take", [2, DIGEST])
        here.refreshes.seen(KEY, STALE)
        await here.loaded(b"new")
        fill = await here.server.answer("fill", 1)

        assert take.args[1:] == (b"7000", b"", b"quiet", b"5000")
        assert (fill.args[1], fill.args[2], fill.args[4]) == (b"new", b"PX", DIGEST)
        assert 54_000 + 10_000 <= int(fill.args[3]) <= 66_000 + 10_000
        assert counted(here) == {"stale_served": 6, "refreshes": 1}
        assert here.server.quiet
        assert here.refreshes.running == 0


async def test_what_turns_out_not_to_exist_goes() -> None:
    async with sky() as here:
        here.refreshes.seen(KEY, STALE)
        await here.server.answer("take", [2, DIGEST])
        await here.loaded(None)
        settled = await here.server.answer("settle", 1)

        assert (settled.args[1], settled.args[3]) == (b"n", DIGEST)


@pytest.mark.parametrize("said", [HELD, SKIPPED, [5, b"LOADERR loader 'x': no"], [4]])
async def test_where_there_is_nothing_to_load_the_server_is_asked_again_later(said: Any) -> None:
    async with sky(backoff=60.0) as here:
        here.refreshes.seen(KEY, STALE)
        await here.server.answer("take", said)
        here.refreshes.seen(KEY, STALE)
        await settle()

        assert here.server.quiet
        assert not here.source.loads
        here.now += PAUSE + 0.1
        here.refreshes.seen(KEY, STALE)
        await here.server.answer("take", said)


async def test_a_load_behind_that_fails_is_remembered_and_leaves_the_value() -> None:
    async with sky(backoff=0.5) as here:
        here.refreshes.seen(KEY, STALE)
        await here.server.answer("take", [2, DIGEST])
        here.source.loads[0].set_exception(SourceError("no database"))
        settled = await here.server.answer("settle", 1)

        assert settled.args[1:3] == (b"eLOADERR loader 'x': no database", b"500")
        assert counted(here) == {"stale_served": 1, "refreshes": 1, "refresh_failures": 1}
        here.now += 0.4
        here.refreshes.seen(KEY, STALE)
        await settle()
        assert here.server.quiet
        here.now += 0.2
        here.refreshes.seen(KEY, STALE)
        await here.server.answer("take", HELD)


async def test_a_load_behind_that_hangs_is_ended() -> None:
    async with sky(timeout=0.02) as here:
        here.refreshes.seen(KEY, STALE)
        await here.server.answer("take", [2, DIGEST])
        with pytest.raises(asyncio.CancelledError):
            await here.source.loads[0]
        await here.server.answer("settle", 1)

        assert here.counts["refresh_failures"] == 1


async def test_where_the_server_is_away_nothing_is_loaded_behind() -> None:
    async with sky() as here:
        here.refreshes.seen(KEY, STALE)
        (await here.server.next("take")).lose(UpstreamDown("a test"))
        await settle()

        assert not here.source.loads
        assert here.refreshes.running == 0


async def test_beyond_the_bound_readers_get_what_is_there() -> None:
    async with sky(max_waiters=1) as here:
        here.refreshes.seen(KEY, STALE)
        here.refreshes.seen(b"k2", STALE)
        await here.server.answer("take", HELD)

        assert here.server.quiet
        assert here.counts["stale_served"] == 2


async def test_pauses_are_bounded() -> None:
    async with sky(max_waiters=PAUSES_MAX * 2) as here:
        for at in range(PAUSES_MAX + 10):
            here.refreshes.seen(b"k%d" % at, STALE)
        while here.refreshes.running:
            for asked in here.server.asked:
                asked.arrive(HELD)
            here.server.asked.clear()
            await settle()

        assert repr(here.refreshes) == f"<Refreshes running=0 paused={PAUSES_MAX}>"
        here.now += PAUSE + 0.1
        here.refreshes.seen(b"k another", STALE)
        await here.server.answer("take", HELD)
        assert repr(here.refreshes) == "<Refreshes running=0 paused=1>"


# --- Early ------------------------------------------------------------------------------------


async def test_a_value_may_be_loaded_before_it_is_stale() -> None:
    async with sky(grace=0.0, early=True, ttl=5.0, chance=0.999) as here:
        here.refreshes.seen(KEY, 4000)
        await settle()
        assert here.server.quiet  # too early
        here.refreshes.seen(KEY, 100)
        take = await here.server.answer("take", [2, DIGEST])
        await here.loaded()
        await here.server.answer("fill", 1)

        assert take.args[4] == b"100"
        assert counted(here) == {"early_refreshes": 1}


async def test_of_many_readers_few_are_lucky() -> None:
    async with sky(grace=0.0, early=True, ttl=5.0, chance=0.5) as here:
        here.refreshes.seen(KEY, 100)
        await settle()

        assert here.server.quiet


# --- Waiting softly ---------------------------------------------------------------------------


async def test_without_a_soft_timeout_nobody_waits() -> None:
    async with sky() as here:
        assert not here.refreshes.softly(KEY, STALE)
        assert await here.refreshes.newest(KEY, b"old", STALE) == b"old"
        await here.server.answer("take", HELD)

        assert counted(here) == {"stale_served": 1}


async def test_a_fresh_value_in_time_is_handed_out() -> None:
    async with sky(soft_timeout=10.0) as here:
        assert here.refreshes.softly(KEY, STALE)
        assert not here.refreshes.softly(KEY, FRESH)
        assert not here.refreshes.softly(b"nobody's", STALE)
        readers = [here.call(here.refreshes.newest(KEY, b"old", STALE)) for _ in range(3)]
        await here.server.answer("take", [2, DIGEST])
        await here.loaded(b"new")
        await here.server.answer("fill", 1)

        assert await asyncio.gather(*readers) == [b"new"] * 3
        assert counted(here) == {"refreshes": 1}


async def test_many_are_waited_for_together() -> None:
    async with sky(soft_timeout=10.0) as here:
        reader = here.call(here.refreshes.newest_of({KEY: (b"old", STALE), b"k2": (b"2", FRESH)}))
        await here.server.answer("take", [2, DIGEST])
        await here.loaded(b"new")
        await here.server.answer("fill", 1)

        assert await reader == {KEY: b"new", b"k2": b"2"}


@pytest.mark.parametrize("how", ["late", "held", "fails", "paused"])
async def test_else_the_stale_one_is(how: str) -> None:
    async with sky(soft_timeout=0.02) as here:
        reader = here.call(here.refreshes.newest(KEY, b"old", STALE))
        take = await here.server.answer("take", HELD if how in ("held", "paused") else LEASED)
        if how == "fails":
            here.source.loads[0].set_exception(SourceError("no"))
            await here.server.answer("settle", 1)
        if how == "paused":
            await reader
            reader = here.call(here.refreshes.newest(KEY, b"old", STALE))

        assert await reader == b"old"
        assert here.counts["stale_served"] == (2 if how == "paused" else 1)
        if how == "late":
            assert here.flights.flying(KEY)  # it ends behind
            await here.loaded(b"new")
            assert (await here.server.answer("fill", 1)).args[0] == take.args[0]


async def test_a_value_that_is_gone_is_told_as_such() -> None:
    async with sky(soft_timeout=10.0) as here:
        reader = here.call(here.refreshes.newest(KEY, b"old", STALE))
        await here.server.answer("take", [2, DIGEST])
        await here.loaded(None)
        await here.server.answer("settle", 1)

        assert await reader is None


# --- With those who wait for a value ----------------------------------------------------------


async def test_who_finds_nothing_joins_the_load_behind() -> None:
    async with sky() as here:
        here.refreshes.seen(KEY, STALE)
        await here.server.answer("take", [2, DIGEST])
        caller = here.load()
        await settle()
        await here.loaded(b"new")
        await here.server.answer("fill", 1)

        assert await caller == b"new"
        assert here.counts["loads"] == 1


async def test_who_finds_nothing_loads_where_the_load_behind_has_no_value_for_it() -> None:
    async with sky() as here:
        here.refreshes.seen(KEY, STALE)
        await settle()
        caller = here.load()
        await here.server.answer("take", SKIPPED)
        take = await here.server.answer("take", LEASED)
        await here.loaded(b"new")
        await here.server.answer("fill", 1)

        assert await caller == b"new"
        assert len(take.args) == 4


async def test_a_write_voids_a_load_behind() -> None:
    async with sky() as here:
        here.refreshes.seen(KEY, STALE)
        await here.server.answer("take", [2, DIGEST])
        here.writes.passed((KEY,))
        await here.loaded(b"new")

        assert (await here.server.answer("settle", 1)).args[1] == b""
        assert here.counts["fills_refused"] == 1
