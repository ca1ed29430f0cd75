"""What one task waits for and the loop's calls tell: that something has come, gone or ended.

Nothing is kept: what is told while nobody waits is to be seen by looking."""

from __future__ import annotations

import asyncio


class Change:
    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Change awaited={self.awaited}>"

    @property
    def awaited(self) -> bool:
        return self._future is not None

    def tell(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> None:
        """Until it is told."""
        assert self._future is None, "one task waits"
        self._future = asyncio.get_running_loop().create_future()
        try:
            await self._future
        finally:
            self._future = None
