"""Loads and leases: one load per key in this process (a flight), one across all proxies (a
lease).

    callers ─▶ flight ─ take ─▶ server: hit | leased | held by another | known to fail, or not exist
                  ▲                       │       └─ wait for a push on key or lease, or a timer
                  │                       ▼
                  └── value ◀─ fill ◀─ loader       fill is refused where the lease is gone

Whoever asks joins a running flight only if nothing has changed the key since it began: a push for
the key or its lease, or a write that passes here, takes it out of ``_flights``. Its callers still
get what it loads; it is not stored. Semantics: design/cache-aside-and-locks.md, 2.1 and 2.8."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Protocol, cast

from ...lua import script
from ..bounds import WaitingRoom
from ..custom.spec import Expiry
from ..errors import (
    BadInput,
    CacheBusy,
    LoadError,
    LoadTimeout,
    NoLoader,
    ProxyError,
    one_line,
)
from ..hot.fills import forget
from ..keys.ours import lease_key
from ..log import event
from ..upstream.tracked import TrackedLane, Watched
from .loaders import Loader, Loaders

log = logging.getLogger(__name__)

TOKEN: Final = b"t"  # tokens begin with it, the memory of a load does not (take.lua)
TAKE: Final = script("take")
FILL: Final = script("fill")
SETTLE: Final = script("settle")
UNDO: Final = script("undo")

# How much later than its lease is due to end a waiter looks again by itself, in seconds: the server
# tells of an expiry late, and all waiters at once would be a herd.
LOOK_AGAIN: Final = (0.01, 0.05)
# A server that knows no tracking tells nothing: waiters look again after so many seconds.
UNTRACKED: Final = 0.1
JITTER: Final = 0.1
# Warming lets live loads go first: it waits for its turn by so many seconds longer.
WARM_PATIENCE: Final = 60.0

Start = Callable[[Coroutine[Any, Any, None]], object]


class Took(Enum):
    """What take.lua returns first."""

    HIT = 1
    LEASED = 2
    HELD = 3
    NOTHING = 4
    FAILED = 5


class Count(Protocol):
    def __call__(self, name: str, count: int = 1) -> None: ...


@dataclass(frozen=True, slots=True)
class Landed:
    """How a flight ended, if it did not fail."""

    value: bytes | None
    how: str  # loaded, skipped (it was there), not_found


@dataclass(slots=True, eq=False)
class Flight:
    """One load, and who waits for it. ``warm``: for WARM, which lets others go first."""

    key: bytes
    loader: Loader
    warm: bool = False
    ttl_ms: int | None = None
    refresh: bool = False
    touched: bool = False  # the key was written since its lease was taken: nothing is stored
    waiters: set[asyncio.Future[Landed]] = field(default_factory=set)

    def __repr__(self) -> str:
        return f"<Flight {self.key!r} {self.loader.name} waiters={len(self.waiters)}>"


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease that a client holds; the watch tells of writes to the key."""

    token: bytes
    until: float
    watch: Watched


class _Watch(Watched):
    """Of a flight: a change of its key or lease lets nobody join it any more, and a change of the
    key forbids to store what it loads."""

    __slots__ = ("_flight", "_flights")

    def __init__(self, flights: Flights, flight: Flight) -> None:
        self._flights = flights
        self._flight = flight
        super().__init__(flights.scope.watches, (flight.key, lease_key(flight.key)))

    def fire(self, key: bytes | None) -> None:
        self._flight.touched |= key is None or key == self._flight.key
        self._flights.leave(self._flight)
        super().fire(key)


