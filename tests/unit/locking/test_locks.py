"""Who gets a lock, when, and at what cost."""

from __future__ import annotations

import asyncio

import pytest
from nearhit.proxy.errors import LockBusy, OddReply, ServerError, UpstreamLost
from nearhit.proxy.locking import locks as locks_module
from nearhit.proxy.locking.grants import Grant
from nearhit.proxy.resp.replies import Value

from tests.unit.locking.world import (
    KEY,
    LATENCY,
    World,
    cancelled,
    pass_time,
    virtual,
    wrong,
)

# --- Without waiting


@virtual
async def test_a_free_lock_is_granted(world: World) -> None:
    grant = await world.granted(10_000)

    # A round trip of nearly 1 ms, and 1 % + 2 ms of drift.
    assert grant == Grant(b"t1", 1000_000_488, 10_000 - 1 - 102)
    assert world.counts == {"locks_acquired": 1}
    assert world.attempts == 1


@virtual
async def test_a_lock_that_another_holds_is_not_and_costs_one_attempt(world: World) -> None:
    await world.granted()

    assert await world.acquire() is None

    assert world.attempts == 2
    assert world.counts == {"locks_acquired": 1, "locks_contended": 1}


@virtual
async def test_only_the_token_releases_and_extends(world: World) -> None:
    grant = await world.granted(100)

    assert not await world.locks.release(b"r", b"wrong")
    assert not await world.locks.extend(b"r", b"wrong", 60_000)
    assert await world.locks.extend(b"r", grant.token, 60_000)
    await pass_time(1)
    assert world.server.holder() == grant.token
    assert await world.release(grant)
    assert not await world.release(grant)
    assert not await world.locks.extend(b"r", grant.token, 60_000)


@virtual
async def test_an_expired_lock_is_neither_extended_nor_released_by_its_token(world: World) -> None:
    old = await world.granted(100)
    await pass_time(0.2)
    new = await world.granted()

    assert not await world.locks.extend(b"r", old.token, 60_000)
    assert not await world.release(old)
    assert new.fence > old.fence


@virtual
async def test_info_tells_of_the_lock_and_its_line_but_not_the_token(world: World) -> None:
    free = {"held": False, "fence": None, "ttl_ms": None, "waiters": 0}
    assert await world.locks.info(b"r") == free

    grant = await world.granted(10_000)
    waiters = [await world.waiter() for _ in range(3)]
    info = await world.locks.info(b"r")

    assert list(info) == ["held", "fence", "ttl_ms", "waiters"]
    assert info["held"] is True
    assert info["fence"] == grant.fence
    assert 9_900 < info["ttl_ms"] < 10_000  # type: ignore[operator]
    assert info["waiters"] == world.locks.waiting == 3
    for task in waiters:
        await cancelled(task)


@virtual
async def test_info_knows_no_end_of_a_strangers_lock_without_one(world: World) -> None:
    world.server.locks[KEY] = b"stranger", float("inf")

    info = await world.locks.info(b"r")

    assert (info["held"], info["fence"], info["ttl_ms"]) == (True, None, None)


# --- Waiting


@virtual
async def test_a_release_wakes_the_waiter_at_once(world: World) -> None:
    holder = await world.granted()
    waiter = await world.waiter()
    assert world.attempts == 2
    await pass_time(5)
    assert world.attempts == 2  # nobody polls

    released = world.now
    await world.release(holder)
    grant = await waiter

    assert grant is not None
    assert grant.fence > holder.fence
    assert world.now - released <= 2 * LATENCY + 1e-6
    assert world.attempts == 3
    assert world.counts == {"locks_acquired": 2, "locks_contended": 1}


@virtual
async def test_waiters_are_served_in_the_order_in_which_they_came(world: World) -> None:
    holder: Grant | None = await world.granted()
    order: list[int] = []

    async def wait(number: int) -> Grant:
        grant = await world.granted(wait=10_000)
        order.append(number)
        return grant

    tasks = [world.loop.create_task(wait(number)) for number in range(20)]
    await pass_time(1)
    for task in tasks:
        assert holder is not None
        await world.release(holder)
        holder = await task

    assert order == list(range(20))


