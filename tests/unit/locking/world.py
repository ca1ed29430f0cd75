"""Who gets a lock, when, and at what cost, against a server of a few lines, in time of our own.

    Locks ── run ──▶ Server (what lua/lock_*.lua say, tests/unit/lua)
      ▲                │ replies and pushes, in order
      └── Watched ◀────┘

Time passes only while nothing is ready (VirtualLoop): seconds of waiting cost nothing here, and are
exact."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest
from nearhit.lua import Script
from nearhit.proxy.bounds import WaitingRoom
from nearhit.proxy.errors import LockBusy, ProxyError, ServerError, UpstreamLost
from nearhit.proxy.locking.grants import Grant
from nearhit.proxy.locking.locks import Locks
from nearhit.proxy.resp.replies import Value
from nearhit.proxy.upstream.tracked import Watched

from tests.virtual import VirtualLoop

KEY = b"lock:{r}"
LATENCY = 1 / 1024  # of a round trip, in seconds, and exact as a float


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
        self.grants: dict[bytes, bytes] = {}
        self.watches: dict[bytes, set[Watched]] = {}
        self.forgotten: list[bytes] = []
        self.attempts: list[tuple[float, bytes]] = []
        self.released: list[bytes] = []
        self.renewals: list[tuple[float, int]] = []
        self._tracked: set[bytes] = set()
        self._said: deque[Callable[[], None]] = deque()
        self._asked: set[asyncio.Future[Value]] = set()

    # --- spec.Asking and spec.Watching

    async def ask(self, *words: bytes) -> Value:
        raise NotImplementedError

    async def many(self, requests: Sequence[bytes]) -> list[Value]:
        raise NotImplementedError

    def begin(self, requests: Sequence[bytes], count: int) -> Awaitable[list[Value]]:
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

    def forget(self, *keys: bytes) -> None:
        self.forgotten += keys

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
        self,
        key: bytes,
        fence: bytes,
        grant: bytes,
        token: bytes,
        ms: bytes,
        fence_ms: bytes,
        mine: bytes,
        nonce: bytes,
    ) -> Value:
        self.attempts.append((self.now(), token))
        holder = self.holder(key)
        new = holder is None and not mine
        if new:
            now = int(self.now() * 1e6)
            self.fences[fence] = max(self.fences.get(fence, 0) + 1, now)
            self.grants[grant] = nonce
        elif holder != token:
            self._tracked.add(key)
            if holder is None:
                return [0, -2]
            return [0, max(0, int((self.locks[key][1] - self.now()) * 1000))]
        else:
            self._push(key)
            if self.grants.get(grant) != nonce:
                self.grants.pop(grant, None)
        self.hold(key, token, int(ms))
        self._tracked.add(key)
        return [
            1,
            b"%d" % self.fences[fence],
            int((bool(nonce) and self.grants.get(grant) == nonce) or new),
        ]

    def lock_release(self, key: bytes, grant: bytes, token: bytes, nonce: bytes) -> Value:
        if self.holder(key) != token or (nonce and self.grants.get(grant) != nonce):
            return 0
        self.released.append(token)
        self._tracked.add(key)
        self.free(key)
        return 1

    def lock_extend(
        self, key: bytes, fence: bytes, grant: bytes, token: bytes, ms: bytes, fence_ms: bytes
    ) -> Value:
        if self.holder(key) != token:
            return 0
        self.grants.pop(grant, None)
        self._push(key)
        self.hold(key, token, int(ms))
        return 1

    def lock_renew(
        self,
        key: bytes,
        fence: bytes,
        grant: bytes,
        token: bytes,
        ms: bytes,
        fence_ms: bytes,
        nonce: bytes,
        how: bytes,
    ) -> Value:
        self.renewals.append((self.now(), int(ms)))
        mine = not nonce or how == b"claim" or self.grants.get(grant) == nonce
        if self.holder(key) != token or not mine:
            return 0
        if nonce:
            self.grants[grant] = nonce
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
        self.replicas: list[object] = []  # what is answered, and what was asked
        self.locks = self.another()

    def another(self) -> Locks:
        """The locks of one more process before the same server."""
        return Locks(
            self.server,
            self.server,
            self.start,
            replicated=self.replicated,
            clock=self.loop.time,
            stats=self,
            room=self.room,
            token=self.token,
            jitter=lambda low, high: (low + high) / 2,
        )

    async def replicated(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes], count: int, ms: int
    ) -> bool:
        told, self.replicas = self.replicas[0], [script.name, *keys[:1], *args, count, ms]
        await asyncio.sleep(0.1)
        if isinstance(told, ProxyError):
            raise told
        return bool(told)

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
