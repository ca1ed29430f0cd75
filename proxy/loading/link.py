"""One connection to an HTTP server, and the request that is on it: one at a time, by h11.

Owns the socket. Which connection a request takes is http.py's; how long it may take is the load's,
whose end closes the connection if the answer has not come whole."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, cast

import h11

from ..change import Change
from .http_errors import HttpError, Unanswered

HEAD_MAX: Final = 64 * 1024
AHEAD_MAX: Final = 256 * 1024  # bytes of a body that nobody has asked for yet


class Link(asyncio.Protocol):
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
        self._ahead = 0
        self._paused = False
        self._answered = False  # something of an answer to the request has come
        self._lost: Exception | None = None  # what the connection broke by
        self._ended = False  # nothing comes any more
        self._changed = Change()
        self.used = 0  # requests before this one

    def __repr__(self) -> str:
        return f"<Link {self._parser.our_state} used={self.used}>"

    # --- The loop's calls -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have asyncio.Transport's methods, not its class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._parser.our_state is h11.IDLE:
            self.close()  # nobody asked
            return
        self._answered = True
        self._parser.receive_data(data)
        self._ahead += len(data)
        if not self._changed.awaited and self._ahead > AHEAD_MAX and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._changed.tell()

    def eof_received(self) -> None:
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc
        self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            if self._lost is None:
                self._parser.receive_data(b"")
        self._changed.tell()

    # --- A request --------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return not self._ended and not self._transport.is_closing()

    def close(self) -> None:
        self._ended = True
        self._transport.abort()
        self._changed.tell()

    async def ask(
        self, method: str, target: str, headers: Sequence[tuple[str, str]], body: bytes | None
    ) -> h11.Response:
        """The head of the answer. Unanswered, HttpError; ValueError: a header cannot be sent."""
        self._answered = False
        try:
            head = self._parser.send(
                h11.Request(
                    method=method,
                    target=target,
                    headers=[(n.encode("ascii"), v.encode("utf-8")) for n, v in headers],
                )
            )
        except h11.LocalProtocolError:
            raise ValueError("a header cannot be sent") from None
        data = b"" if body is None else self._parser.send(h11.Data(data=body)) or b""
        self._transport.write((head or b"") + data + (self._parser.send(h11.EndOfMessage()) or b""))
        while True:
            found = await self._event()
            if isinstance(found, h11.Response):
                return found
            if not isinstance(found, h11.InformationalResponse):
                raise HttpError("the server's answer is not HTTP")

    async def piece(self) -> bytes | None:
        """What has come of the body, or comes next; None: that was all. HttpError: it broke off."""
        found = await self._event()
        return bytes(found.data) if isinstance(found, h11.Data) else None

    def ready(self) -> bool:
        """Whether another request may follow, which it is prepared for then. What has come of a
        body that nobody read is dropped; nothing is waited for."""
        if not self.is_open or self._parser.our_state is not h11.DONE:
            return False
        try:
            while self._parser.their_state is h11.SEND_BODY:
                if self._parser.next_event() is h11.NEED_DATA:
                    return False
        except h11.RemoteProtocolError:
            return False
        if self._parser.their_state is not h11.DONE or self._parser.trailing_data[0]:
            return False
        self._parser.start_next_cycle()
        self._ahead = 0
        self._resume()
        self.used += 1
        return True

    async def _event(self) -> h11.Event:
        while True:
            try:
                found = self._parser.next_event()
            except h11.RemoteProtocolError as error:
                raise self._failure() from error
            if found is h11.NEED_DATA:
                self._ahead = 0
                if self._ended:
                    raise self._failure()
                self._resume()
                await self._changed.wait()
            elif isinstance(found, h11.ConnectionClosed) or found is h11.PAUSED:
                raise self._failure()
            else:
                return cast(h11.Event, found)

    def _failure(self) -> HttpError:
        if self._ended and not self._answered:
            return Unanswered("the server closed the connection without an answer")
        if self._ended:
            return HttpError("the answer broke off")
        return HttpError("the server's answer is not HTTP")

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
