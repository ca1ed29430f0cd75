"""What tests of a whole server share: its settings, and clients of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from nearhit.proxy.resp.requests import encode
from nearhit.proxy.settings.config import Config, load

SETTINGS = {"drain_timeout": "5s", "http": "off", "stats_key": "off"}


def settings(**given: str) -> Config:
    return load({**SETTINGS, **given}, {}, lambda path: "")


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, *words: bytes) -> bytes:
        self.writer.write(encode(words))
        return await self.reader.readline()

    async def ended(self) -> bool:
        """Whether the other side has closed it, once it has."""
        return await self.reader.read() == b""

    def leave(self) -> None:
        self.writer.close()


async def connected(path: str) -> Client:
    return Client(*await asyncio.open_unix_connection(path))


async def until_info(client: Client, section: bytes, says: bytes) -> None:
    """Ask for a section of INFO until it says so."""
    async with asyncio.timeout(10):
        found = b""
        while says not in found:
            size = int((await client.ask(b"INFO", section))[1:])
            found = await client.reader.readexactly(size + 2)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


class Mute(asyncio.Protocol):
    """A server that takes connections and says nothing."""

    def __init__(self, came: asyncio.Event, links: list[asyncio.BaseTransport]) -> None:
        self.came = came
        self.links = links

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.links.append(transport)
        self.came.set()
