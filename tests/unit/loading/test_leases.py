"""Leases that clients hold: who gets one, and what may be stored under it."""

from __future__ import annotations

from nearhit.proxy.custom.spec import Expiry
from nearhit.proxy.errors import (
    CacheBusy,
)

from tests.fakes import settle
from tests.unit.loading.air import (
    HELD,
    KEY,
    LEASE,
    LEASED,
    air,
    failure,
    granted,
)


async def test_a_lease_is_granted_and_its_fill_stored() -> None:
    async with air() as here:
        token = await granted(here)
        caller = here.call(here.leases.fill(KEY, token, b"v", Expiry(b"EX", 5)))
        fill = await here.server.answer("fill", 1)

        assert await caller is True
        assert fill.args == (token, b"v", b"EX", b"5", b"")
        assert here.idle


async def test_a_write_since_the_grant_refuses_the_fill() -> None:
    async with air() as here:
        token = await granted(here)
        here.scope.push(KEY)
        await here.server.answer("settle", 1)
        caller = here.call(here.leases.fill(KEY, token, b"v", None))
        await here.server.answer("settle", 0)

        assert await caller is False


async def test_a_write_since_the_grant_ends_the_lease_for_other_proxies_too_once() -> None:
    async with air() as here:
        token = await granted(here)
        here.scope.push(KEY)
        here.scope.push(KEY)
        settled = await here.server.answer("settle", 1)

        assert settled.args == (token, b"", b"0", b"")
        assert here.server.quiet


async def test_the_loss_of_the_lane_refuses_the_fill_here_and_asks_nothing_meanwhile() -> None:
    async with air() as here:
        token = await granted(here)
        here.scope.drop()
        await settle()
        assert here.server.quiet

        caller = here.call(here.leases.fill(KEY, token, b"v", None))
        await here.server.answer("settle", 1)

        assert await caller is False


async def test_the_push_for_a_fill_itself_ends_nothing() -> None:
    async with air() as here:
        token = await granted(here)
        caller = here.call(here.leases.fill(KEY, token, b"v", None))
        fill = await here.server.next("fill")
        fill.arrive(1)
        here.scope.push(KEY)  # right behind its reply

        assert await caller is True
        await settle()
        assert here.server.quiet


async def test_a_write_told_in_one_read_with_the_grant_refuses_the_fill() -> None:
    async with air() as here:
        caller = here.call(here.leases.lease(KEY, 10_000, 0))
        (await here.server.next("take")).arrive(LEASED)
        here.scope.push(KEY)
        _, token = await caller
        assert token is not None
        await here.server.answer("settle", 1)
        filling = here.call(here.leases.fill(KEY, token, b"v", None))
        await here.server.answer("settle", 0)

        assert await filling is False


async def test_a_write_told_before_the_fills_reply_takes_the_fill_back() -> None:
    async with air() as here:
        token = await granted(here)
        caller = here.call(here.leases.fill(KEY, token, b"v", None))
        fill = await here.server.next("fill")
        here.scope.push(KEY)
        fill.arrive(1)
        await here.server.answer("undo", 1)

        assert await caller is False


async def test_a_void_takes_the_lease_back() -> None:
    async with air() as here:
        token = await granted(here)
        here.writes.passed([KEY])
        settled = await here.server.answer("settle", 1)

        assert settled.args[:2] == (token, b"")
        assert here.idle
        assert not here.scope.watches


async def test_a_token_from_elsewhere_is_the_servers_to_judge() -> None:
    async with air() as here:
        caller = here.call(here.leases.fill(KEY, b"tother", b"v", None))
        await here.server.answer("fill", 0)

        assert await caller is False
        assert here.counts["fills_refused"] == 1


async def test_cancel_gives_the_lease_up_and_forgets_it() -> None:
    async with air() as here:
        token = await granted(here)
        caller = here.call(here.leases.cancel(KEY, token))
        await here.server.answer("settle", 1)

        assert await caller is True
        assert here.idle
        assert not here.scope.watches


async def test_the_tick_forgets_leases_that_have_ended() -> None:
    async with air() as here:
        await granted(here, 1000)
        here.now = 0.9
        here.leases.tick()
        assert not here.idle
        here.now = 1.1
        here.leases.tick()

        assert here.idle
        assert not here.scope.watches


async def test_a_second_grant_takes_the_place_of_the_first() -> None:
    async with air() as here:
        first = await granted(here)
        second = await granted(here)
        caller = here.call(here.leases.fill(KEY, first, b"v", None))
        await here.server.answer("fill", 0)
        assert await caller is False
        caller = here.call(here.leases.fill(KEY, second, b"v", None))
        await here.server.answer("fill", 1)

        assert await caller is True


async def test_a_wait_that_is_over_says_that_another_computes() -> None:
    async with air() as here:
        caller = here.call(here.leases.lease(KEY, 1000, 0))
        await here.server.answer("take", HELD)

        assert await caller == (None, None)
        assert here.idle


async def test_who_waits_for_a_lease_gets_the_value_or_the_next_lease() -> None:
    async with air() as here:
        for reply, value in (([1, b"v"], b"v"), (LEASED, None)):
            caller = here.call(here.leases.lease(KEY, 1000, 60_000))
            await here.server.answer("take", HELD)
            here.scope.push(LEASE)
            await here.server.answer("take", reply)
            found, token = await caller
            assert found == value
            assert (token is None) is (value is not None)


async def test_a_client_that_leaves_as_the_lease_is_granted_does_not_keep_it() -> None:
    async with air() as here:
        caller = here.call(here.leases.lease(KEY, 1000, 60_000))
        take = await here.server.next("take")
        caller.cancel()
        settled = await here.server.answer("settle", 1)

        assert settled.args[:2] == (take.args[0], b"")
        assert here.idle


async def test_a_client_that_leaves_right_behind_the_grant_does_not_keep_it() -> None:
    async with air() as here:
        caller = here.call(here.leases.lease(KEY, 1000, 60_000))
        take = await here.server.next("take")
        take.arrive(LEASED)
        caller.cancel()  # before it has gone on
        settled = await here.server.answer("settle", 1)

        assert settled.args[:2] == (take.args[0], b"")


async def test_waiters_for_leases_are_bounded_too() -> None:
    async with air(max_waiters=1) as here:
        first = here.call(here.leases.lease(KEY, 1000, 60_000))
        await here.server.answer("take", HELD)
        await failure(here.call(here.leases.lease(KEY, 1000, 60_000)), CacheBusy)
        await failure(here.load(), CacheBusy)

        assert here.server.quiet
        first.cancel()
