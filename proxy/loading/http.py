"""The HTTP client that all ``url`` loaders share.

aiohttp takes 0.2 s of a start and 12 MB: it is imported where a loader needs it, not before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ..spans import OFF

if TYPE_CHECKING:
    import aiohttp

AGENT: Final = "nearhit"


class Http:
    """The one session of this process, opened by the first load."""

    def __init__(self, traced: Callable[[], Mapping[str, str]] = OFF.headers) -> None:
        self.traced = traced  # headers by which a server finds the span of the load that asks it
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<Http {'closed' if self._session is None else 'open'}>"

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(
                # The loaders' gates bound the connections, and their timeouts the time.
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": AGENT},
            )
        return self._session

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
