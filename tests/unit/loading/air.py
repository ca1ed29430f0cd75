"""Flights, leases and their scripts with everything around them in a test's hands.

The scope is a script: each run of a script of ours waits until the test answers it, and pushes come
when the test says so."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from nearhit.lua import Script
from nearhit.proxy.bounds import WaitingRoom
from nearhit.proxy.errors import (
    CacheBusy,
    ProxyError,
)
from nearhit.proxy.keys.captures import Pattern
from nearhit.proxy.loading.flights import Flights
from nearhit.proxy.loading.lease_scripts import LeaseScripts
from nearhit.proxy.loading.leases import Leases
from nearhit.proxy.loading.loaders import Loader, Loaders
from nearhit.proxy.loading.source import Loaded
from nearhit.proxy.loading.writes import Writes
from nearhit.proxy.near.cache import NearCache
from nearhit.proxy.settings.loaders import LoaderSettings
from nearhit.proxy.spans import OFF, Traces
from nearhit.proxy.upstream.tracked import TrackedLane, Watched

from tests.fakes import Tasks, settle

KEY, LEASE = b"k1", b"lease:{k1}"
LEASED: list[object] = [2, b""]
HELD: list[object] = [3, 60_000]


# --- Fakes ------------------------------------------------------------------------------------


@dataclass
class Asked:
    """A script that runs in the server until the test answers it."""

    name: str
    keys: tuple[bytes, ...]
    args: tuple[bytes, ...]
    seen: Callable[[], None] | None
    reply: asyncio.Future[Any] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def arrive(self, value: object) -> None:
        """The reply has come; whoever asked goes on in a later turn."""
        if self.seen is not None:
            self.seen()
        if not self.reply.done():
            self.reply.set_result(value)

    def lose(self, error: ProxyError) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)


class Server:
    """spec.Asking, its scripts only."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    async def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes],
        seen: Callable[[], None] | None = None,
    ) -> object:
        asked = Asked(script.name, tuple(keys), tuple(args), seen)
        self.asked.append(asked)
        return await asked.reply

    async def ask(self, *words: bytes) -> object:
        asked = Asked(words[0].decode(), words[1:], (), None)
        self.asked.append(asked)
        return await asked.reply

    async def next(self, name: str) -> Asked:
        """The next script that was asked for is this one."""
        await settle()
        assert self.asked, f"nothing was asked; {name} was expected"
        asked = self.asked.pop(0)
        assert asked.name == name, asked
        return asked

    async def answer(self, name: str, value: object) -> Asked:
        asked = await self.next(name)
        asked.arrive(value)
        await settle()
        return asked

    @property
    def quiet(self) -> bool:
        return not self.asked


class FakeScope:
    def __init__(self) -> None:
        self.upstream = Server()
        self.watches: dict[bytes, set[Watched]] = {}
        self.tracking = True
        self.away = False
        self.near: NearCache | None = None
        self.forgotten: list[bytes] = []

    def is_away(self, key: bytes) -> bool:
        return self.away

    def watch(self, *keys: bytes) -> Watched:
        return Watched(self.watches, keys)

    def forget(self, *keys: bytes) -> None:
        self.forgotten += keys

    def push(self, key: bytes) -> None:
        for watch in list(self.watches.get(key, ())):
            watch.fire(key)

    def drop(self) -> None:
        """The tracked lane is lost."""
        for watch in {one for watching in self.watches.values() for one in watching}:
            watch.fire(None)


class Source:
    """Loads end as the test says."""

    def __init__(self) -> None:
        self.loads: list[asyncio.Future[Loaded]] = []
        self.raised: BaseException | None = None
        self.confirmable = b""  # the digest of the value that it can be asked about again
        self.known: list[bytes] = []  # values that it was asked about so

    async def load(self, key: bytes, captures: Mapping[str, bytes] | None) -> Loaded:
        if self.raised is not None:
            raise self.raised
        self.loads.append(asyncio.get_running_loop().create_future())
        return await self.loads[-1]

    def confirms(self, key: bytes, digest: bytes) -> bool:
        return digest == self.confirmable

    async def refresh(
        self, key: bytes, captures: Mapping[str, bytes] | None, known: bytes
    ) -> Loaded:
        self.known.append(known)
        return await self.load(key, captures)

    async def close(self) -> None: ...


