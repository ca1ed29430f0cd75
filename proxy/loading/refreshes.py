"""Loads behind readers: what a value that is stale, or soon will be, makes of a read.

    reader ─ value, PTTL ─▶ Freshness ─┬─ fresh ───────────────────────▶ the value
                                       ├─ early ─▶ refresh behind ─────▶ the value
                                       └─ stale ─▶ refresh behind ─────▶ the value, or what the
                                                   waited for softly       refresh brings in time

Never by a timer: what nobody reads may end. One load of a key in the fleet, by its lease; here one
flight (flights.py), and a pause behind one that brought nothing, so that readers of what cannot be
loaded ask the server for the lease once a second and not each. Bounded, as flights nobody waits
for: beyond ``limit`` readers get what is there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Final

from ..bounds import WaitingRoom
from ..custom.spec import Counts
from ..errors import ProxyError
from .flight import Flight, Landed
from .flights import Flights
from .freshness import Age
from .loaders import Loader, Loaders

# Seconds until a load behind is tried again that failed, or was another's.
PAUSE: Final = 1.0
# Keys whose pauses are known; of more the server is asked.
PAUSES_MAX: Final = 4096


class Refreshes:
    """Those of one db and user. ``room`` bounds them as it does those who wait."""

    def __init__(
        self,
        flights: Flights,
        loaders: Loaders,
        *,
        counts: Counts,
        clock: Callable[[], float],
        room: WaitingRoom,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._flights = flights
        self._loaders = loaders
        self._counts = counts
        self._clock = clock
        self._room = room
        self._chance = chance
        self._pauses: dict[bytes, float] = {}  # until when
        self.running = 0

    def __repr__(self) -> str:
        return f"<Refreshes running={self.running} paused={len(self._pauses)}>"

    def timed(self, key: bytes) -> bool:
        """Whether a reader of the key has to say how long the value lasts."""
        return self._loaders.timed(key)

    def softly(self, key: bytes, ttl_ms: int) -> bool:
        """Whether a reader has found a stale value, and waits for a fresh one for a while."""
        loader = self._loaders.match(key)
        return (
            loader is not None
            and loader.settings.soft_timeout > 0
            and loader.freshness.age(ttl_ms, 0.0) is Age.STALE
        )

    def seen(self, key: bytes, ttl_ms: int) -> None:
        """A reader has found, and hands out, a value that lasts so long; below 0: for ever, or that
        is not known."""
        loader = self._loaders.match(key)
        if loader is not None and self._look(key, loader, ttl_ms) is Age.STALE:
            self._counts.add("stale_served")

    async def newest(self, key: bytes, value: bytes, ttl_ms: int) -> bytes | None:
        """What a reader hands out who has found this and has time: of a stale value, what its
        refresh ends with within the loader's ``soft_timeout``."""
        loader = self._loaders.match(key)
        if loader is None or self._look(key, loader, ttl_ms) is not Age.STALE:
            return value
        landed = None
        if loader.settings.soft_timeout:
            landed = await self._flights.refreshed(key, loader.settings.soft_timeout)
        if landed is None or (landed.value is None and landed.how == "skipped"):
            self._counts.add("stale_served")
            return value
        return landed.value

    async def newest_of(
        self, found: Mapping[bytes, tuple[bytes, int]]
    ) -> Mapping[bytes, bytes | None]:
        """The same of many keys, which are waited for together."""
        asked = [self.newest(key, value, ttl_ms) for key, (value, ttl_ms) in found.items()]
        return dict(zip(found, await asyncio.gather(*asked), strict=True))

    def _look(self, key: bytes, loader: Loader, ttl_ms: int) -> Age:
        age = loader.freshness.age(ttl_ms, self._chance())
        if age is not Age.FRESH:
            self._refresh(key, loader, ttl_ms, age)
        return age

    def _refresh(self, key: bytes, loader: Loader, ttl_ms: int, age: Age) -> None:
        if self._flights.flying(key) or self.running >= self._room.limit:
            return
        if self._pauses and self._pauses.get(key, 0.0) > self._clock():
            return
        self.running += 1
        counted = "refreshes" if age is Age.STALE else "early_refreshes"
        self._flights.refresh(key, loader, ttl_ms, counted, self._ended)

    def _ended(self, flight: Flight, landed: Landed | ProxyError) -> None:
        self.running -= 1
        self._pauses.pop(flight.key, None)
        if not isinstance(landed, ProxyError) and landed.how != "skipped":
            return
        now = self._clock()
        if len(self._pauses) >= PAUSES_MAX:
            self._pauses = {key: until for key, until in self._pauses.items() if until > now}
        if len(self._pauses) < PAUSES_MAX:
            self._pauses[flight.key] = now + min(PAUSE, flight.loader.settings.backoff)