@virtual
async def test_a_thousand_waiters_cost_one_attempt_for_each_release(world: World) -> None:
    order: list[int] = []
    inside: set[int] = set()

    async def work(number: int) -> None:
        grant = await world.granted(wait=100_000)
        assert not inside
        inside.add(number)
        order.append(grant.fence)
        await pass_time(0.002)
        inside.discard(number)
        await world.release(grant)

    await asyncio.gather(*map(work, range(1000)))

    assert order == sorted(set(order))
    assert [token for _, token in world.server.attempts] == [b"t%d" % n for n in range(1, 1001)]
    assert world.counts == {"locks_acquired": 1000, "locks_contended": 999}


@virtual
async def test_a_release_between_a_grant_and_the_next_turn_is_not_missed(world: World) -> None:
    holder = await world.granted()
    first, second = await world.waiter(), await world.waiter()
    taken: list[float] = []

    def free_at_once(key: bytes, token: bytes, ms: int) -> None:
        world.server.locks[key] = token, world.now + 60
        world.loop.call_soon(world.server.free)
        taken.append(world.now)

    world.server.hold = free_at_once  # type: ignore[method-assign]
    await world.release(holder)

    assert await first is not None
    assert await second is not None
    assert taken[1] - taken[0] < 3 * LATENCY


@virtual
async def test_a_missed_push_is_made_good_by_the_time_the_lock_had(world: World) -> None:
    holder = await world.granted(1_000)
    ends = world.now + 1 - LATENCY / 2
    world.server.pushes = False
    waiter = await world.waiter()

    await world.release(holder)
    grant = await waiter

    assert grant is not None
    assert 0.02 < world.now - ends < 0.05  # the jitter of here: 25 ms
    assert world.attempts == 3


@virtual
async def test_the_end_of_a_lock_whose_holder_died_wakes_the_waiter(world: World) -> None:
    await world.granted(1_000)
    ends = world.now + 1 - LATENCY / 2

    assert await world.granted(wait=10_000)

    assert 0 <= world.now - ends < 0.1


@virtual
async def test_an_extended_lock_is_waited_for_as_long_as_it_is_held(world: World) -> None:
    holder = await world.granted(1_000)
    waiter = await world.waiter()

    for _ in range(5):
        await pass_time(0.9)
        assert await world.locks.extend(b"r", holder.token, 1_000)
        assert not waiter.done()
    attempts = world.attempts
    assert await waiter

    assert attempts <= 2 + 5
    assert world.attempts <= attempts + 2


@virtual
async def test_a_lock_without_an_end_is_asked_for_once_a_minute(world: World) -> None:
    world.server.locks[KEY] = b"stranger", world.now + 1e12
    world.server.pushes = False

    assert await world.acquire(wait=300_000) is None

    assert world.attempts == 5


@virtual
async def test_without_tracking_the_head_asks_a_few_times_a_second(world: World) -> None:
    world.server.tracking = False
    holder = await world.granted()
    waiters = [await world.waiter() for _ in range(10)]
    before = world.attempts
    await pass_time(1)
    assert 8 <= world.attempts - before <= 12

    await world.release(holder)
    released = world.now
    assert await waiters[0]

    assert world.now - released < 0.15
    for task in waiters[1:]:
        await cancelled(task)


@virtual
async def test_a_wait_that_ran_out_ends_on_time_and_asks_no_more(world: World) -> None:
    await world.granted()
    began = world.now

    assert await asyncio.gather(*(world.acquire(wait=500) for _ in range(10))) == [None] * 10

    assert world.now - began == pytest.approx(0.5, abs=0.01)
    assert world.attempts == 2


@virtual
async def test_who_is_woken_too_late_leaves_the_lock_to_the_next(world: World) -> None:
    await world.granted()
    late, patient = await world.waiter(wait=500), await world.waiter()
    attempts = world.attempts

    world.server.free()
    world.stall(1)

    assert await late is None
    assert await patient
    assert world.attempts == attempts + 1


