"""Grants that nobody takes are given back, once, and never from under another."""

from __future__ import annotations

import asyncio
import logging

import pytest
from nearhit.proxy.errors import UpstreamDown, UpstreamLost
from nearhit.proxy.locking import returns as returns_module

from tests.unit.locking.world import (
    LATENCY,
    World,
    cancelled,
    pass_time,
    virtual,
)


@virtual
async def test_a_grant_that_is_no_longer_valid_is_given_back(world: World) -> None:
    world.server.mute = True
    asking = world.loop.create_task(world.acquire(500))
    await pass_time(LATENCY)
    world.stall(0.499)
    world.server.speak()

    assert await asking is None

    await pass_time(LATENCY)
    assert world.server.released == [b"t1"]
    assert world.server.holder() is None
    assert world.counts == {}


def test_whoever_leaves_at_whatever_moment_holds_nothing() -> None:
    seen = set()
    for moment in range(40):

        @virtual
        async def run(world: World, moment: int = moment) -> None:
            holder = await world.granted()
            leaving = world.loop.create_task(world.acquire(wait=10_000))
            staying = world.loop.create_task(world.acquire(wait=10_000))
            world.loop.call_later(0.004, world.start, world.locks.release(b"r", holder.token))
            await pass_time(moment * LATENCY / 4)
            if leaving.done():
                early = await leaving
                assert early
                await world.release(early)
                seen.add("granted")
            else:
                await cancelled(leaving)
                seen.add("left")

            grant = await staying

            assert grant
            await pass_time(1)
            assert world.server.holder() == grant.token

        run()
    assert seen == {"left", "granted"}


@virtual
async def test_a_grant_on_its_way_when_the_caller_left_is_given_back(world: World) -> None:
    world.server.mute = True
    asking = world.loop.create_task(world.acquire())
    await pass_time(LATENCY)
    assert world.server.holder() == b"t1"

    await cancelled(asking)
    world.server.speak()
    await pass_time(LATENCY)

    assert world.server.holder() is None
    assert world.counts == {}


@virtual
async def test_a_grant_that_came_as_the_caller_left_is_given_back(world: World) -> None:
    asking = world.loop.create_task(world.acquire())
    world.then = asking.cancel  # the answer is there, but its task has not run

    with pytest.raises(asyncio.CancelledError):
        await asking
    await pass_time(LATENCY)

    assert world.server.released == [b"t1"]
    assert world.server.holder() is None


@virtual
async def test_what_a_named_token_held_before_stays_when_its_retry_leaves(world: World) -> None:
    await world.granted(token=b"mine")
    world.server.mute = True
    retry = world.loop.create_task(world.acquire(token=b"mine"))
    await pass_time(LATENCY)

    await cancelled(retry)
    world.server.speak()
    await pass_time(LATENCY)

    assert world.server.holder() == b"mine"


@virtual
async def test_a_named_tokens_new_grant_is_given_back_when_its_caller_left(world: World) -> None:
    world.server.mute = True
    asking = world.loop.create_task(world.acquire(token=b"mine"))
    await pass_time(LATENCY)

    await cancelled(asking)
    world.server.speak()
    await pass_time(LATENCY)

    assert world.server.holder() is None


@virtual
async def test_a_grant_is_not_given_back_from_under_another_with_the_same_token(
    world: World,
) -> None:
    world.server.mute = True
    left = world.loop.create_task(world.acquire(token=b"mine"))
    await pass_time(LATENCY)
    await cancelled(left)
    retry = world.loop.create_task(world.acquire(token=b"mine"))
    await pass_time(LATENCY)
    world.server.speak()

    assert await retry

    await pass_time(1)
    assert world.server.holder() == b"mine"
    assert world.server.released == []


async def left_with_a_grant(world: World) -> None:
    """The client that named the token has left, and its grant is on its way to our process."""
    world.server.mute = True
    left = world.loop.create_task(world.acquire(token=b"mine"))
    await pass_time(LATENCY)
    await cancelled(left)


@virtual
async def test_a_grant_is_not_given_back_from_under_a_retry_through_another_process(
    world: World,
) -> None:
    await left_with_a_grant(world)
    fence = world.server.fences[b"fence:{r}"]
    retry = world.loop.create_task(world.another().acquire(b"r", 10_000, 5_000, b"mine"))
    await pass_time(LATENCY)
    world.server.speak()

    grant = await retry
    await pass_time(1)

    assert grant is not None
    assert grant.fence == fence
    assert world.server.holder() == b"mine"
    assert await world.acquire() is None  # nobody else holds it too


@virtual
async def test_a_grant_is_not_given_back_once_its_token_has_extended_it_elsewhere(
    world: World,
) -> None:
    await left_with_a_grant(world)
    extending = world.loop.create_task(world.another().extend(b"r", b"mine", 60_000))
    await pass_time(LATENCY)
    world.server.speak()

    assert await extending

    await pass_time(1)
    assert world.server.holder() == b"mine"


