"""The HTTP API over a scripted proxy, and a client that sends what the test says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from nearhit.proxy.errors import ServerError
from nearhit.proxy.http.api import Api, Http
from nearhit.proxy.http.hosts import Hosts
from nearhit.proxy.resp.replies import Value


class Proxy:
    """What stands behind the API, by script."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.reply: Value | Exception = None
        self.ran: list[list[bytes]] = []
        self.pong: Callable[[], Awaitable[object]] = self.answer
        self.gate: asyncio.Event | None = None  # what a command waits for
        self.began = asyncio.Event()

    async def answer(self) -> str:
        return "PONG"

    async def run(self, words: Sequence[bytes]) -> Value:
        self.ran.append(list(words))
        self.began.set()
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    async def get(self, key: bytes) -> bytes | None:
        if self.reply and isinstance(self.reply, ServerError):
            raise self.reply
        return self.values.get(key)

    async def ping(self) -> object:
        return await self.pong()

    @property
    def api(self) -> Api:
        return Api(
            self.run,
            self.get,
            self.ping,
            lambda: b"nearhit_hits_total 1.0\n",
            "text/plain",
            Hosts(),
        )


@contextlib.asynccontextmanager
async def serving(proxy: Proxy | Api) -> AsyncIterator[tuple[Http, int]]:
    sock = socket.create_server(("127.0.0.1", 0))
    served = Http(proxy if isinstance(proxy, Api) else proxy.api)
    await served.start([sock])
    try:
        yield served, sock.getsockname()[1]
    finally:
        await served.stop(1)


class Raw:
    """A client that sends what the test says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, port: int) -> Raw:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, text: str) -> None:
        self.writer.write(text.encode("latin-1"))

    async def begin(self, path: str, length: int) -> None:
        """The head of a POST; its handler waits for the body when this returns."""
        self.send(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n")
        self.send("Expect: 100-continue\r\n\r\n")
        assert await self.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"

    async def answer(self) -> tuple[int, str, str]:
        """(status, head, body)"""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        size = next(
            int(row.split(":")[1])
            for row in head.lower().split("\r\n")
            if row.startswith("content-length:")
        )
        return int(head.split()[1]), head, (await self.reader.readexactly(size)).decode()

    async def closed(self) -> bool:
        return await self.reader.read(1) == b""

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def ask(port: int, head: str) -> tuple[int, str, str]:
    one = await Raw.to(port)
    try:
        one.send(f"{head}\r\nHost: localhost\r\n\r\n")
        return await one.answer()
    finally:
        await one.close()