@virtual
async def test_whose_turn_comes_too_late_does_not_ask(world: World) -> None:
    world.server.lock_acquire = wrong  # type: ignore[method-assign]
    world.then = lambda: world.stall(1)  # behind the head's attempt, before it leaves the line
    head = world.loop.create_task(world.acquire(wait=10_000))
    late = world.loop.create_task(world.acquire(wait=500))

    with pytest.raises(ServerError):
        await head
    del world.server.lock_acquire
    assert await late is None
    assert world.attempts == 0


@virtual
async def test_who_leaves_the_line_lets_the_others_keep_their_order(world: World) -> None:
    holder = await world.granted()
    head, second, third, last = [await world.waiter() for _ in range(4)]
    await cancelled(second)
    await cancelled(head)
    attempts = world.attempts
    await pass_time(1)
    assert world.attempts == attempts  # it is known to be held

    await world.release(holder)
    grant = await third
    assert grant
    assert not last.done()
    await world.release(grant)

    assert await last
    assert world.attempts == attempts + 2


@virtual
async def test_who_does_not_wait_gets_nothing_while_others_do(world: World) -> None:
    holder = await world.granted()
    waiter = await world.waiter()
    attempts = world.attempts

    world.server.free()
    assert await world.acquire() is None

    assert world.attempts == attempts
    assert await waiter
    assert not await world.release(holder)


@virtual
async def test_different_resources_do_not_wait_for_each_other(world: World) -> None:
    await world.granted()
    waiter = await world.waiter()

    assert await world.locks.acquire(b"other", 1_000, 0, None)
    assert await world.locks.acquire(b"another", 1_000, 1_000, None)

    await cancelled(waiter)


@virtual
async def test_too_many_waiters_are_refused(world: World) -> None:
    await world.granted()
    world.room.limit = 2
    waiters = [await world.waiter() for _ in range(2)]
    attempts = world.attempts

    with pytest.raises(LockBusy, match="2 callers wait for locks already"):
        await world.acquire(wait=1_000)

    assert world.attempts == attempts
    assert repr(world.room) == "<WaitingRoom 2/2>"
    for task in waiters:
        await cancelled(task)


def test_too_many_waiters_for_one_lock_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks_module, "LINE_MAX", 2)

    @virtual
    async def run(world: World) -> None:
        await world.granted()
        waiters = [await world.waiter() for _ in range(2)]
        with pytest.raises(LockBusy, match=r"^LOCKBUSY 2 requests wait for the lock 'r' already"):
            await world.acquire(wait=1_000)
        for task in waiters:
            await cancelled(task)

    run()


# --- Grants that come too late


@virtual
async def test_a_waiter_whose_grant_came_too_late_goes_on_waiting(world: World) -> None:
    world.server.mute = True
    asking = world.loop.create_task(world.acquire(500, 10_000))
    await pass_time(LATENCY)
    world.stall(2)
    world.server.speak()

    grant = await asking

    assert grant
    assert grant.valid_ms == 500 - 1 - 7
    assert world.attempts == 2


@virtual
async def test_a_time_too_short_to_be_of_use_is_not_asked_for_without_a_pause(
    world: World,
) -> None:
    assert await world.acquire(1, 1_000) is None

    assert world.attempts <= 12


# --- Tokens that clients name


@virtual
async def test_the_token_that_holds_the_lock_gets_the_same_fence(world: World) -> None:
    first = await world.granted(1_000, token=b"mine")
    await pass_time(0.5)

    again = await world.granted(2_000, token=b"mine")

    assert again.fence == first.fence
    assert again.token == b"mine"
    await pass_time(1.9)
    assert world.server.holder() == b"mine"


