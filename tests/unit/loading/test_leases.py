"""Leases that clients hold: who gets one, and what may be stored under it."""

from __future__ import annotations

import asyncio
from typing import Any

from nearhit.proxy.custom.spec import Expiry
from nearhit.proxy.errors import CacheBusy, ServerError, UpstreamLost
from nearhit.proxy.loading.lease_scripts import UNTRACKED

from tests.fakes import settle
from tests.unit.loading.air import (
    HELD,
    KEY,
    LEASE,
    LEASED,
    Air,
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


# --- Those who wait for one lease


async def standing(here: Air, count: int) -> list[asyncio.Task[Any]]:
    """So many wait for the lease that another holds."""
    callers = [here.call(here.leases.lease(KEY, 10_000, 60_000)) for _ in range(count)]
    await here.server.answer("take", HELD)
    assert here.server.quiet  # the head asks for them all
    return callers


async def test_a_lease_that_becomes_free_wakes_one_in_the_order_of_coming() -> None:
    async with air(max_waiters=1000) as here:
        callers = await standing(here, 1000)

        for caller in callers[:3]:
            here.scope.push(LEASE)
            take = await here.server.answer("take", LEASED)
            assert await caller == (None, take.args[0])
            assert here.server.quiet
        assert not any(caller.done() for caller in callers[3:])

        for caller in callers[3:]:
            caller.cancel()
        await settle()
        here.server.asked.clear()


async def test_a_value_that_comes_is_everybodys_for_one_question() -> None:
    async with air(max_waiters=1000) as here:
        callers = await standing(here, 1000)
        here.scope.push(KEY)
        await here.server.answer("take", [1, b"v"])

        assert {await caller for caller in callers} == {(b"v", None)}
        assert here.server.quiet
        assert not here.scope.watches


async def test_who_comes_behind_the_question_is_not_told_what_may_be_older() -> None:
    async with air() as here:
        early = await standing(here, 2)
        here.scope.push(KEY)
        take = await here.server.next("take")
        late = here.call(here.leases.lease(KEY, 10_000, 60_000))
        await settle()
        take.arrive([1, b"old"])

        assert [await caller for caller in early] == [(b"old", None)] * 2
        await here.server.answer("take", [1, b"new"])
        assert await late == (b"new", None)


async def test_a_head_that_leaves_lets_the_next_one_ask() -> None:
    async with air() as here:
        head, second = await standing(here, 2)
        here.scope.push(LEASE)
        lost = await here.server.next("take")
        head.cancel()
        await here.server.answer("settle", 1)
        take = await here.server.answer("take", LEASED)

        assert lost.args[0] != take.args[0]
        assert await second == (None, take.args[0])


async def test_the_error_of_one_is_its_own_and_the_next_one_asks() -> None:
    async with air() as here:
        head, second = await standing(here, 2)
        here.scope.push(KEY)
        (await here.server.next("take")).lose(ServerError(b"-WRONGTYPE no string"))
        await failure(head, ServerError)
        await here.server.answer("take", [1, b"v"])

        assert await second == (b"v", None)


async def test_who_waited_long_enough_leaves_the_line() -> None:
    async with air() as here:
        head, *_ = await standing(here, 1)
        short = here.call(here.leases.lease(KEY, 10_000, 1))

        assert await short == (None, None)
        assert here.server.quiet
        assert not head.done()
        head.cancel()


# --- Attempts whose connection is lost


async def test_an_attempt_whose_connection_is_lost_is_made_again_within_the_wait() -> None:
    async with air() as here:
        caller = here.call(here.leases.lease(KEY, 10_000, 60_000))
        first = await here.server.next("take")
        first.lose(UpstreamLost("cut"))
        settled = await here.server.answer("settle", 1)
        assert settled.args[0] == first.args[0]
        assert here.server.quiet
        here.now += UNTRACKED
        here.scope.push(LEASE)
        take = await here.server.answer("take", LEASED)

        assert await caller == (None, take.args[0])


async def test_an_attempt_that_is_lost_without_time_for_another_is_told() -> None:
    for wait in (0, 1):
        async with air() as here:
            caller = here.call(here.leases.lease(KEY, 10_000, wait))
            take = await here.server.next("take")
            here.now += 1
            take.lose(UpstreamLost("cut"))

            await failure(caller, UpstreamLost)
            await here.server.answer("settle", 1)


async def test_the_attempt_behind_a_lost_one_takes_no_longer_than_the_wait() -> None:
    async with air() as here:
        caller = here.call(here.leases.lease(KEY, 10_000, 1_000))
        (await here.server.next("take")).lose(UpstreamLost("cut"))
        await here.server.answer("settle", 1)
        here.now += 0.999
        here.scope.push(LEASE)
        again = await here.server.next("take")

        await failure(caller, UpstreamLost)
        assert (await here.server.answer("settle", 1)).args[0] == again.args[0]


# --- What the near cache forgets


async def test_what_a_lease_writes_is_forgotten_before_its_client_is_told() -> None:
    async with air() as here:
        first = await granted(here)
        assert here.scope.forgotten == [LEASE]
        caller = here.call(here.leases.fill(KEY, first, b"v", None))
        await here.server.answer("fill", 1)
        assert await caller
        assert here.scope.forgotten[1:] == [KEY, LEASE]

        second = await granted(here)
        here.scope.forgotten.clear()
        caller = here.call(here.leases.cancel(KEY, second))
        await here.server.answer("settle", 1)
        assert await caller
        assert here.scope.forgotten == [KEY, LEASE]


async def test_a_value_that_a_lease_finds_is_not_forgotten() -> None:
    async with air() as here:
        caller = here.call(here.leases.lease(KEY, 10_000, 0))
        await here.server.answer("take", [1, b"v"])

        assert await caller == (b"v", None)
        assert here.scope.forgotten == []


async def test_when_a_lease_was_taken_is_known_while_it_stands() -> None:
    async with air() as here:
        here.now = 5.0
        token = await granted(here, 10_000)
        assert here.leases.taken(KEY, token) == (5.0, 15.0)
        assert here.leases.taken(KEY, b"t of another") is None

        here.writes.passed_tags([b"t"])  # what it is about, is told as it is stored
        assert here.leases.taken(KEY, token) is not None
        here.writes.passed([KEY])
        assert here.leases.taken(KEY, token) is None
        await here.server.answer("settle", 1)
