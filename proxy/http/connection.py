"""One client of HTTP/1.1: its requests are answered one after the other, in order.

    HEAD ─▶ BUSY ─▶ HEAD ─▶ ...      a task reads the body, runs the handler and writes the answer
      ╰──────┴────▶ LEAVING ─▶ GONE  the answer is out, and so is our FIN: what comes is dropped

Owns the socket and the bounds in bytes and in time. What a head may be is head.py's; bodies are
h11's, one parser for each: without one for what has no body, a GET takes 30 % less of the CPU. What
a request means is the handler's, which never raises. A client that leaves does not end its handler:
what that does is done for others too (a load, a write), and half of it would be worse."""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, cast

import h11

from ..change import Change
from ..headers import Headers
from ..log import event
from .answers import failure
from .head import NO_HTTP, BadHead, Head, take_head
from .messages import BodyTooLarge, Request, Response, split_target

log = logging.getLogger(__name__)

KEEPALIVE_S: Final = 75  # for the whole head of a next request
FIRST_S: Final = 30  # for the head of a connection's first request
LINGER_S: Final = 10  # for what a client still sends that has its answer
WRITE_S: Final = 30  # without any byte of an answer being taken
AHEAD_MAX: Final = 256 * 1024  # bytes that nobody has asked for yet

GOES_ON: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class State(enum.Enum):
    HEAD = enum.auto()
    BUSY = enum.auto()
    LEAVING = enum.auto()
    GONE = enum.auto()


MOVES: Final = {
    State.HEAD: {State.BUSY, State.LEAVING, State.GONE},
    State.BUSY: {State.HEAD, State.LEAVING, State.GONE},
    State.LEAVING: {State.GONE},
    State.GONE: set[State](),
}