@pytest.mark.parametrize("wait", [0, 10_000])
def test_a_retry_does_not_wait_behind_those_who_wait_for_its_own_lock(wait: int) -> None:
    @virtual
    async def run(world: World) -> None:
        first = await world.granted(token=b"mine")
        waiters = [await world.waiter() for _ in range(3)]
        began = world.now

        again = await world.granted(wait=wait, token=b"mine")

        assert again.fence == first.fence
        assert world.now - began <= LATENCY + 1e-6
        for task in waiters:
            await cancelled(task)

    run()


@virtual
async def test_a_named_token_that_holds_nothing_waits_like_everybody(world: World) -> None:
    holder = await world.granted()
    first = await world.waiter()

    assert await world.acquire(token=b"mine") is None
    second = await world.waiter(token=b"mine")
    await world.release(holder)
    grant = await first
    assert grant
    await world.release(grant)
    second_grant = await second

    assert second_grant
    assert second_grant.token == b"mine"
    assert world.counts == {"locks_acquired": 3, "locks_contended": 3}


# --- A connection that is lost


@virtual
async def test_the_loss_of_the_connection_lets_the_waiter_ask_again(world: World) -> None:
    await world.granted()
    waiter = await world.waiter()
    world.server.locks.clear()  # a release that nobody was told of

    world.server.cut()
    lost = world.now

    assert await waiter
    assert world.now - lost <= LATENCY + 1e-6


@virtual
async def test_an_error_reaches_its_caller_and_the_next_one_asks(world: World) -> None:
    holder = await world.granted()
    first, second = await world.waiter(), await world.waiter()

    world.server.lock_acquire = wrong  # type: ignore[method-assign]
    await world.release(holder)

    with pytest.raises(ServerError, match=r"^WRONGTYPE no lock"):
        await first
    del world.server.lock_acquire
    assert await second


@virtual
async def test_what_ends_the_proxy_ends_its_waiters(world: World) -> None:
    world.server.mute = True
    asking = world.loop.create_task(world.acquire())
    await pass_time(LATENCY)

    for task in world.background:
        task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking


# --- Answers that are none

ODD = [5, b"v", None, [], [1], [0], [1, 5], [b"1", b"5", 1], [1, 5, 1], [1, b"x", 1], [0, b"5"]]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("wait", [0, 10_000])
def test_an_odd_reply_is_told_and_the_next_one_asks(odd: Value, wait: int) -> None:
    @virtual
    async def run(world: World) -> None:
        world.server.lock_acquire = lambda *_: odd  # type: ignore[method-assign]

        with pytest.raises(OddReply):
            await world.acquire(wait=wait)

        del world.server.lock_acquire
        assert await world.acquire(wait=wait)

    run()


@pytest.mark.parametrize("odd", [b"1", [1], "OK", None])
def test_an_odd_reply_is_no_yes(odd: Value) -> None:
    @virtual
    async def run(world: World) -> None:
        for name in ("lock_release", "lock_extend", "lock_info"):
            setattr(world.server, name, lambda *_: odd)

        for asking in (
            world.locks.release(b"r", b"t"),
            world.locks.extend(b"r", b"t", 5),
            world.locks.info(b"r"),
        ):
            with pytest.raises(OddReply):
                await asking

    run()


# --- Attempts whose connection is lost


@pytest.mark.parametrize("token", [None, b"mine"])
@pytest.mark.parametrize("held", [False, True])
def test_an_attempt_whose_connection_is_lost_is_made_again_within_the_wait(
    held: bool, token: bytes | None
) -> None:
    @virtual
    async def run(world: World) -> None:
        holder = await world.granted(1_000) if held else None
        asking = world.loop.create_task(world.acquire(wait=10_000, token=token))
        await pass_time(LATENCY * 3 / 4)
        first = world.server.holder()

        world.server.cut()
        grant = await asking

        assert grant
        assert world.server.holder() == grant.token
        if holder is None:  # the first attempt had got it, and nobody else held it in between
            assert grant.token == first
            assert world.now - 1000 < 0.2
        assert world.server.released == []

    run()


