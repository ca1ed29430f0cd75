"""Something that rings once, and whoever waits for it hears so; until it is cleared.

Owns that wait alone: what rings it is for those who derive from it, watches of keys and locks."""

from __future__ import annotations

import asyncio


class Bell:
    """``fired``: it has rung since it was made or last cleared."""

    __slots__ = ("_event", "fired")

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.fired = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fired={self.fired}>"

    def ring(self) -> None:
        self.fired = True
        self._event.set()

    def clear(self) -> None:
        self.fired = False
        self._event.clear()

    async def wait(self, seconds: float) -> bool:
        """Wait until it rings, for so many seconds at most; whether it has rung."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._event.wait()
        except TimeoutError:
            return self.fired
        return True
