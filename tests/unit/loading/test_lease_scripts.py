"""What is asked of the lease scripts, and what is made of their replies."""

from __future__ import annotations

import pytest
from nearhit.proxy.custom.spec import Expiry
from nearhit.proxy.errors import OddReply, ServerError, UpstreamDown, UpstreamLost
from nearhit.proxy.loading.lease_scripts import LOOK_AGAIN, TOKEN, UNTRACKED, Took, new_token

from tests.unit.loading.air import KEY, LEASE, LEASED, air, failure


@pytest.mark.parametrize(
    ("reply", "took"),
    [
        ([1, b"v"], (Took.HIT, b"v")),
        (LEASED, (Took.LEASED, b"")),
        ([3, 500], (Took.HELD, 500)),
        ([4], (Took.NOTHING, None)),
        ([5, b"why"], (Took.FAILED, b"why")),
    ],
)
async def test_take_says_what_the_server_found(reply: object, took: tuple[Took, object]) -> None:
    async with air() as here:
        caller = here.call(here.scripts.take(KEY, b"t1", 50, b"load", quiet=True))
        asked = await here.server.answer("take", reply)

        assert await caller == took
        assert asked.keys == (KEY, LEASE)
        assert asked.args == (b"t1", b"50", b"load", b"quiet")


async def test_a_take_that_was_never_sent_leaves_nothing_to_give_up() -> None:
    async with air() as here:
        caller = here.call(here.scripts.take(KEY, b"t1", 50, b"load"))
        (await here.server.next("take")).lose(UpstreamDown("refused"))

        await failure(caller, UpstreamDown)
        assert here.server.quiet


async def test_a_take_whose_outcome_is_unknown_is_given_up() -> None:
    async with air() as here:
        caller = here.call(here.scripts.take(KEY, b"t1", 50, b"load"))
        (await here.server.next("take")).lose(UpstreamLost("cut"))

        await failure(caller, UpstreamLost)
        assert (await here.server.answer("settle", 1)).args == (b"t1", b"", b"0", b"")


@pytest.mark.parametrize(("touched", "stored"), [(False, True), (True, False)])
async def test_a_fill_stands_unless_its_key_was_touched(touched: bool, stored: bool) -> None:
    async with air() as here:
        expiry = Expiry(b"PX", 7)
        caller = here.call(here.scripts.fill(KEY, b"t1", b"v", expiry, b"d", lambda: touched))
        fill = await here.server.answer("fill", 1)
        if touched:
            assert (await here.server.answer("undo", 1)).args == (b"v",)

        assert await caller is stored
        assert fill.keys == (KEY, LEASE)
        assert fill.args == (b"t1", b"v", b"PX", b"7", b"d")
        assert here.counts["fills_refused"] == (not stored)


async def test_a_fill_that_the_server_refused_is_counted_and_not_undone() -> None:
    async with air() as here:
        caller = here.call(here.scripts.fill(KEY, b"t1", b"v", None, b"", lambda: True))
        await here.server.answer("fill", 0)

        assert await caller is False
        assert here.server.quiet
        assert here.counts["fills_refused"] == 1


@pytest.mark.parametrize(("reply", "settled"), [(1, True), (0, False)])
async def test_settle_says_whether_the_lease_was_there(reply: int, settled: bool) -> None:
    async with air() as here:
        caller = here.call(here.scripts.settle(KEY, b"t1", b"n", 5, b"d"))
        asked = await here.server.answer("settle", reply)

        assert await caller is settled
        assert asked.args == (b"t1", b"n", b"5", b"d")


async def test_a_lease_that_cannot_be_given_up_ends_by_itself() -> None:
    async with air() as here:
        caller = here.call(here.scripts.settle(KEY, b"t1", b"", 0))
        (await here.server.next("settle")).lose(ServerError(b"-OOM no memory"))

        assert await caller is False


async def test_a_fill_that_is_taken_back_is_undone_though_its_lease_is_gone() -> None:
    async with air() as here:
        caller = here.call(here.scripts.take_back_fill(KEY, b"t1", b"v"))
        await here.server.answer("settle", 0)
        (await here.server.next("undo")).lose(UpstreamLost("cut"))

        await caller


async def test_waiters_look_again_a_little_after_a_lease_is_due_to_end() -> None:
    async with air() as here:
        low, high = LOOK_AGAIN
        assert 2 + low <= here.scripts.patience(2000) <= 2 + high
        assert low <= here.scripts.patience(-2) <= high
        here.scope.tracking = False
        assert here.scripts.patience(60_000) == UNTRACKED


def test_tokens_are_of_one_kind_and_never_the_same() -> None:
    tokens = {new_token() for _ in range(100)}

    assert len(tokens) == 100
    assert all(token.startswith(TOKEN) and len(token) == 33 for token in tokens)


ODD = [5, b"v", None, [], [0], [6, b"v"], [b"1", b"v"], [1], [1, 2], [2], [2, 5], [3, b"5"], [4, 1]]


@pytest.mark.parametrize("reply", ODD)
async def test_an_odd_reply_to_take_is_told_and_a_lease_given_up(reply: object) -> None:
    async with air() as here:
        caller = here.call(here.scripts.take(KEY, b"t1", 50, b"load"))
        await here.server.answer("take", reply)

        await failure(caller, OddReply)
        assert (await here.server.answer("settle", 1)).args == (b"t1", b"", b"0", b"")


async def test_an_odd_reply_to_a_flight_is_told_to_all_who_wait() -> None:
    async with air() as here:
        callers = [here.load() for _ in range(3)]
        await here.server.answer("take", [1])

        for caller in callers:
            await failure(caller, OddReply)
        await here.server.answer("settle", 1)


@pytest.mark.parametrize("reply", [b"1", [1], "OK", None])
async def test_an_odd_reply_is_no_yes(reply: object) -> None:
    async with air() as here:
        filling = here.call(here.leases.fill(KEY, b"t1", b"v", None))
        await here.server.answer("fill", reply)
        await failure(filling, OddReply)

        cancelling = here.call(here.leases.cancel(KEY, b"t1"))
        await here.server.answer("settle", reply)
        await failure(cancelling, OddReply)
