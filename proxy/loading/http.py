"""The HTTP client that all ``url`` loaders share: one request on one connection, kept for the next.

    request ─▶ an idle connection of its origin, or a new one ─▶ answer ─▶ idle ─▶ (IDLE_S) closed

The loaders' gates bound the connections, and their timeouts the time. No proxy and no cookie: an
answer is about its URL and the loader's headers, and about nothing else. h11 is imported with the
first connection: a start does not pay for it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio.staggered import staggered_race
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..headers import Headers
from ..spans import OFF
from .coding import ACCEPTED, Decoder
from .http_errors import HttpError, TooLarge, Unanswered
from .urls import Url

if TYPE_CHECKING:
    import h11

    from .link import Link

AGENT: Final = "nearhit"
IDLE_S: Final = 15
IDLE_MAX: Final = 256  # connections of all origins
STAGGER_S: Final = 0.25  # an address that does not answer does not hold up the next one (RFC 8305)

Origin = tuple[str, str, int]


class Response:
    """An answer whose body is unread."""

    def __init__(self, method: str, head: h11.Response, link: Link) -> None:
        self.method = method
        self.status = head.status_code
        self.headers = Headers(head.headers)
        self._link = link

    def __repr__(self) -> str:
        return f"<Response {self.status} to {self.method}>"

    async def read(self, most: int) -> bytes:
        """The body, in its own coding no more; TooLarge: it has more bytes. HttpError."""
        body = bytearray()
        decoder = Decoder(self.headers.get("Content-Encoding", ""))
        while (data := await self._link.piece()) is not None:
            for piece in decoder.feed(data):
                body += piece
                if len(body) > most:
                    raise TooLarge
        decoder.end()
        return bytes(body)


class Http:
    """The connections of this process."""

    def __init__(self, traced: Callable[[], Mapping[str, str]] = OFF.headers) -> None:
        self.traced = traced  # headers by which a server finds the span of the load that asks it
        self._idle: dict[Link, tuple[Origin, asyncio.TimerHandle]] = {}  # the newest last
        self._tls: ssl.SSLContext | None = None  # takes a while to make: where one is needed

    def __repr__(self) -> str:
        return f"<Http idle={len(self._idle)}>"

    @asynccontextmanager
    async def request(
        self, method: str, url: Url, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncGenerator[Response, None]:
        """The answer, not that of a redirect. HttpError, OSError; ValueError: it cannot be sent."""
        rows = rows_of(url, headers, body)
        link = self._idle_one(url.origin) or await self._connected(url)
        try:
            try:
                head = await link.ask(method, url.target, rows, body)
            except Unanswered:
                # The server closed it while it was idle. What is not to be done twice is not.
                if not link.used or method != "GET":
                    raise
                link.close()
                link = await self._connected(url)
                head = await link.ask(method, url.target, rows, body)
            yield Response(method, head, link)
        finally:
            self._put_back(url.origin, link)

    async def close(self) -> None:
        if self._idle:
            for link in list(self._idle):
                self._drop(link)
            await asyncio.sleep(0)  # the transports end

    # --- Connections ------------------------------------------------------------------------------

    def _idle_one(self, origin: Origin) -> Link | None:
        for link in reversed(self._idle):
            if self._idle[link][0] != origin:
                continue
            _, timer = self._idle.pop(link)
            timer.cancel()
            if link.is_open:
                return link
            return self._idle_one(origin)
        return None

    def _put_back(self, origin: Origin, link: Link) -> None:
        if not link.ready():
            link.close()
            return
        timer = asyncio.get_running_loop().call_later(IDLE_S, self._drop, link)
        self._idle[link] = (origin, timer)
        if len(self._idle) > IDLE_MAX:
            self._drop(next(iter(self._idle)))

    def _drop(self, link: Link) -> None:
        _, timer = self._idle.pop(link)
        timer.cancel()
        link.close()

    async def _connected(self, url: Url) -> Link:
        from .link import Link

        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError):
            raise HttpError("its name cannot be resolved") from None
        sock = await _first_of([(family, address) for family, _, _, _, address in found])
        secure = url.scheme == "https"
        try:
            _, link = await loop.create_connection(
                Link,
                sock=sock,
                ssl=self._context() if secure else None,
                server_hostname=url.host if secure else None,
            )
        except BaseException:
            sock.close()
            raise
        return link

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


async def _first_of(addresses: Sequence[tuple[int, Any]]) -> socket.socket:
    """A socket that is connected to the first of them that answers. OSError: none does."""
    connected: list[socket.socket] = []
    tries = [partial(_connect, family, address, connected) for family, address in addresses]
    chosen: socket.socket | None = None
    try:
        chosen, _, errors = await staggered_race(tries, STAGGER_S)
    finally:
        # Where two have answered, or the load ended just when one had.
        for one in connected:
            if one is not chosen:
                one.close()
    if chosen is None:
        raise next(error for error in errors if error is not None)
    return chosen


async def _connect(family: int, address: Any, connected: list[socket.socket]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    connected.append(sock)
    return sock


def rows_of(url: Url, headers: Mapping[str, str], body: bytes | None) -> list[tuple[str, str]]:
    """The headers of a request: those that are given win, in any case, but for who asks by the
    URL and how long the body is."""
    rows = {
        "host": ("Host", url.host_header),
        "accept": ("Accept", "*/*"),
        "accept-encoding": ("Accept-Encoding", ACCEPTED),
        "user-agent": ("User-Agent", AGENT),
        **{name.lower(): (name, value) for name, value in headers.items()},
    }
    if url.user is not None:
        rows["authorization"] = ("Authorization", url.user)
    if body is not None:
        rows["content-length"] = ("Content-Length", str(len(body)))
    return list(rows.values())
