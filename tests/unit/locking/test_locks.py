"""Who gets a lock, when, and at what cost, against a server of a few lines, in time of our own.

    Locks ── run ──▶ Server (what lua/lock_*.lua say, tests/unit/lua)
      ▲                │ replies and pushes, in order
      └── Watched ◀────┘

Time passes only while nothing is ready (VirtualLoop): seconds of waiting cost nothing here, and are
exact."""

from __future__ import annotations

import asyncio
import functools
import logging
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from nearhit.lua import Script
from nearhit.proxy.bounds import WaitingRoom
from nearhit.proxy.errors import LockBusy, ProxyError, ServerError, UpstreamDown, UpstreamLost
from nearhit.proxy.locking import locks as locks_module
from nearhit.proxy.locking import returns as returns_module
from nearhit.proxy.locking.locks import Grant, Locks
from nearhit.proxy.resp.replies import Value
from nearhit.proxy.upstream.tracked import Watched

KEY = b"lock:{r}"
LATENCY = 1 / 1024  # of a round trip, in seconds, and exact as a float


class Skipping(selectors.DefaultSelector):
    """Lets no time pass but on the clock."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "nothing will ever happen again"
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = Skipping()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


def virtual(test: Callable[[World], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in a world and a time of its own; nothing may be left of it."""

    @functools.wraps(test)
    def run() -> None:
        async def in_a_world() -> None:
            world = World()
            await test(world)
            await world.ended()

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(in_a_world())

    del run.__wrapped__  # type: ignore[attr-defined]  # pytest would ask it for its fixtures
    return run