@pytest.mark.parametrize("moment", range(12))
def test_a_connection_that_is_lost_at_whatever_moment_costs_no_waiter_its_lock(moment: int) -> None:
    @virtual
    async def run(world: World) -> None:
        await world.granted()
        tasks = [world.loop.create_task(world.acquire(wait=10_000)) for _ in range(3)]
        world.loop.call_later(0.004, world.server.free)
        await pass_time(moment * LATENCY / 2)
        world.server.cut()

        for task in tasks:
            grant = await task
            assert grant
            assert world.server.holder() == grant.token
            await world.release(grant)

    run()


@virtual
async def test_a_lost_attempt_is_told_when_the_wait_is_over_before_another_is_answered(
    world: World,
) -> None:
    asking = world.loop.create_task(world.acquire(wait=500))
    await pass_time(LATENCY * 3 / 4)
    world.server.cut()
    world.server.mute = True
    began = world.now

    with pytest.raises(UpstreamLost):
        await asking

    assert world.now - began < 0.51
    world.server.speak()
    await pass_time(1)
    assert world.server.holder() is None


@virtual
async def test_the_last_attempt_is_told_as_lost_where_there_is_no_time_for_another(
    world: World,
) -> None:
    asking = world.loop.create_task(world.acquire(wait=50))
    await pass_time(LATENCY * 3 / 4)
    world.server.cut()

    with pytest.raises(UpstreamLost):
        await asking

    await pass_time(1)
    assert world.server.holder() is None


# --- What the near cache forgets


@virtual
async def test_what_a_lock_writes_is_forgotten_before_its_client_is_told(world: World) -> None:
    keys = {KEY, b"fence:{r}", b"fence:{r}:grant"}
    world.server.pushes = False

    grant = await world.granted()
    assert keys <= set(world.server.forgotten)
    world.server.forgotten.clear()
    await world.locks.extend(b"r", grant.token, 60_000)
    assert keys <= set(world.server.forgotten)
    world.server.forgotten.clear()
    await world.release(grant)
    assert KEY in world.server.forgotten

    world.server.forgotten.clear()
    await world.locks.info(b"r")
    assert world.server.forgotten == []  # it only reads


# --- Replicas


@virtual
async def test_a_grant_that_replicas_have_is_good_for_what_is_left(world: World) -> None:
    world.replicas = [True]

    grant = await world.locks.acquire(b"r", 10_000, 0, None, 2)

    assert grant == Grant(b"t1", 1000_000_488, 10_000 - 1 - 102 - 101)
    # It is written anew: only for its token, whoever named it.
    asked = ["lock_renew", KEY, b"t1", b"10000", b"86400000", b"", b"", 2, 1_000]
    assert world.replicas == asked
    assert world.counts == {"locks_acquired": 1}


@pytest.mark.parametrize("token", [None, b"t"])
def test_a_grant_that_too_few_have_is_given_back_before_the_answer(token: bytes | None) -> None:
    @virtual
    async def run(world: World) -> None:
        world.replicas = [False]

        assert await world.locks.acquire(b"r", 900, 0, token, 1) is None

        assert world.replicas[-1] == 300, "a third of its time"
        assert world.server.holder() is None
        assert not world.counts

    run()


@virtual
async def test_what_took_all_of_its_time_is_given_back(world: World) -> None:
    world.replicas = [True]

    assert await world.locks.acquire(b"r", 100, 0, None, 1) is None

    assert world.server.holder() is None


@virtual
async def test_nobody_holds_what_replicas_could_not_be_asked_about(world: World) -> None:
    world.replicas = [ServerError(b"-NOPERM no WAIT")]
    with pytest.raises(ServerError, match="NOPERM"):
        await world.locks.acquire(b"r", 10_000, 0, b"t", 1)
    await pass_time(0.01)
    assert world.server.holder() is None

    world.replicas = [True]
    asking = asyncio.get_running_loop().create_task(world.locks.acquire(b"r", 10_000, 0, None, 1))
    await pass_time(0.05)
    assert world.server.holder() is not None
    await cancelled(asking)
    await pass_time(0.01)
    assert world.server.holder() is None