class OneLoader:
    """loaders.Loaders with one loader, for keys that begin with k."""

    traced = Loaders.traced

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self.traces: Traces = OFF
        self.seen: list[tuple[str, str, float]] = []

    def told(self, loader: str, result: str, seconds: float) -> None:
        self.seen.append((loader, result, seconds))

    def match(self, key: bytes) -> Loader | None:
        return self._loader if key.startswith(b"k") else None

    def timed(self, key: bytes) -> bool:
        return self._loader.freshness.timed and self.match(key) is not None

    def named(self, name: str) -> Loader | None:
        return self._loader if name == self._loader.name else None


class Air:
    """Flights, and everything around them in the test's hands."""

    def __init__(self, max_waiters: int = 100, **settings: Any) -> None:
        self.scope = FakeScope()
        self.server = self.scope.upstream
        self.source = Source()
        self.tasks = Tasks()
        self.counts: Counter[str] = Counter()
        self.now = 0.0
        self.waiters = WaitingRoom(max_waiters, "loads and leases", CacheBusy)
        row = LoaderSettings(name="x", match=Pattern.parse("k{id}"), demo=True, **settings)
        self.loader = Loader(row, self.source)
        self.loaders = OneLoader(self.loader)
        tracked = cast(TrackedLane, self.scope)
        scripts = self.scripts = LeaseScripts(tracked, self.tasks.start, self)
        self.flights = Flights(
            tracked,
            scripts,
            cast(Loaders, self.loaders),
            start=self.tasks.start,
            clock=lambda: self.now,
            counts=self,
            room=self.waiters,
        )
        self.leases = Leases(
            tracked,
            scripts,
            start=self.tasks.start,
            clock=lambda: self.now,
            counts=self,
            room=self.waiters,
        )
        self.writes = Writes(self.scope.near, lambda: (self.flights, self.leases))

    def add(self, name: str, count: int = 1) -> None:
        self.counts[name] += count

    @property
    def idle(self) -> bool:
        """Whether nothing flies, and no client holds a lease."""
        return not (self.flights._flights or self.leases._granted)

    def call(self, work: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(work)

    def load(self, key: bytes = KEY) -> asyncio.Task[Any]:
        return self.call(self.flights.load(key))

    async def loading(self, key: bytes = KEY) -> asyncio.Task[Any]:
        """A caller whose loader runs, under a lease."""
        caller = self.load(key)
        await self.server.answer("take", LEASED)
        assert not self.source.loads[-1].done()
        return caller

    async def loaded(self, value: bytes | None = b"v", **rest: Any) -> None:
        self.source.loads[-1].set_result(Loaded(value, **rest))
        await settle()


@asynccontextmanager
async def air(max_waiters: int = 100, **settings: Any) -> AsyncIterator[Air]:
    here = Air(max_waiters, **settings)
    yield here
    for asked in here.server.asked:
        asked.arrive(0)
    await settle()
    await here.tasks.stop()
    assert not here.waiters.waiting
    assert not here.scope.watches or here.leases._granted


async def failure(caller: asyncio.Task[Any], kind: type[ProxyError]) -> ProxyError:
    with pytest.raises(kind) as caught:
        await caller
    return caught.value


async def granted(here: Air, ms: int = 10_000) -> bytes:
    caller = here.call(here.leases.lease(KEY, ms, 0))
    take = await here.server.answer("take", LEASED)
    value, token = await caller
    assert value is None
    assert token == take.args[0]
    assert take.args[1:3] == (b"%d" % ms, b"mine")
    assert isinstance(token, bytes)
    return token