@virtual
async def test_a_grant_is_not_given_back_once_its_token_has_got_another_elsewhere(
    world: World,
) -> None:
    await left_with_a_grant(world)
    world.server.free()
    again = world.loop.create_task(world.another().acquire(b"r", 60_000, 0, b"mine"))
    await pass_time(LATENCY)
    world.server.speak()

    assert await again

    await pass_time(1)
    assert world.server.holder() == b"mine"


@virtual
async def test_an_attempt_lost_on_its_way_is_told_and_given_back(world: World) -> None:
    world.server.mute = True
    asking = world.loop.create_task(world.acquire())
    await pass_time(LATENCY)
    assert world.server.holder() == b"t1"

    world.server.mute = False
    world.server.cut()
    with pytest.raises(UpstreamLost):
        await asking

    await pass_time(1)
    assert world.server.holder() is None
    assert world.server.released == [b"t1"]


@virtual
async def test_an_attempt_with_a_named_token_lost_on_its_way_is_not_given_back(
    world: World,
) -> None:
    world.server.mute = True
    asking = world.loop.create_task(world.acquire(token=b"mine"))
    await pass_time(LATENCY)

    world.server.mute = False
    world.server.cut()
    with pytest.raises(UpstreamLost):
        await asking

    await pass_time(1)
    assert world.server.released == []
    grant = await world.granted(token=b"mine")  # the client's retry
    assert grant.fence == world.server.fences[b"fence:{r}"]


@virtual
async def test_an_attempt_with_a_named_token_lost_when_its_client_has_left_is_given_back(
    world: World,
) -> None:
    await left_with_a_grant(world)

    world.server.mute = False
    world.server.cut()
    await pass_time(1)

    assert world.server.released == [b"mine"]


@pytest.mark.parametrize("token", [None, b"mine"])
def test_who_leaves_between_a_lost_attempt_and_the_next_holds_nothing(token: bytes | None) -> None:
    @virtual
    async def run(world: World) -> None:
        asking = world.loop.create_task(world.acquire(wait=10_000, token=token))
        await pass_time(LATENCY * 3 / 4)
        held = world.server.holder()
        assert held
        world.server.cut()
        await pass_time(LATENCY)

        await cancelled(asking)

        await pass_time(1)
        assert world.server.released == [held]

    run()


@virtual
async def test_an_attempt_that_was_never_sent_is_not_given_back(world: World) -> None:
    world.server.refuse = UpstreamDown("refused")

    with pytest.raises(UpstreamDown):
        await world.acquire()

    await pass_time(LATENCY)
    assert world.server.released == []
    assert repr(world.locks) == "<Locks lines=0 waiting=0 returning=0>"


@virtual
async def test_giving_back_is_tried_until_it_is_answered(world: World) -> None:
    world.server.mute = True
    asking = world.loop.create_task(world.acquire(60_000))
    await pass_time(LATENCY)
    world.server.mute = False
    world.server.refuse = UpstreamDown("refused")
    world.server.cut()
    with pytest.raises(UpstreamLost):
        await asking
    await pass_time(20)
    assert repr(world.locks) == "<Locks lines=0 waiting=0 returning=1>"
    assert world.server.holder() == b"t1"

    world.server.refuse = None
    await pass_time(2.1)

    assert world.server.holder() is None
    assert world.server.released == [b"t1"]


def test_giving_back_ends_with_the_lock(caplog: pytest.LogCaptureFixture) -> None:
    @virtual
    async def run(world: World) -> None:
        world.server.mute = True
        asking = world.loop.create_task(world.acquire(5_000))
        await pass_time(LATENCY)
        world.server.mute = False
        world.server.refuse = UpstreamDown("refused")
        world.server.cut()
        with pytest.raises(UpstreamLost):
            await asking
        await pass_time(5)
        assert not world.background

    with caplog.at_level(logging.WARNING):
        run()

    assert [record.getMessage() for record in caplog.records] == ["lock not given back"]


def test_giving_back_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(returns_module, "RETURNING_MAX", 2)

    @virtual
    async def run(world: World) -> None:
        world.server.mute = True
        asking = [
            world.loop.create_task(world.locks.acquire(b"r%d" % n, 5_000, 0, None))
            for n in range(5)
        ]
        await pass_time(LATENCY)
        world.server.mute = False
        world.server.cut()
        await asyncio.gather(*asking, return_exceptions=True)
        await pass_time(LATENCY)
        assert len(world.server.released) == 2

    run()

    assert len(caplog.records) == 3


@virtual
async def test_a_new_acquire_with_the_token_ends_its_giving_back(world: World) -> None:
    world.server.mute = True
    asking = world.loop.create_task(world.acquire(token=b"mine"))
    await pass_time(LATENCY)
    await cancelled(asking)
    world.server.refuse = UpstreamDown("refused")
    world.server.speak()
    await pass_time(0.07)
    assert world.background  # it tries

    world.server.refuse = None
    again = await world.granted(token=b"mine")
    await pass_time(10)

    assert again
    assert world.server.holder() == b"mine"
    assert world.server.released == []
