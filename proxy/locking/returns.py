"""Grants that nobody takes: they are given back in the background, until the server has answered.

    grant, its caller has left ─▶ give_back ─ release ─▶ answered
                                                └── failed: again, for as long as the lock lasts

A client may have sent its token again meanwhile, through whichever proxy: then the grant is that
call's, and the server, which alone knows, leaves it (lua/lock_release.lua). Called by locks.py."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any, Final

from ..errors import ProxyError, shown
from ..log import event
from ..settings.config import retry_delay
from .lines import Caller

log = logging.getLogger(__name__)

RETURNING_MAX: Final = 10_000

Start = Callable[[Coroutine[Any, Any, None]], object]


class Returns:
    """``release``: gives a caller's grant back, if it is still its own."""

    def __init__(
        self,
        release: Callable[[Caller], Awaitable[bool]],
        start: Start,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._release = release
        self._start = start
        self._clock = clock
        self._sleep = sleep
        self._loop = asyncio.get_running_loop()
        self._returning: dict[Caller, asyncio.Future[None]] = {}

    def __repr__(self) -> str:
        return f"<Returns returning={len(self._returning)}>"

    def __len__(self) -> int:
        """Grants on their way back."""
        return len(self._returning)

    async def undo(self, caller: Caller, deadline: float) -> None:
        """Give a grant back that came too late, before the caller asks again with its token."""
        returned = self.give_back(caller)
        await asyncio.wait([returned], timeout=max(0.0, deadline - self._clock()))

    def give_back(self, caller: Caller) -> asyncio.Future[None]:
        """Release in the background what nobody holds; done when that has ended."""
        returned: asyncio.Future[None] = self._loop.create_future()
        if len(self._returning) >= RETURNING_MAX:
            self._not_returned(caller, "too many at once")
            returned.set_result(None)
        else:
            self._returning[caller] = returned
            self._start(self._return(caller, returned))
        return returned

    async def _return(self, caller: Caller, returned: asyncio.Future[None]) -> None:
        """Until it is answered, the lock has ended, or a later one to this caller goes back."""
        ends = self._clock() + caller.ttl_ms / 1000
        try:
            for attempt in count(1):
                if self._returning.get(caller) is not returned:
                    return
                try:
                    await self._release(caller)
                    return
                except ProxyError as error:
                    pause = retry_delay(attempt)
                    if self._clock() + pause >= ends:
                        self._not_returned(caller, error)
                        return
                await self._sleep(pause)
        except asyncio.CancelledError:
            # The proxy stops, and lets what is started now have a last word.
            self._start(self._once_more(caller))
            raise
        finally:
            if self._returning.get(caller) is returned:
                del self._returning[caller]
            if not returned.done():
                returned.set_result(None)

    async def _once_more(self, caller: Caller) -> None:
        try:
            await self._release(caller)
        except ProxyError as error:
            self._not_returned(caller, error)

    def _not_returned(self, caller: Caller, why: object) -> None:
        resource = shown(caller.resource)
        event(log, logging.WARNING, "lock not given back", resource=resource, error=why)