class Connection(asyncio.Protocol):
    """``connections`` is the set of those that are open, kept by each of them."""

    def __init__(
        self,
        handler: Callable[[Request], Awaitable[Response]],
        connections: set[Connection],
    ) -> None:
        self._handler = handler
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._state = State.HEAD
        self._ends = False  # no request after the one that is being answered
        self._given_up = False  # on the rest of a body
        self._buffer = bytearray()
        self._parser: h11.Connection | None = None  # of a body that has not come whole
        self._changed = Change()
        self._written = True  # the transport takes more
        self._paused = False
        self.task: asyncio.Task[None] | None = None  # kept until the next one: tasks are held
        self.gone: asyncio.Future[None] = self._loop.create_future()

    def __repr__(self) -> str:
        return f"<Connection {self._state.name} buffered={len(self._buffer)}>"

    def _become(self, state: State) -> None:
        assert state in MOVES[self._state], f"{self._state.name} -> {state.name}"
        self._state = state

    # --- The loop's calls -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have asyncio.Transport's methods, not its class.
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self._timer = self._loop.call_later(FIRST_S, self.close)
        self._local = isinstance(transport.get_extra_info("sockname"), str)

    def data_received(self, data: bytes) -> None:
        if self._state is State.HEAD:
            self._buffer += data
            self._next()
        elif self._state is State.BUSY:
            self._buffer += data
            self._changed.tell()
            if len(self._buffer) > AHEAD_MAX and not self._paused:
                self._paused = True
                self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._written = False

    def resume_writing(self) -> None:
        self._written = True
        self._changed.tell()

    def connection_lost(self, exc: Exception | None) -> None:
        self._become(State.GONE)
        self._timer.cancel()
        self._connections.discard(self)
        self.gone.set_result(None)
        self._buffer.clear()
        self._changed.tell()

    # --- Its end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Now, whatever is under way; what has been written goes out, if it is taken."""
        if self._state is not State.GONE:
            self._timer.cancel()
            self._transport.close()
            self._timer = self._loop.call_later(WRITE_S, self._transport.abort)

    def abort(self) -> None:
        """Now, and what was written and not taken is lost."""
        if self._state is not State.GONE:
            self._transport.abort()

    def finish(self) -> None:
        """Close as soon as no request is being answered."""
        self._ends = True
        if self._state is not State.BUSY:
            self.close()

    def give_up_body(self) -> None:
        """A body that has not come whole will not be waited for, nor another request."""
        self._ends = self._given_up = True
        self._changed.tell()

    def _leave(self) -> None:
        """FIN. A close with unread bytes would have the kernel send RST, which may overtake the
        answer; so they are read, for a while, and dropped."""
        self._become(State.LEAVING)
        self._timer.cancel()
        self._buffer.clear()
        self._resume_reading()
        if self._transport.is_closing() or not self._transport.can_write_eof():
            self.close()  # TLS ends both ways at once
            return
        self._timer = self._loop.call_later(LINGER_S, self.close)
        self._transport.write_eof()

    # --- Requests ---------------------------------------------------------------------------------

    def _next(self) -> None:
        """Begin with the request whose head is there."""
        try:
            head = take_head(self._buffer)
            request = None if head is None else self._request(head)
        except BadHead as error:
            self._refuse(error)
            return
        except h11.RemoteProtocolError:
            self._refuse(BadHead(400, NO_HTTP))
            return
        if request is None:
            return
        self._timer.cancel()
        self._become(State.BUSY)
        self.task = self._loop.create_task(self._serve(request))

    def _request(self, head: Head) -> Request:
        headers = Headers(head.rows)
        said = headers.all("connection")
        words = {word.strip().lower() for word in ",".join(said).split(",")} if said else ()
        self._version = head.version
        self._keeps = "keep-alive" in words if head.version == "1.0" else "close" not in words
        if head.has_body:
            self._parser = h11.Connection(h11.SERVER)
            self._parser.receive_data(head.raw)
            self._parser.next_event()
        path, query = split_target(head.target)
        return Request(head.method, path, query, headers, self._read, self._local)

    async def _serve(self, request: Request) -> None:
        try:
            expected = request.headers.get("Expect", "").lower()
            if expected not in ("", "100-continue"):
                response = failure(417, "Expect is 100-continue or nothing")
            else:
                if expected and self._version == "1.1" and not self._transport.is_closing():
                    self._transport.write(GOES_ON)
                response = await self._handler(request)
            await self._answer(request.method, response)
        except ConnectionError:
            self.close()
        except asyncio.CancelledError:
            self.close()
            raise
        except Exception:
            log.exception("an HTTP request failed")
            self.close()

    async def _answer(self, method: str, response: Response) -> None:
        """Write it, and go on with what comes behind it, or leave. ConnectionError: the client
        has left."""
        if self._transport.is_closing():
            raise ConnectionError
        stays = self._keeps and not self._ends
        connection = None
        if stays != (self._version == "1.1"):
            connection = "keep-alive" if stays else "close"
        head = response.head(self._version, connection, int(time.time()))
        # In one piece where it is small: two writes would be two packets.
        body = b"" if method == "HEAD" else response.body
        if len(body) < 65536:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        await self._flushed()
        if stays and await self._rest_dropped() and self._goes_on():
            self._become(State.HEAD)
            self._timer = self._loop.call_later(KEEPALIVE_S, self.close)
            self._resume_reading()
            self._next()
        elif self._state is State.BUSY and (self._buffer or self._parser is not None):
            self._leave()
        else:
            self.close()

    def _goes_on(self) -> bool:
        return not self._ends and self._state is State.BUSY

    async def _flushed(self) -> None:
        """The transport takes more; one whose client takes nothing for long is cut."""
        left = 0
        while not self._written:
            left = self._transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(WRITE_S):
                    await self._change()
            except TimeoutError:
                if self._transport.get_write_buffer_size() < left:
                    continue
                self._transport.abort()
                raise ConnectionAbortedError from None

    async def _rest_dropped(self) -> bool:
        """Whether the body that nobody read came to its end, so that a request may follow."""
        if self._parser is None:
            return True
        try:
            async with asyncio.timeout(LINGER_S):
                while await self._piece() is not None:
                    pass
        except (TimeoutError, ConnectionError):
            return False
        return True

    def _refuse(self, error: BadHead) -> None:
        """Bytes that are no request: each port scan sends some."""
        # A host and a port; nothing by a unix socket, and where it has left already.
        name = cast("tuple[str, int] | None", self._transport.get_extra_info("peername"))
        peer = name[0] if name else None
        event(log, logging.DEBUG, "bad HTTP request", peer=peer, error=error)
        response = failure(error.status, str(error))
        self._transport.write(response.head("1.1", "close", int(time.time())) + response.body)
        self._leave()

    # --- Bodies -----------------------------------------------------------------------------------

    async def _read(self, most: int) -> bytes:
        """The body of the request that is being answered."""
        body = bytearray()
        while (piece := await self._piece()) is not None:
            body += piece
            if len(body) > most:
                raise BodyTooLarge
        return bytes(body)

    async def _piece(self) -> bytes | None:
        """What has come of the body, or what comes next; None: it is at its end."""
        while True:
            if self._parser is None:
                return None
            try:
                found = self._parser.next_event()
            except h11.RemoteProtocolError as error:
                self._keeps = False
                raise ConnectionError("the body is not as HTTP has it") from error
            if isinstance(found, h11.Data):
                return bytes(found.data)
            if isinstance(found, h11.EndOfMessage):
                self._buffer[:0] = self._parser.trailing_data[0]
                self._parser = None
                return None
            await self._feed()

    async def _feed(self) -> None:
        """Give the parser what has come, or wait for it."""
        assert self._parser is not None
        if not self._buffer and not self._given_up:
            self._resume_reading()
            await self._change()
        if self._given_up or self._state is State.GONE:
            self._keeps = False
            raise ConnectionError("the body did not come whole")
        if self._buffer:  # nothing would be the end of all
            self._parser.receive_data(bytes(self._buffer))
            self._buffer.clear()

    # --- Waiting ----------------------------------------------------------------------------------

    async def _change(self) -> None:
        """Something has come, has been taken, or the connection is lost. ConnectionError: it is
        already."""
        if self._state is State.GONE:
            raise ConnectionError("the client has left")
        await self._changed.wait()

    def _resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
