"""Loads: one load of a key in this process (a flight), under one lease across all proxies.

    callers ─▶ flight ─ take ─▶ server: hit | leased | held by another | known to fail, or not exist
                  ▲                       │       └─ wait for a push on key or lease, or a timer
                  │                       ▼
                  └── value ◀─ fill ◀─ loader       fill is refused where the lease is gone

A flight that refreshes a value behind its readers (refreshes.py) takes the lease though the value
stands, and waits for nobody's. Whoever asks joins a running flight only if nothing has changed the
key since it began: a push for the key, its lease or one of its tags, or a write or an invalidation
that passes here, takes it out of ``_flights``. Its callers still get what it loads; it is not
stored. The questions to the server are lease_scripts.py's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
from collections.abc import Callable, Sequence
from typing import Final, cast

from ..bounds import WaitingRoom
from ..custom.spec import Counts, Expiry
from ..custom.tags import FILLED_WITHIN_MS, GRAIN_MS, attach, checked, epochs
from ..errors import BadInput, CacheBusy, LoadError, LoadTimeout, NoLoader, ProxyError, is_away
from ..forgoing import forgoing
from ..keys.ours import lease_key, tag_epoch_key
from ..log import event
from ..resp.replies import Value
from ..spent import loading
from ..upstream.tracked import TrackedLane, Watched
from .flight import Ended, Flight, Landed, remembered
from .lease_scripts import LeaseScripts, Start, Took, new_token
from .loaders import WARM_PATIENCE, Loader, Loaders
from .source import Loaded

log = logging.getLogger(__name__)

JITTER: Final = 0.1
# A server that answers so takes no lease, and would store no value.
NO_WRITES: Final = (b"-READONLY", b"-OOM", b"-MISCONF", b"-NOREPLICAS")


class _Watch(Watched):
    """Of a flight: a change of its key, its lease or a tag lets nobody join it any more, and a
    change of the key or a tag forbids to store what it loads."""

    __slots__ = ("_flight", "_flights", "_lease")

    def __init__(self, flights: Flights, flight: Flight) -> None:
        self._flights = flights
        self._flight = flight
        self._lease = lease_key(flight.key)
        keys = flight.key, self._lease, *map(tag_epoch_key, flight.tags)
        super().__init__(flights.tracked.watches, keys)

    def fire(self, key: bytes | None) -> None:
        self._flight.touched |= key != self._lease
        self._flights.leave(self._flight)
        super().fire(key)


class Flights:
    """The loads of one db and user."""

    def __init__(
        self,
        tracked: TrackedLane,
        scripts: LeaseScripts,
        loaders: Loaders,
        *,
        start: Start,
        clock: Callable[[], float],
        counts: Counts,
        room: WaitingRoom,
    ) -> None:
        self.tracked = tracked
        self._scripts = scripts
        self._loaders = loaders
        self._start = start
        self._clock = clock
        self._counts = counts
        self._room = room
        self._flights: dict[bytes, Flight] = {}

    def __repr__(self) -> str:
        return f"<Flights {len(self._flights)}>"

    # --- Loads --------------------------------------------------------------------------------

    async def load(self, key: bytes) -> bytes | None:
        """The string at key, or what its loader gives. NoLoader, LoadError, LoadTimeout,
        CacheBusy."""
        loader = self._loaders.match(key)
        if loader is None:
            raise NoLoader(key)
        with self._room:
            flight = self._flights.get(key)
            if flight is None:
                flight = self._launch(Flight(key, loader))
            else:
                self._counts.add("coalesced")
                self._loaders.traces.joined()
            landed = await self._landing(flight)
            if landed.how == "skipped" and landed.value is None:
                # It was to leave a value alone, and has not asked what that is.
                landed = await self._landing(self._launch(Flight(key, loader)))
            return landed.value

    async def warm(
        self,
        key: bytes,
        loader: str | None,
        ttl_ms: int | None,
        refresh: bool,
        tags: Sequence[bytes] = (),
    ) -> str:
        """Fill one key through its loader: ``loaded``, ``skipped`` or ``not_found``; errors as
        ``load``. The ``tags`` are beside the loader's own."""
        found = self._loaders.match(key) if loader is None else self.named(loader)
        if found is None:
            raise NoLoader(key)
        with self._room:
            # One that runs would not attach the key to these tags.
            flight = None if refresh or tags else self._flights.get(key)
            if flight is None:
                flight = self._launch(Flight(key, found, True, ttl_ms, refresh, tags))
            return (await self._landing(flight)).how

    def named(self, loader: str) -> Loader:
        """BadInput: none is called so."""
        found = self._loaders.named(loader)
        if found is None:
            raise BadInput(f"no loader is called '{loader}'; see [loaders.*] in the settings file")
        return found

    def alone(self, key: bytes) -> bool:
        """Whether the key is answered without the server, which is away."""
        return self.tracked.is_away(key) and self.fails_open(key)

    def fails_open(self, key: bytes) -> bool:
        """Whether its loader makes up for a server that is away."""
        loader = self._loaders.match(key)
        return loader is not None and loader.settings.fail_open

    def flying(self, key: bytes) -> bool:
        """Whether the key is being loaded here."""
        return key in self._flights

    def refresh(self, key: bytes, loader: Loader, ttl_ms: int, counted: str, ended: Ended) -> None:
        """Load a key behind its readers, who have found a value that lasts so long. Nobody's lease
        is waited for; ``ended`` is told how it went."""
        self._launch(Flight(key, loader, True, behind=ttl_ms, counted=counted, ended=ended))

    async def refreshed(self, key: bytes, seconds: float) -> Landed | None:
        """What the load that runs for the key ends with, within so many seconds and no error."""
        flight = self._flights.get(key)
        if flight is None:
            return None
        try:
            async with asyncio.timeout(seconds):
                return await self._landing(flight)
        except (TimeoutError, ProxyError):
            return None

    def void(self, keys: Sequence[bytes]) -> None:
        """These keys are being written: whoever asks from now on joins no load of them that runs,
        and none of them is stored."""
        for key in keys if self._flights else ():
            flight = self._flights.pop(key, None)
            if flight is not None:
                flight.touched = True

    def void_matching(self, pattern: re.Pattern[bytes]) -> None:
        """The same for every key that matches."""
        self.void([key for key in self._flights if pattern.fullmatch(key)])

    def void_tags(self, tags: Sequence[bytes]) -> None:
        """The same for every key that is under one of these."""
        gone = set(tags)
        self.void([key for key, one in self._flights.items() if not gone.isdisjoint(one.tags)])

    def grace_ms(self, key: bytes) -> int:
        """How long a value of the key may be served when it is stale; 0: not at all."""
        loader = self._loaders.match(key)
        return 0 if loader is None else loader.freshness.grace_ms

    def leave(self, flight: Flight) -> None:
        """Nobody joins the flight from now on."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def _launch(self, flight: Flight) -> Flight:
        try:
            flight.tags = checked([*flight.loader.tags(flight.key), *flight.tags])
        except BadInput as error:
            raise LoadError(flight.loader.name, str(error)) from None
        self._flights.setdefault(flight.key, flight)
        self._start(self._fly(flight))
        return flight

    async def _landing(self, flight: Flight) -> Landed:
        """Wait for a flight; who gives up leaves it flying."""
        waiter: asyncio.Future[Landed] = asyncio.get_running_loop().create_future()
        flight.waiters.add(waiter)
        try:
            with loading(self._clock):
                return await waiter
        finally:
            flight.waiters.discard(waiter)

    async def _fly(self, flight: Flight) -> None:
        landed: Landed | ProxyError = CacheBusy("the proxy stops")
        try:
            with forgoing(flight.loader.settings.fail_open and not flight.warm):
                landed = await self._carry(flight)
        except ProxyError as error:
            landed = error
        except Exception:
            log.exception("a load failed")
            landed = LoadError(flight.loader.name, "a defect in the proxy")
        finally:
            self.leave(flight)
            if flight.ended is not None:
                flight.ended(flight, landed)
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
                await watch.wait(min(left, self._scripts.patience(ms)))

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

    async def _attempt(self, flight: Flight, watch: _Watch) -> tuple[Landed | None, int]:
        """(how it ended, 0), or (None, milliseconds that another's lease lasts)."""
        settings = flight.loader.settings
        alone = settings.fail_open and not flight.warm
        if alone and self.tracked.is_away(flight.key):
            return await self._load_only(flight), 0
        token = new_token()
        watch.clear()
        flight.touched = False
        try:
            with flight.loader.coming(self._start):
                took, rest = await self._scripts.take(
                    flight.key,
                    token,
                    round(settings.lease * 1000),
                    b"fresh" if flight.refresh else b"",
                    quiet=flight.warm,
                    behind=flight.behind,
                )
        except ProxyError as refused:
            if not alone or not (_no_writes(refused) or is_away(refused)):
                raise
            return await self._load_only(flight), 0
        if took is Took.HIT:
            return Landed(cast("bytes | None", rest), "skipped"), 0
        if flight.behind is not None and took in (Took.HELD, Took.NOTHING):
            return Landed(None, "skipped"), 0  # the value that stands is the better answer
        if took is Took.HELD:
            return None, cast(int, rest)
        if took is Took.NOTHING:
            self._counts.add("negative_hits")
            return Landed(None, "not_found"), 0
        if took is Took.FAILED:
            raise remembered(cast(bytes, rest), flight.loader.name)
        try:
            return await self._load(flight, token, cast(bytes, rest)), 0
        except ProxyError as lost:
            if not alone or not is_away(lost):
                raise
            return await self._load_only(flight), 0

    async def _load(self, flight: Flight, token: bytes, digest: bytes) -> Landed:
        """Run the loader under our lease, and settle the lease whatever comes of it."""
        loader, settings, began = flight.loader, flight.loader.settings, self._clock()
        if flight.behind is not None:
            self._counts.add(flight.counted)
        try:
            known = await epochs(self.tracked.upstream, flight.tags)
            load = self._loaded(loader, flight.key, digest)
            loaded = await self._loaders.traced(loader, flight.key, load)
        except (LoadError, LoadTimeout) as failure:
            self._counts.add("refresh_failures", int(flight.behind is not None))
            await self._remember(flight, token, digest, failure)
            raise
        except BaseException:
            # A defect, or the process stops: others may load at once.
            self._start(self._scripts.give_up(flight.key, token))
            raise
        if loaded.value is None:
            ms = round(settings.negative_ttl * 1000)
            await self._scripts.settle(flight.key, token, b"n" if ms else b"", ms, digest)
            return Landed(None, "not_found")
        if loaded.exact:
            ttl = loaded.ttl_ms
        else:
            ttl = flight.ttl_ms or round(settings.ttl * 1000)
            ttl = jittered(ttl if loaded.ttl_ms is None else min(ttl, loaded.ttl_ms))
        if ttl:
            # Of the key's own loader, as its readers see it, whichever WARM was told to load by.
            ttl += self.grace_ms(flight.key)
        if ttl == 0 or flight.touched:
            self._counts.add("fills_refused", int(flight.touched))
            await self._scripts.settle(flight.key, token, b"", 0, digest)
        else:
            await self._store(flight, token, loaded.value, ttl, digest, known, began)
        return Landed(loaded.value, "loaded")

    async def _load_only(self, flight: Flight) -> Landed:
        """The server takes no writes now, be it a replica, full or away: the loader's value is for
        those who wait here, and nothing is stored."""
        load = self._loaded(flight.loader, flight.key)
        loaded = await self._loaders.traced(flight.loader, flight.key, load)
        self._counts.add("unstored")
        return Landed(loaded.value, "not_found" if loaded.value is None else "loaded")

    async def _loaded(self, loader: Loader, key: bytes, digest: bytes = b"") -> Loaded:
        """What the loader gives, in its time. LoadError and LoadTimeout, counted and told.
        ``digest`` is that of the value that stands (take.lua)."""
        self._counts.add("loads")
        limit, began = loader.settings.timeout, self._clock()
        try:
            async with asyncio.timeout(limit):
                known = await self._known(loader, key, digest)
                loaded = await loader.load(key, self._start, known)
            took = self._clock() - began
            loader.freshness.loaded(took)
            if loaded.not_modified:
                self._counts.add("not_modified")
            self._loaders.told(loader.name, loaded.result, took)
            return loaded
        except TimeoutError:
            self._counts.add("load_timeouts")
            result = "timeout"
            error: LoadError | LoadTimeout = LoadTimeout(loader.name, round(limit * 1000))
        except LoadError as failure:
            error, result = failure, "error"
        self._counts.add("load_failures")
        self._loaders.told(loader.name, result, self._clock() - began)
        loader.complaint.failed(error, self._clock())
        raise error

    async def _known(self, loader: Loader, key: bytes, digest: bytes) -> bytes | None:
        """The value that stands, where its source can say whether it still holds. What is written
        behind its reading is news to the flight's watch, as behind the lease's."""
        if not digest or not loader.confirms(key, digest):
            return None
        try:
            value = await self.tracked.upstream.ask(b"GET", key)
        except ProxyError:
            return None
        return value if isinstance(value, bytes) else None

    async def _remember(
        self, flight: Flight, token: bytes, digest: bytes, error: ProxyError
    ) -> None:
        """Keep a failure for a while, so that the next caller does not try at once."""
        ms = round(flight.loader.settings.backoff * 1000)
        mark = b"e" + error.line[1:-2] if ms else b""
        await self._scripts.settle(flight.key, token, mark, ms, digest)

    async def _store(
        self,
        flight: Flight,
        token: bytes,
        value: bytes,
        ttl: int | None,
        digest: bytes,
        known: Sequence[Value],
        began: float,
    ) -> None:
        """Fill; whatever goes wrong, the callers have their value, but for those of a loader that
        is not to fail open."""
        expiry = None if ttl is None else Expiry(b"PX", ttl)
        lease_ms = round(flight.loader.settings.lease * 1000)
        within_ms = min(lease_ms, FILLED_WITHIN_MS)
        # Of the lease, so that the fill is refused where it comes later than its tags were told.
        left_ms = lease_ms - within_ms - int((self._clock() - began) * 1000) + GRAIN_MS
        server = self.tracked.upstream
        try:
            key, tags = flight.key, flight.tags
            if not await attach(server, [(key, expiry)], tags, known, within_ms):
                self._counts.add("fills_refused")
                await self._scripts.settle(key, token, b"", 0, digest)
                return
            left_ms = left_ms if tags else 0
            await self._scripts.fill(
                key, token, value, expiry, digest, lambda: flight.touched, left_ms
            )
        except ProxyError as error:
            event(log, logging.DEBUG, "fill failed", loader=flight.loader.name, error=error)
            self._start(self._scripts.take_back_fill(flight.key, token, value))
            if _no_writes(error) and not flight.loader.settings.fail_open:
                raise
            self._counts.add("unstored" if _stores_nothing(error) else "fills_refused")


def _no_writes(error: ProxyError) -> bool:
    """Whether the server stores nothing now, whatever it is."""
    return error.line.startswith(NO_WRITES)


def _stores_nothing(error: ProxyError) -> bool:
    """Whether that is so, or there is no server."""
    return _no_writes(error) or (is_away(error) and not error.outcome_unknown)


def jittered(ms: int) -> int:
    """A TTL within 10 % of the one given: what was filled together must not expire together."""
    return max(1, round(ms * random.uniform(1 - JITTER, 1 + JITTER))) if ms else 0
