"""Opens connections to the upstream and keeps the retry rule; knows nothing of what flows on them.

The rule: delay = min(attempt x 50 ms, 2 s), 20 attempts in production and 3 in development; then
the upstream counts as down, and is tried again every 2 s."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..resp.kernel import RouteMap
from ..settings.address import Tcp, Upstream
from ..settings.config import retry_delay
from .monitoring import Ledger
from .tls import server_name, tls_of
from .tls_files import TlsFiles

DELAY_DOWN: Final = 2.0
AGAIN_MAX: Final = 0.5
# Seconds of silence after which the kernel asks whether a client is still there: tcp-keepalive of
# Redis.
CLIENT_KEEP_ALIVE: Final = 300
CONNECT_TIMEOUT: Final = 5.0
ATTEMPTS: Final = {"production": 20, "development": 3}


class Mute(TimeoutError):
    """The host accepts the connection, and whoever should answer on it says nothing."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often an upstream that does not answer is tried, and how long to wait between."""

    attempts: int

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the attempt with this number (from 1) has failed."""
        return retry_delay(attempt) if attempt < self.attempts else DELAY_DOWN

    def again(self, count: int) -> float:
        """Seconds to wait after so many connections in a row that stood and did not last."""
        return min(retry_delay(count), AGAIN_MAX)


class Dial:
    """Where the upstream is and how its connections are opened. StartError, when it is made: its
    TLS files cannot be used.

    ``tls``: what TLS needs, where others have it too; None: it is the dial's own, if there is any.
    ``on_cluster``: told that the server is a node of a cluster, and no connection to it is used;
    None: it may be one. ``reads``: what may be asked again where a connection has died."""

    def __init__(
        self,
        upstream: Upstream,
        retry: Retry,
        on_cluster: Callable[[], None] | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        self.moves: int = 0  # how often another server became the master
        self.upstream = upstream
        self.retry = retry
        self.on_cluster = on_cluster
        self.reads: RouteMap | None = None
        self.ledger = Ledger()
        self._again = asyncio.Event()  # that ends the pauses of now
        self.tls = tls_of(upstream) if tls is None else tls

    @property
    def address(self) -> str:
        return self.upstream.address

    async def open(
        self, loop: asyncio.AbstractEventLoop, protocol: Callable[[], asyncio.Protocol]
    ) -> asyncio.Transport:
        """A connected transport. OSError, which TimeoutError and ssl.SSLError are too, when it
        cannot connect; Mute where TLS gets no answer."""
        return await self._connect(loop, protocol, None)

    async def pause(self, seconds: float, moves: int) -> None:
        """Wait so many seconds between two attempts, or until the upstream is found elsewhere than
        when ``moves`` was read, or speaks again."""
        if moves != self.moves:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._again.wait()
        except TimeoutError:
            return

    def wake(self) -> None:
        """The next attempt may succeed where the last one failed: end all pauses."""
        again, self._again = self._again, asyncio.Event()
        again.set()

    def failed(self) -> None:
        """A connection could not be made, or was lost: the upstream may be elsewhere."""

    async def _connect(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: Callable[[], asyncio.Protocol],
        place: Tcp | None,
    ) -> asyncio.Transport:
        """Connect to the place; None: to where the URL leads."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await self._open(loop, protocol, place)
        except ConnectionAbortedError as error:
            if self.tls is None or "handshake" not in str(error):
                raise
            raise Mute(str(error)) from None
        except TimeoutError as error:
            # The clock's own has no words.
            why = str(error) or f"no connection within {CONNECT_TIMEOUT:g} s"
            raise TimeoutError(why) from None

    async def _open(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: Callable[[], asyncio.Protocol],
        place: Tcp | None,
    ) -> asyncio.Transport:
        if self.upstream.path is not None:
            unix, _ = await loop.create_unix_connection(protocol, self.upstream.path)
            return unix
        announced = Tcp(self.upstream.host, self.upstream.port) if place is None else place
        place = self.upstream.address_map.dialled(announced)
        host, tls = place.host, self.tls
        tcp, _ = await loop.create_connection(
            protocol,
            host,
            place.port,
            ssl=None if tls is None else tls.context,
            server_hostname=None if tls is None else server_name(self.upstream, host),
            ssl_handshake_timeout=None if tls is None else CONNECT_TIMEOUT - 1,
        )
        keep_alive(tcp)
        return tcp

    def __repr__(self) -> str:
        return f"<Dial {self.address}>"


def keep_alive(transport: asyncio.BaseTransport, silence: int = 60) -> None:
    """Have the kernel notice a peer that vanished: seconds of silence, then 3 probes 10 s apart."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", silence), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