class Server:
    """One lane to a server that knows locks (spec.Asking, spec.Watching)."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time
        self.tracking = True
        self.pushes = True  # False: they get lost
        self.mute = False  # True: what it says is kept back
        self.refuse: ProxyError | None = None
        self.locks: dict[bytes, tuple[bytes, float]] = {}
        self.fences: dict[bytes, int] = {}
        self.watches: dict[bytes, set[Watched]] = {}
        self.attempts: list[tuple[float, bytes]] = []
        self.released: list[bytes] = []
        self._tracked: set[bytes] = set()
        self._said: deque[Callable[[], None]] = deque()
        self._asked: set[asyncio.Future[Value]] = set()

    # --- spec.Asking and spec.Watching

    async def ask(self, *words: bytes) -> Value:
        raise NotImplementedError

    async def many(self, requests: Sequence[bytes]) -> list[Value]:
        raise NotImplementedError

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        if self.refuse is not None:
            raise self.refuse
        replied: asyncio.Future[Value] = self.loop.create_future()
        self._asked.add(replied)
        command = getattr(self, script.name)
        self.loop.call_later(LATENCY / 2, self._arrived, command, keys, args, replied)
        return await replied

    def watch(self, *keys: bytes) -> Watched:
        return Watched(self.watches, keys)

    # --- The wire

    def _arrived(self, command: Any, keys: Any, args: Any, replied: asyncio.Future[Value]) -> None:
        if replied not in self._asked:
            return
        try:
            value = command(*keys, *args)
        except ServerError as error:
            self._say(functools.partial(self._reply, replied, replied.set_exception, error))
        else:
            self._say(functools.partial(self._reply, replied, replied.set_result, value))

    def _reply(
        self, replied: asyncio.Future[Value], fill: Callable[[Any], None], value: object
    ) -> None:
        self._asked.discard(replied)
        if not replied.done():
            fill(value)

    def _say(self, what: Callable[[], object]) -> None:
        self._said.append(what)  # type: ignore[arg-type]
        if not self.mute:
            self.loop.call_later(LATENCY / 2, self._heard)

    def _heard(self) -> None:
        if self._said:
            self._said.popleft()()

    def speak(self) -> None:
        """Say what was kept back."""
        self.mute = False
        while self._said:
            self._heard()

    def cut(self) -> None:
        """Lose the connection, with all that is on it."""
        self._said.clear()
        self._tracked.clear()
        asked, self._asked = self._asked, set()
        for replied in asked:
            if not replied.done():
                replied.set_exception(UpstreamLost("cut"))
        for watching in list(self.watches.values()):
            for watch in watching:
                watch.fire(None)

    def _push(self, key: bytes) -> None:
        if key in self._tracked and self.tracking and self.pushes:
            self._tracked.discard(key)
            self._say(lambda: [watch.fire(key) for watch in list(self.watches.get(key, ()))])

    # --- The scripts

    def holder(self, key: bytes = KEY) -> bytes | None:
        """The token that holds a lock."""
        held = self.locks.get(key)
        if held is not None and held[1] <= self.now():
            self._expire(key, held)
            return None
        return held[0] if held is not None else None

    def hold(self, key: bytes, token: bytes, ms: int) -> None:
        held = self.locks[key] = token, self.now() + ms / 1000
        self.loop.call_later(ms / 1000 + 0.055, self._expire, key, held)

    def _expire(self, key: bytes, held: tuple[bytes, float]) -> None:
        if self.locks.get(key) == held:
            self.free(key)

    def free(self, key: bytes = KEY) -> None:
        del self.locks[key]
        self._push(key)

    def lock_acquire(
        self, key: bytes, fence: bytes, token: bytes, ms: bytes, fence_ms: bytes, mine: bytes
    ) -> Value:
        self.attempts.append((self.now(), token))
        holder = self.holder(key)
        new = holder is None and not mine
        if new:
            now = int(self.now() * 1e6)
            self.fences[fence] = max(self.fences.get(fence, 0) + 1, now)
        elif holder != token:
            self._tracked.add(key)
            if holder is None:
                return [0, -2]
            return [0, max(0, int((self.locks[key][1] - self.now()) * 1000))]
        else:
            self._push(key)
        self.hold(key, token, int(ms))
        self._tracked.add(key)
        return [1, self.fences[fence], int(new)]

    def lock_release(self, key: bytes, token: bytes) -> Value:
        self.released.append(token)
        if self.holder(key) != token:
            return 0
        self._tracked.add(key)
        self.free(key)
        return 1

    def lock_extend(
        self, key: bytes, fence: bytes, token: bytes, ms: bytes, fence_ms: bytes
    ) -> Value:
        if self.holder(key) != token:
            return 0
        self._push(key)
        self.hold(key, token, int(ms))
        return 1

    def lock_info(self, key: bytes, fence: bytes) -> Value:
        last = b"%d" % self.fences[fence] if fence in self.fences else None
        if self.holder(key) is None:
            return [0, -2, last]
        left = self.locks[key][1] - self.now()
        return [1, -1 if left > 1e6 else int(left * 1000), last]


class World:
    """A Locks, its server, and the tasks that both parties run."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.server = Server()
        self.counts: dict[str, int] = {}
        self.room = WaitingRoom(100_000, "locks", LockBusy)
        self.background: set[asyncio.Task[None]] = set()
        self.then: Callable[[], object] = lambda: None  # behind each background task's work
        self.number = 0
        self.locks = Locks(
            self.server,
            self.server,
            self.start,
            clock=self.loop.time,
            stats=self,
            room=self.room,
            token=self.token,
            jitter=lambda low, high: (low + high) / 2,
        )

    def add(self, name: str, count: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + count

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(self._work(work))
        self.background.add(task)
        task.add_done_callback(self.background.discard)

    async def _work(self, work: Coroutine[Any, Any, None]) -> None:
        await work
        self.then()

    def token(self) -> bytes:
        self.number += 1
        return b"t%d" % self.number

    @property
    def now(self) -> float:
        return self.loop.time()

    @property
    def attempts(self) -> int:
        return len(self.server.attempts)

    def stall(self, seconds: float) -> None:
        """The process is stopped for so long."""
        self.loop.clock.now += seconds  # type: ignore[attr-defined]

    async def acquire(
        self, ms: int = 30_000, wait: int = 0, token: bytes | None = None
    ) -> Grant | None:
        return await self.locks.acquire(b"r", ms, wait, token)

    async def granted(self, ms: int = 30_000, wait: int = 0, token: bytes | None = None) -> Grant:
        grant = await self.acquire(ms, wait, token)
        assert grant is not None
        return grant

    async def release(self, grant: Grant) -> bool:
        return await self.locks.release(b"r", grant.token)

    async def waiter(
        self, wait: int = 10_000, ms: int = 30_000, token: bytes | None = None
    ) -> asyncio.Task[Grant | None]:
        """An ACQUIRE that stands in line by now."""
        task = self.loop.create_task(self.acquire(ms, wait, token))
        await pass_time(3 * LATENCY)
        assert not task.done()
        return task

    async def ended(self) -> None:
        """Whatever ran has ended and has left nothing."""
        self.server.speak()
        await pass_time(100)
        assert not self.background
        assert repr(self.locks) == "<Locks lines=0 waiting=0 returning=0>"
        assert not self.locks._returns._named
        assert not self.server.watches
        assert self.room.waiting == 0
        assert not self.errors, self.errors


async def pass_time(seconds: float) -> None:
    """In virtual time: everything that is due in it happens."""
    await asyncio.sleep(seconds)


def wrong(*_: object) -> Value:
    """A script that the server refuses."""
    raise ServerError(b"-WRONGTYPE no lock")


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


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


# --- Callers that leave


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
async def test_an_attempt_lost_on_its_way_is_told_and_given_back(world: World) -> None:
    world.server.mute = True
    asking = world.loop.create_task(world.acquire(wait=10_000))
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