class Flights:
    """The loads and client leases of one scope (spec.Leases)."""

    def __init__(
        self,
        scope: TrackedLane,
        loaders: Loaders,
        *,
        start: Start,
        clock: Callable[[], float],
        count: Count,
        room: WaitingRoom,
    ) -> None:
        self.scope = scope
        self._loaders = loaders
        self._start = start
        self._clock = clock
        self._count = count
        self._room = room
        self._flights: dict[bytes, Flight] = {}
        self._granted: dict[bytes, Granted] = {}

    def __repr__(self) -> str:
        return f"<Flights {len(self._flights)} granted={len(self._granted)}>"

    # --- Loads --------------------------------------------------------------------------------

    async def load(self, key: bytes) -> bytes | None:
        loader = self._loaders.match(key)
        if loader is None:
            raise NoLoader(key)
        with self._room:
            flight = self._flights.get(key)
            if flight is None:
                flight = self._launch(Flight(key, loader))
            else:
                self._count("coalesced")
            return (await self._landing(flight)).value

    async def warm(self, key: bytes, loader: str | None, ttl_ms: int | None, refresh: bool) -> str:
        found = self._loaders.match(key) if loader is None else self._loaders.named(loader)
        if found is None and loader is not None:
            raise BadInput(f"no loader is called '{loader}'; see [loaders.*] in the settings file")
        if found is None:
            raise NoLoader(key)
        with self._room:
            flight = None if refresh else self._flights.get(key)
            if flight is None:
                flight = self._launch(Flight(key, found, True, ttl_ms, refresh))
            return (await self._landing(flight)).how

    def void(self, keys: Sequence[bytes]) -> None:
        if self.scope.near is not None:
            forget(self.scope.near, list(keys))
        if not (self._flights or self._granted):
            return
        for key in keys:
            flight = self._flights.pop(key, None)
            if flight is not None:
                flight.touched = True
            granted = self._granted.get(key)
            if granted is not None:
                self._take_back(key, granted)

    def void_matching(self, pattern: re.Pattern[bytes]) -> None:
        near = self.scope.near
        if near is not None:
            spaces = near.spaces.values()
            cached = {key for space in spaces for key in (*space.entries, *space.tickets)}
            forget(near, [key for key in cached if pattern.fullmatch(key)])
        keys = {*self._flights, *self._granted}
        self.void([key for key in keys if pattern.fullmatch(key)])

    def leave(self, flight: Flight) -> None:
        """Nobody joins the flight from now on."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def _launch(self, flight: Flight) -> Flight:
        self._flights.setdefault(flight.key, flight)
        self._start(self._fly(flight))
        return flight

    async def _landing(self, flight: Flight) -> Landed:
        """Wait for a flight; who gives up leaves it flying."""
        waiter: asyncio.Future[Landed] = asyncio.get_running_loop().create_future()
        flight.waiters.add(waiter)
        try:
            return await waiter
        finally:
            flight.waiters.discard(waiter)

    async def _fly(self, flight: Flight) -> None:
        landed: Landed | ProxyError = CacheBusy("the proxy stops")
        try:
            landed = await self._carry(flight)
        except ProxyError as error:
            landed = error
        except Exception:
            log.exception("a load failed")
            landed = LoadError(flight.loader.name, "a defect in the proxy")
        finally:
            self.leave(flight)
            for waiter in flight.waiters:
                if waiter.done():
                    continue
                if isinstance(landed, ProxyError):
                    waiter.set_exception(landed)
                else:
                    waiter.set_result(landed)

    async def _carry(self, flight: Flight) -> Landed:
        """Take the lease and load, or wait for whoever has it; in bounded time."""
        settings = flight.loader.settings
        # Time for one other to fail silently, and for our own load.
        deadline = self._clock() + settings.lease + settings.timeout
        with _Watch(self, flight) as watch:
            while True:
                async with contextlib.AsyncExitStack() as turn:
                    await self._take_turn(flight, turn, deadline)
                    landed, ms = await self._attempt(flight, watch)
                if landed is not None:
                    return landed
                left = deadline - self._clock() + (WARM_PATIENCE if flight.warm else 0)
                if left <= 0:
                    raise LoadTimeout(flight.loader.name, round(settings.timeout * 1000))
                await watch.wait(min(left, self._patience(ms)))

    async def _take_turn(
        self, flight: Flight, turn: contextlib.AsyncExitStack, deadline: float
    ) -> None:
        """Wait until the loader has room for one more."""
        left = deadline - self._clock() + (WARM_PATIENCE if flight.warm else 0)
        try:
            async with asyncio.timeout(left):
                await turn.enter_async_context(flight.loader.gate.turn(flight.warm))
        except TimeoutError:
            running = flight.loader.settings.concurrency
            raise CacheBusy(
                f"loader '{flight.loader.name}': {running} loads run (concurrency), and none ended "
                "in time"
            ) from None

    def _patience(self, ms: int) -> float:
        """Seconds until a waiter looks again though nothing woke it."""
        patience = max(ms, 0) / 1000 + random.uniform(*LOOK_AGAIN)
        return patience if self.scope.tracking else min(patience, UNTRACKED)

    async def _attempt(self, flight: Flight, watch: _Watch) -> tuple[Landed | None, int]:
        """(how it ended, 0), or (None, milliseconds that another's lease lasts)."""
        settings = flight.loader.settings
        token = _token()
        watch.clear()
        flight.touched = False
        took, rest = await self._take(
            flight.key,
            token,
            round(settings.lease * 1000),
            b"fresh" if flight.refresh else b"",
            quiet=flight.warm,
        )
        if took is Took.HIT:
            return Landed(cast("bytes | None", rest), "skipped"), 0
        if took is Took.HELD:
            return None, cast(int, rest)
        if took is Took.NOTHING:
            self._count("negative_hits")
            return Landed(None, "not_found"), 0
        if took is Took.FAILED:
            # Any client may have written it there.
            raise ProxyError(b"-" + one_line(cast(bytes, rest).decode("utf-8", "replace")).encode())
        return await self._load(flight, watch, token, cast(bytes, rest)), 0

    async def _take(
        self, key: bytes, token: bytes, ms: int, how: bytes, *, quiet: bool = False
    ) -> tuple[Took, object]:
        args = token, b"%d" % ms, how, b"quiet" if quiet else b""
        try:
            reply = await self.scope.upstream.run(TAKE, (key, lease_key(key)), args)
        except ProxyError as lost:
            if lost.outcome_unknown:  # a lease that was granted would be nobody's
                self._start(self._give_up(key, token))
            raise
        number, *rest = cast("list[object]", reply)
        return Took(number), rest[0] if rest else None

    async def _load(self, flight: Flight, watch: _Watch, token: bytes, digest: bytes) -> Landed:
        """Run the loader under our lease, and settle the lease whatever comes of it."""
        loader, settings = flight.loader, flight.loader.settings
        self._count("loads")
        try:
            async with asyncio.timeout(settings.timeout):
                loaded = await loader.load(flight.key)
        except TimeoutError:
            self._count("load_timeouts")
            error: ProxyError = LoadTimeout(loader.name, round(settings.timeout * 1000))
            await self._failed(flight, token, digest, error)
            raise error from None
        except LoadError as failure:
            await self._failed(flight, token, digest, failure)
            raise
        except BaseException:
            # A defect, or the process stops: others may load at once.
            self._start(self._give_up(flight.key, token))
            raise
        if loaded.value is None:
            ms = round(settings.negative_ttl * 1000)
            await self._settle(flight.key, token, b"n" if ms else b"", ms, digest)
            return Landed(None, "not_found")
        if loaded.exact:
            ttl = loaded.ttl_ms
        else:
            ttl = flight.ttl_ms or round(settings.ttl * 1000)
            ttl = jittered(ttl if loaded.ttl_ms is None else min(ttl, loaded.ttl_ms))
        if ttl == 0 or flight.touched:
            self._count("fills_refused", int(flight.touched))
            await self._settle(flight.key, token, b"", 0, digest)
        else:
            await self._store(flight, watch, token, loaded.value, ttl, digest)
        return Landed(loaded.value, "loaded")

    async def _failed(self, flight: Flight, token: bytes, digest: bytes, error: ProxyError) -> None:
        """Remember a failure for a while, so that the next caller does not try at once."""
        self._count("load_failures")
        ms = round(flight.loader.settings.backoff * 1000)
        mark = b"e" + error.line[1:-2] if ms else b""
        await self._settle(flight.key, token, mark, ms, digest)

    async def _store(
        self,
        flight: Flight,
        watch: _Watch,
        token: bytes,
        value: bytes,
        ttl: int | None,
        digest: bytes,
    ) -> None:
        """Fill; whatever goes wrong, the callers have their value."""
        expiry = None if ttl is None else Expiry(b"PX", ttl)
        try:
            await self._fill(flight.key, token, value, expiry, digest, lambda: flight.touched)
        except ProxyError as error:
            event(log, logging.DEBUG, "fill failed", loader=flight.loader.name, error=error)
            self._count("fills_refused")
            self._start(self._take_back_fill(flight.key, token, value))

    async def _fill(
        self,
        key: bytes,
        token: bytes,
        value: bytes,
        expiry: Expiry | None,
        digest: bytes,
        touched: Callable[[], bool],
    ) -> bool:
        written = False

        def seen() -> None:
            # Now, not when this coroutine goes on: the push for our own fill is right behind.
            nonlocal written
            written = touched()
            if self.scope.near is not None:
                forget(self.scope.near, [key])

        words = expiry.words if expiry is not None else (b"", b"")
        stored = await self.scope.upstream.run(
            FILL, (key, lease_key(key)), (token, value, *words, digest), seen
        )
        if stored and written:
            # The key was written and removed again while our fill was on its way: to the server it
            # looked untouched, and only its pushes tell.
            await self.scope.upstream.run(UNDO, (key,), (value,))
            stored = 0
        if not stored:
            self._count("fills_refused")
        return bool(stored)

    async def _settle(
        self, key: bytes, token: bytes, mark: bytes, ms: int, digest: bytes = b""
    ) -> bool:
        """Give the lease up; where the server does not answer it ends by itself."""
        try:
            given_up = await self.scope.upstream.run(
                SETTLE, (key, lease_key(key)), (token, mark, b"%d" % ms, digest)
            )
        except ProxyError as error:
            event(log, logging.DEBUG, "lease not given up", error=error)
            return False
        return bool(given_up)

    async def _take_back_fill(self, key: bytes, token: bytes, value: bytes) -> None:
        """A fill that may or may not have been done, and the pushes before it, are lost: it must
        not stand."""
        await self._give_up(key, token)
        with contextlib.suppress(ProxyError):  # it ends by its TTL
            await self.scope.upstream.run(UNDO, (key,), (value,))

    async def _give_up(self, key: bytes, token: bytes) -> None:
        await self._settle(key, token, b"", 0)

    # --- Leases that clients hold -------------------------------------------------------------

    async def lease(self, key: bytes, ms: int, wait_ms: int) -> tuple[bytes | None, bytes | None]:
        deadline = self._clock() + wait_ms / 1000
        with self._room, self.scope.watch(key, lease_key(key)) as watch:
            while True:
                watch.clear()
                token = _token()
                granted = Granted(token, self._clock() + ms / 1000, self.scope.watch(key))
                try:
                    took, rest = await self._take(key, token, ms, b"mine")
                    if took is Took.LEASED:
                        self._grant(key, granted)
                        return None, token
                except asyncio.CancelledError:
                    # The client has left: a lease that is granted now would be nobody's.
                    self._start(self._give_up(key, token))
                    raise
                finally:
                    if self._granted.get(key) is not granted:
                        granted.watch.close()
                if took is Took.HIT:
                    return cast(bytes, rest), None
                left = deadline - self._clock()
                if left <= 0:
                    return None, None
                await watch.wait(min(left, self._patience(cast(int, rest))))

    async def fill(self, key: bytes, token: bytes, value: bytes, expiry: Expiry | None) -> bool:
        if not token.startswith(TOKEN):
            return False  # what a load left at the lease's key is nobody's lease
        granted = self._granted.get(key)
        if granted is None or granted.token != token:
            # Taken through another proxy, or not at all: the server decides alone.
            return await self._fill(key, token, value, expiry, b"", lambda: False)
        del self._granted[key]
        with granted.watch as watch:
            if watch.fired:
                await self._give_up(key, token)
                self._count("fills_refused")
                return False
            return await self._fill(key, token, value, expiry, b"", lambda: watch.fired)

    async def cancel(self, key: bytes, token: bytes) -> bool:
        if not token.startswith(TOKEN):
            return False
        granted = self._granted.get(key)
        if granted is not None and granted.token == token:
            del self._granted[key]
            granted.watch.close()
        settled = await self.scope.upstream.run(
            SETTLE, (key, lease_key(key)), (token, b"", b"0", b"")
        )
        return bool(settled)

    def _grant(self, key: bytes, granted: Granted) -> None:
        self._count("leases")
        former = self._granted.pop(key, None)
        if former is not None:
            former.watch.close()
        if len(self._granted) < self._room.limit:  # beyond it the server decides alone
            self._granted[key] = granted

    def _take_back(self, key: bytes, granted: Granted) -> None:
        """A client's lease is void: the key has been written."""
        del self._granted[key]
        granted.watch.close()
        self._start(self._give_up(key, granted.token))

    def tick(self) -> None:
        """Once a second: forget the leases that have ended."""
        now = self._clock()
        for key, granted in list(self._granted.items()):
            if granted.until <= now:
                del self._granted[key]
                granted.watch.close()

    @property
    def idle(self) -> bool:
        """Whether nothing flies, is leased, or is waited for."""
        return not (self._flights or self._granted)


def jittered(ms: int) -> int:
    """A TTL within 10 % of the one given: what was filled together must not expire together."""
    return max(1, round(ms * random.uniform(1 - JITTER, 1 + JITTER))) if ms else 0


def _token() -> bytes:
    return TOKEN + secrets.token_hex(16).encode()
