"""Several servers that know nothing of each other, and proxies that take their majority; in time of
our own (world.py).

    Locks ── Quorum ──▶ Node 1 .. 5, each with a latency and a clock of its own
                          crash: all is forgotten; freeze: all happens later, in its order"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from nearhit.lua import Script
from nearhit.proxy.bounds import WaitingRoom
from nearhit.proxy.errors import LockBusy, UpstreamDown
from nearhit.proxy.locking.locks import Locks
from nearhit.proxy.locking.quorum import Quorum
from nearhit.proxy.process.lock_servers import Ear
from nearhit.proxy.resp.replies import Value

from tests.unit.locking.world import KEY, LATENCY, Server, pass_time
from tests.virtual import VirtualLoop


def virtual(test: Callable[[Nodes], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test with five nodes in a time of its own; nothing may be left of it."""

    @functools.wraps(test)
    def run() -> None:
        async def among_nodes() -> None:
            nodes = Nodes(5)
            await test(nodes)
            await nodes.ended()

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(among_nodes())

    del run.__wrapped__  # type: ignore[attr-defined]  # pytest would ask it for its fixtures
    return run


class Node(Server):
    """One of the servers (locking/quorum.py, LockServer)."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.name = f"node {number}"
        self.latency = LATENCY
        self.skew = number / 1000  # of its clock, in seconds
        self.now = lambda: self.loop.time() + self.skew
        self.away = False
        self._frozen = False
        self._next = 0.0
        self._coming: deque[tuple[Any, ...]] = deque()

    @property
    def connected(self) -> bool:
        return not self.away

    async def ready(self) -> None:
        if self.away:
            raise UpstreamDown(f"{self.name}: refused")

    def listen(self, key: bytes, changed: Callable[[], None]) -> Ear:
        return Ear(self.watches, key, changed)

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        await self.ready()
        if self.refuse is not None:
            raise self.refuse
        replied: asyncio.Future[Value] = self.loop.create_future()
        self._asked.add(replied)
        # What goes one way stays in its order.
        self._next = max(self._next, self.loop.time() + self.latency / 2)
        command = getattr(self, script.name)
        self.loop.call_at(self._next, self._come, command, keys, args, replied)
        return await replied

    def _say(self, what: Callable[[], object]) -> None:
        self._said.append(what)  # type: ignore[arg-type]
        if not self.mute:
            self.loop.call_later(self.latency / 2, self._heard)

    def _come(self, *what: Any) -> None:
        if self._frozen:
            self._coming.append(what)
        else:
            self._arrived(*what)

    def freeze(self) -> None:
        self._frozen = True

    def thaw(self) -> None:
        self._frozen = False
        while self._coming:
            self._arrived(*self._coming.popleft())

    def crash(self) -> None:
        """Lose everything, and every connection."""
        self.thaw()
        self.away = True
        self.cut()
        self.locks.clear()
        self.fences.clear()
        self.grants.clear()

    def lock_fence(
        self,
        key: bytes,
        fence: bytes,
        grant: bytes,
        token: bytes,
        given: bytes,
        ms: bytes,
        nonce: bytes,
    ) -> Value:
        own = self.holder(key) == token and (not nonce or self.grants.get(grant) == nonce)
        if self.fences.get(fence, 0) < int(given) or own:
            self.fences[fence] = int(given)
        return 1

    def _expire(self, key: bytes, held: tuple[bytes, float]) -> None:
        if self.locks.get(key) == held and held[1] > self.now():
            return
        super()._expire(key, held)


class Nodes:
    """The nodes, a proxy before them, and the tasks that it runs."""

    def __init__(self, count: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.all = [Node(number) for number in range(count)]
        self.counts: dict[str, int] = {}
        self.room = WaitingRoom(100_000, "locks", LockBusy)
        self.background: set[asyncio.Task[None]] = set()
        self.jitter: Callable[[float, float], float] = lambda low, high: (low + high) / 2
        self._number = 0
        self._proxies: list[tuple[Quorum, Locks]] = []
        self.quorum, self.locks = self.proxy()

    def proxy(self) -> tuple[Quorum, Locks]:
        """One more process before the same servers."""
        quorum = Quorum(
            self.all,
            self.start,
            clock=self.loop.time,
            jitter=lambda low, high: self.jitter(low, high),
        )
        locks = Locks(
            quorum,
            quorum,
            self.start,
            clock=self.loop.time,
            stats=self,
            room=self.room,
            token=self.token,
            fresh=True,
            jitter=lambda low, high: self.jitter(low, high),
        )
        self._proxies.append((quorum, locks))
        return quorum, locks

    def add(self, name: str, count: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + count

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.background.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.errors.append({"message": repr(task.exception())})

    def token(self) -> bytes:
        self._number += 1
        return b"t%d" % self._number

    def holders(self) -> list[bytes | None]:
        """Who holds the lock, at each node."""
        return [node.holder(KEY) for node in self.all]

    async def ended(self) -> None:
        for node in self.all:
            node.away = False
            node.refuse = None
            node.thaw()
            node.speak()
        await pass_time(100)
        assert not self.background
        for quorum, locks in self._proxies:
            assert repr(locks) == "<Locks lines=0 waiting=0 returning=0>"
            assert repr(quorum) == f"<Quorum {len(self.all)}/{len(self.all)} returning=0>"
        assert not any(node.watches for node in self.all)
        assert not self.errors, self.errors
