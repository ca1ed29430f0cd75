"""How clients come in where more stands before them than an address: TLS, and load balancers that
say whose connection it is (the PROXY protocol).

    accept ─▶ (of a balancer: its header) ─▶ first byte ─▶ its turn ─▶ handshake ─▶ a protocol
       │          │ of others: closed           │                         └ failed: closed
       │          └ it is none: closed          └ no TLS: told so, closed
       └ too many under way: the oldest is closed

All that is closed is logged now and then. The header comes before TLS, which may not be there.

A client that says nothing, or little, is closed after ``ENTER_S``. There are at most
``ENTERING_MAX`` of them, and the newest stays: those that mean it are through in milliseconds, so
silent ones keep nobody out. A handshake costs some 1 ms of CPU, so that a turn of the loop begins
few of them: who is in already waits no longer than that. Addresses without all of this have the
loop's own listeners. server.py makes it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from ..errors import PLAIN_AT_TLS
from ..log import event
from ..session.identity import address
from ..settings.trusted import Trusted
from .certificate import Certificate
from .preface import PREFACE_MAX, BadPreface, Origin, origin_of, size_of

log = logging.getLogger(__name__)

ENTER_S: Final = 10.0  # for everything before the first request
LEAVE_S: Final = 2.0  # for the client's own close_notify
ENTERING_MAX: Final = 256
ACCEPT_MAX: Final = 32  # in one turn of the loop
BEGIN_MAX: Final = 4  # handshakes in one turn
NO_FILES_S: Final = 1.0  # without a descriptor for a client; the loop's own servers wait as long
TELL_S: Final = 10.0  # between two log lines of a kind
_HANDSHAKE: Final = 22  # the first byte of TLS: RFC 8446, 5.1

HTTP_AT_TLS: Final = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b'Content-Length: 42\r\n\r\n{"error": "this address wants TLS: https"}'
)


class NotTls(Exception):
    """The first byte is not that of TLS."""


class NotTrusted(Exception):
    """It is none of the balancers."""


def prefaced(sock: socket.socket, balancers: Trusted) -> bool:
    """Whether connections to a listening socket begin with a balancer's header."""
    return sock.family != socket.AF_UNIX or balancers.unix


