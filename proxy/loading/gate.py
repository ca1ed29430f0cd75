"""How many loads of one loader run at once, and who is next.

    live     ──▶ deque ──┐
                         ├──▶ places (``concurrency``)
    warming  ──▶ deque ──┘    warming ones hold three quarters of them at most

First come, first served, and live callers before warming ones: WARM with a million keys slows no
GETORSET down. Its queues are as long as who waits is many: max_waiters and WARM's own CONCURRENCY
bound that."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress


class Gate:
    def __init__(self, places: int) -> None:
        assert places > 0
        self.places = places
        self.warm_places = max(1, places * 3 // 4)
        self.running = 0
        self.warming = 0  # of those that run
        self._live: deque[asyncio.Future[None]] = deque()
        self._warm: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        taken = f"{self.running}/{self.places}"
        return f"<Gate running={taken} warming={self.warming} waiting={self.waiting}>"

    @property
    def waiting(self) -> int:
        return len(self._live) + len(self._warm)

    @asynccontextmanager
    async def turn(self, warm: bool) -> AsyncGenerator[None, None]:
        """One of the places for the length of the block."""
        await self._enter(warm)
        try:
            yield
        finally:
            self._leave(warm)

    async def _enter(self, warm: bool) -> None:
        queue = self._warm if warm else self._live
        place = asyncio.get_running_loop().create_future()
        queue.append(place)
        self._admit()
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                with suppress(ValueError):  # _next has been there
                    queue.remove(place)
            else:  # in one turn of the loop it was given its place, and cancelled
                self._leave(warm)
            raise

    def _leave(self, warm: bool) -> None:
        self.running -= 1
        self.warming -= warm
        assert self.running >= self.warming >= 0, self
        self._admit()

    def _admit(self) -> None:
        """Give away the places that are free."""
        while self.running < self.places:
            if place := self._next(self._live):
                pass
            elif self.warming < self.warm_places and (place := self._next(self._warm)):
                self.warming += 1
            else:
                return
            self.running += 1
            place.set_result(None)

    def _next(self, queue: deque[asyncio.Future[None]]) -> asyncio.Future[None] | None:
        """Who has waited longest and is still there."""
        while queue:
            place = queue.popleft()
            if not place.done():
                return place
        return None
