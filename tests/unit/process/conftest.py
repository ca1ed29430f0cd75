"""A server to stand before, and an address to listen on."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from nearhit.proxy.process.embedded import Embedded, find_server
from nearhit.proxy.process.listen import listening
from nearhit.proxy.settings.address import Unix

from .serving import Client, connected


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    """The URL of a server."""
    with Embedded(find_server()) as embedded:
        yield embedded.url


@pytest.fixture
def door(tmp_path: Path) -> Iterator[socket.socket]:
    with listening([Unix(str(tmp_path / "s"))]) as (one,):
        yield one


@pytest.fixture
async def paused(valkey: str) -> AsyncIterator[Client]:
    """A connection to the server, which answers no write before CLIENT UNPAUSE."""
    direct = await connected(valkey.removeprefix("unix://"))
    assert await direct.ask(b"CLIENT", b"PAUSE", b"3600000", b"WRITE") == b"+OK\r\n"
    yield direct
    await direct.ask(b"CLIENT", b"UNPAUSE")
    direct.leave()