class Entrance:
    """``made`` gives the protocol of a client that is in; with ``balancers`` it is given the
    client's Origin. ``refusal`` is what those are told that speak no TLS, or are no balancers;
    without a certificate there is no TLS."""

    def __init__(
        self,
        made: Callable[..., asyncio.Protocol],
        certificate: Certificate | None,
        refusal: bytes = PLAIN_AT_TLS,
        balancers: Trusted | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._made = made
        self._certificate = certificate
        self._refusal = refusal
        self._balancers = balancers
        self._listening: list[socket.socket] = []
        self._entering: dict[asyncio.Task[None], socket.socket] = {}  # the oldest first
        self._turns = asyncio.Semaphore(BEGIN_MAX)
        self._failed: dict[str, int] = {}  # by event, since it was logged last
        self._told: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Entrance listening={len(self._listening)} entering={len(self._entering)}>"

    def listen(self, sock: socket.socket) -> None:
        """Accept clients on a listening socket, which ``close`` closes."""
        sock.setblocking(False)
        self._listening.append(sock)
        self._loop.add_reader(sock, self._accept, sock)

    def close(self) -> None:
        """Accept no more, and let go those that are not in yet."""
        for sock in self._listening:
            self._loop.remove_reader(sock)
            sock.close()
        self._listening.clear()
        for task in self._entering:
            task.cancel()

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(ACCEPT_MAX):
            try:
                client, _ = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as error:  # no descriptors, as a rule
                event(log, logging.ERROR, "cannot accept", error=error.strerror)
                self._loop.remove_reader(sock)
                self._loop.call_later(NO_FILES_S, self._accept_again, sock)
                return
            client.setblocking(False)
            if len(self._entering) >= ENTERING_MAX:
                if count := self._seldom("dropped"):
                    limit = ENTERING_MAX
                    event(log, logging.WARNING, "handshakes dropped", limit=limit, count=count)
                oldest = next(iter(self._entering))
                oldest.cancel()
                del self._entering[oldest]
            self._entering[self._loop.create_task(self._enter(client))] = client

    def _accept_again(self, sock: socket.socket) -> None:
        if sock in self._listening:
            self._loop.add_reader(sock, self._accept, sock)

    async def _enter(self, client: socket.socket) -> None:
        """Bring the client in, or close it."""
        task = asyncio.current_task()
        assert task is not None
        peer, made, failed = shown_peer(client), self._made, self._handshake_failed
        entered = False
        try:
            async with asyncio.timeout(ENTER_S):
                if self._balancers is not None:
                    failed = self._header_failed
                    origin = await self._origin(client, self._balancers)
                    made = partial(made, origin)
                    failed = self._handshake_failed
                    if origin.peer is not None:
                        peer = address(origin.peer, None)
                await self._begin(made, client)
                entered = True
        except NotTrusted:
            if count := self._seldom("not trusted"):
                event(log, logging.WARNING, "not a trusted proxy", peer=peer, count=count)
            if self._certificate is None:
                self._refuse(client)
        except BadPreface as error:
            self._header_failed(peer, str(error))
        except NotTls:
            if count := self._seldom("no TLS"):
                event(log, logging.WARNING, "no TLS", peer=peer, count=count)
            self._refuse(client)
        except TimeoutError:
            failed(peer, "it took too long")
        except OSError as error:
            why = getattr(error, "reason", None) or error.strerror or str(error)
            failed(peer, str(why))
        except asyncio.CancelledError:
            pass  # the oldest of too many, or the end
        except Exception:
            log.exception("a client did not come in")
        finally:
            self._entering.pop(task, None)
            if not entered:
                client.close()

    async def _begin(self, made: Callable[[], asyncio.Protocol], client: socket.socket) -> None:
        """Have the client's protocol connected, by TLS where there is a certificate."""
        if self._certificate is None:
            await self._loop.connect_accepted_socket(made, client)
            return
        await self._first_byte(client)
        await self._turns.acquire()
        # In the turn after the next, for the handshake's own work is done in the next one.
        self._loop.call_soon(self._loop.call_soon, self._turns.release)
        await self._loop.connect_accepted_socket(
            made,
            client,
            ssl=self._certificate.context,
            ssl_handshake_timeout=ENTER_S,
            ssl_shutdown_timeout=LEAVE_S,
        )

    async def _origin(self, client: socket.socket, balancers: Trusted) -> Origin:
        """Read the header, and not a byte behind it. NotTrusted: another's would be a lie."""
        unix = client.family == socket.AF_UNIX
        if not (balancers.unix if unix else balancers.trusts(str(client.getpeername()[0]))):
            raise NotTrusted
        got = b""
        while (size := size_of(got)) is None or len(got) < size:
            await self._readable(client)
            more = client.recv(PREFACE_MAX, socket.MSG_PEEK)
            if not more:
                raise ConnectionResetError("it left" if got else "")
            size = size_of(got + more)
            got += client.recv(len(more) if size is None else min(len(more), size - len(got)))
        return origin_of(got)

    async def _readable(self, client: socket.socket) -> None:
        """Wait until the client has sent something, or its end."""
        readable = self._loop.create_future()

        def ready() -> None:
            if not readable.done():
                readable.set_result(None)

        self._loop.add_reader(client, ready)
        try:
            await readable
        finally:
            self._loop.remove_reader(client)

    async def _first_byte(self, client: socket.socket) -> None:
        """Wait until there is one. NotTls: it is another's."""
        await self._readable(client)
        first = client.recv(1, socket.MSG_PEEK)
        if not first:
            raise ConnectionResetError("it left")
        if first[0] != _HANDSHAKE:
            raise NotTls

    def _refuse(self, client: socket.socket) -> None:
        """A word to those that speak no TLS, as far as their socket takes it at once."""
        try:
            client.send(self._refusal)
            client.shutdown(socket.SHUT_WR)
            client.recv(65536)  # what is unread would have the system send RST, and drop the word
        except OSError:
            return

    def _handshake_failed(self, peer: str, why: str) -> None:
        if count := self._seldom("failed"):
            event(log, logging.INFO, "handshake failed", peer=peer, error=why, count=count)

    def _header_failed(self, peer: str, why: str) -> None:
        # Balancers that look whether somebody listens connect, and leave without a word.
        if why and (count := self._seldom("no header")):
            event(log, logging.WARNING, "no PROXY header", peer=peer, error=why, count=count)

    def _seldom(self, what: str) -> int:
        """How often it has happened since it was logged last; 0: it is too early for a line."""
        count = self._failed[what] = self._failed.get(what, 0) + 1
        now = self._loop.time()
        if now < self._told.get(what, 0.0):
            return 0
        self._told[what] = now + TELL_S
        self._failed[what] = 0
        return count


def shown_peer(client: socket.socket) -> str:
    """The other end's address, for a log line."""
    try:
        host, port = client.getpeername()[:2]
    except (OSError, ValueError):
        return "unknown"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
