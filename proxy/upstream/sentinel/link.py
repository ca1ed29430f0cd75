"""One connection to a Sentinel: questions with a short deadline, or a subscription to its events.

A Sentinel is small and quick: what it does not answer in ``ANSWER`` seconds, it is asked again by a
new connection, or somebody else is. Speaks RESP2 and logs in with the Sentinels' own password. Owns
the socket; knows neither masters nor names."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, cast

import hiredis

from ...resp.requests import encode
from ...settings.address import Tcp

ANSWER: Final = 0.3  # seconds, to connect as for an answer
# What is read at most before it makes an answer: a master with 10,000 replicas has 5 MB.
ANSWER_MAX: Final = 16 * 1024 * 1024
QUESTIONS_MAX: Final = 1024

Told = Callable[[bytes, bytes], None]


class SentinelError(OSError):
    """The Sentinel answers with an error, or with what is no answer."""


class Link(asyncio.Protocol):
    """A connection that stands until it is closed, or fails: then every question fails. ``told``
    gets the channel and the text of each message, once it has subscribed."""

    def __init__(self, address: Tcp, told: Told | None = None) -> None:
        self.address = address
        self.gone = asyncio.get_running_loop().create_future()
        self._told = told
        self._wire: asyncio.Transport | None = None
        self._questions: deque[asyncio.Future[object]] = deque()
        self._reader = hiredis.Reader()
        self._unread = 0  # bytes since the last whole answer

    def __repr__(self) -> str:
        state = "gone" if self.gone.done() else "stands"
        return f"<Link {self.address} {state} asked={len(self._questions)}>"

    async def open(
        self,
        tls: ssl.SSLContext | None = None,
        login: Sequence[bytes] = (),
        *,
        seconds: float = ANSWER,
    ) -> None:
        """Connect and log in. OSError: it cannot be; TimeoutError is one too."""
        loop = asyncio.get_running_loop()
        host = self.address.host
        async with asyncio.timeout(seconds):
            await loop.create_connection(
                lambda: self,
                host,
                self.address.port,
                ssl=tls,
                server_hostname=host if tls else None,
            )
        if not login:
            return
        try:
            await self.ask(*login)
        except SentinelError as error:
            if "unknown command" in str(error):  # which repeats the password
                raise SentinelError("it knows no AUTH") from None
            raise

    @property
    def stands(self) -> bool:
        return self._wire is not None and not self.gone.done()

    async def ask(self, *words: bytes, seconds: float = ANSWER) -> object:
        """The answer to one question. OSError: there is none in time, which ends the connection, or
        it is an error (SentinelError)."""
        (answer,) = await self.ask_all([words], seconds=seconds)
        if isinstance(answer, hiredis.ReplyError):
            raise SentinelError(str(answer))
        return answer

    async def ask_all(
        self, questions: Sequence[Sequence[bytes]], *, seconds: float = ANSWER
    ) -> list[object]:
        """The answers to several, sent in one piece; errors as hiredis.ReplyError. OSError: they do
        not all come in time, which ends the connection."""
        if not self.stands or len(self._questions) > QUESTIONS_MAX:
            raise ConnectionResetError("the connection is gone")
        assert self._wire is not None
        loop = asyncio.get_running_loop()
        asked: list[asyncio.Future[object]] = [loop.create_future() for _ in questions]
        self._questions.extend(asked)
        self._wire.write(b"".join(map(encode, questions)))
        try:
            async with asyncio.timeout(seconds):
                answers = [await one for one in asked]
        except TimeoutError:
            self.close(TimeoutError(f"no answer in {seconds:g} s"))
            raise TimeoutError(f"no answer in {seconds:g} s") from None
        finally:
            for one in asked:  # whose asker is gone, or has met an error before
                if not one.cancelled() and not one.cancel():
                    one.exception()
        return answers

    def close(self, why: OSError | None = None) -> None:
        """End it; all that is asked fails."""
        if self._wire is not None:
            self._wire.abort()
        self._end(why or ConnectionResetError("the connection is closed"))

    def _end(self, why: OSError) -> None:
        if not self.gone.done():
            self.gone.set_result(None)
        questions, self._questions = self._questions, deque()
        for question in questions:
            if not question.done():
                question.set_exception(why)

    # --- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have asyncio.Transport's methods, not its class.
        self._wire = cast(asyncio.Transport, transport)
        if self.gone.done():
            self._wire.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(ConnectionResetError(str(exc) if exc is not None else "the connection is lost"))

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                self._unread = 0
                self._take(answer)
        except hiredis.ProtocolError:
            self.close(SentinelError("bytes that are not RESP"))
            return
        if self._unread > ANSWER_MAX:
            self.close(SentinelError("an answer that is too long"))

    def _take(self, answer: object) -> None:
        items = _items(answer)
        if self._told is not None and len(items) == 3 and items[0] == b"message":
            _, channel, text = items
            if isinstance(channel, bytes) and isinstance(text, bytes):
                self._told(channel, text)
            return
        if not self._questions:
            self.close(SentinelError("an answer that nobody asked for"))
            return
        question = self._questions.popleft()
        if not question.done():
            question.set_result(answer)


def _items(answer: object) -> list[object]:
    return cast("list[object]", answer) if isinstance(answer, list) else []
