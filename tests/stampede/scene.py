"""What the tests of loads share: loaders that leave a trace, proxies that have them, many clients.

A loader writes a line for each call, with its process, to a file: the count holds across processes
and kill -9. Versions stand in a file that all map: a writer bumps its key's before it writes, a
loader tags what it returns with the one it began under."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import hiredis
import pytest

from tests.servers import HOST, Kind, Process, nearhit, server_binary, upstream
from tests.wire.link import command

VERSIONS: Final = 1 << 18

LOADERS: Final = """
[loaders.slow]
match = "slow:{id}"
call = "things:slow"
read_through = true

[loaders.fail]
match = "fail:{id}"
call = "things:fail"

[loaders.hang]
match = "hang:{id}"
call = "things:hang"
timeout = "300ms"

[loaders.dies]
match = "dies:{id}"
call = "things:long"
timeout = "1s"
lease = "1s"

[loaders.tagged]
match = "tagged:{id}"
call = "things:item"
concurrency = 1000
ttl = "10m"
read_through = true
tags = ["of {id}", "all"]

[loaders.item]
match = "item:{id}"
call = "things:item"
concurrency = 1000
ttl = "10m"
read_through = true
"""
THINGS: Final = """
import asyncio, mmap, os, random

def note(what):
    out = os.open(os.environ["LOADS"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(out, f"{os.getpid()} {what}\\n".encode())
    os.close(out)

async def slow(id):
    note("slow:" + id)
    await asyncio.sleep(0.05)
    return "value of " + id

async def fail(id):
    note("fail:" + id)
    await asyncio.sleep(0.05)
    raise ValueError("no database")

async def hang(id):
    note("hang:" + id)
    await asyncio.sleep(3600)

async def long(id):
    note("dies:" + id)
    await asyncio.sleep(0.4)
    return "value of " + id

_file = open(os.environ["VERSIONS"], "r+b")
versions = memoryview(mmap.mmap(_file.fileno(), 0)).cast("Q")

async def item(id):
    seen = versions[int(id)]
    await asyncio.sleep(random.uniform(0, 0.02))
    return f"l{seen}"
"""


@dataclass
class Scene:
    """A folder with loaders, a server, and proxies in front of it."""

    folder: Path
    server: Process
    proxies: list[Process] = field(default_factory=list)
    at: int = 0  # the next version that nobody has used

    def __post_init__(self) -> None:
        (self.folder / "things.py").write_text(THINGS)
        (self.folder / "nearhit.toml").write_text(LOADERS)
        (self.folder / "loads").touch()
        path = self.folder / "versions"
        path.write_bytes(bytes(8 * VERSIONS))
        with path.open("r+b") as file:
            self.versions = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")

    @property
    def env(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.folder), os.environ.get("PYTHONPATH", "")])
        files = {"LOADS": self.folder / "loads", "VERSIONS": self.folder / "versions"}
        return {"PYTHONPATH": path, **{name: str(file) for name, file in files.items()}}

    def proxy(self, stack: ExitStack, *flags: str) -> Process:
        config = str(self.folder / "nearhit.toml")
        url = f"redis://{HOST}:{self.server.port}"
        process = stack.enter_context(nearhit(url, "--config", config, *flags, env=self.env))
        self.proxies.append(process)
        return process

    def loads(self, what: str) -> list[int]:
        """The process of each load of a key."""
        lines = [line.split(" ", 1) for line in (self.folder / "loads").read_text().splitlines()]
        return [int(pid) for pid, key in lines if key == what]

    def unused(self) -> int:
        """An item of whom nobody has asked."""
        self.at += 1
        return self.at % VERSIONS


@contextmanager
def scene(kind: Kind, folder: Path, proxies: int = 2) -> Iterator[Scene]:
    if server_binary(kind) is None:
        pytest.skip(f"no {kind} server binary on this machine")
    with ExitStack() as stack:
        here = Scene(folder, stack.enter_context(upstream(kind)))
        for _ in range(proxies):
            here.proxy(stack)
        yield here


class Caller:
    """One connection, one question at a time. hiredis.ReplyError values are errors of the
    server; ``lost``: it closed."""

    lost: Final = ConnectionError("closed")

    def __init__(self, port: int, resp: int = 2) -> None:
        self._port = port
        self._resp = resp
        self._parser = hiredis.Reader()

    async def __aenter__(self) -> Self:
        self._in, self._out = await asyncio.open_connection(HOST, self._port, limit=1 << 24)
        if self._resp != 2:
            await self.ask("HELLO", self._resp)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None
    ) -> None:
        self._out.close()
        with contextlib.suppress(ConnectionError):
            await self._out.wait_closed()  # until then it has not left

    def send(self, *words: bytes | str | int) -> None:
        self._out.write(command(*words))

    async def read(self) -> Any:
        while (reply := self._parser.gets()) is False:
            try:
                data = await self._in.read(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                return self.lost
            self._parser.feed(data)
        return reply

    async def ask(self, *words: bytes | str | int) -> Any:
        self.send(*words)
        return await self.read()

    async def all(self, requests: Sequence[Sequence[bytes | str | int]]) -> list[Any]:
        """In one write."""
        self._out.write(b"".join(command(*words) for words in requests))
        return [await self.read() for _ in requests]


async def crowd(ports: Sequence[int], count: int, *words: bytes | str | int) -> list[Any]:
    """Many callers at once of the same request, their answers, by turns over the ports."""
    async with Callers([ports[at % len(ports)] for at in range(count)]) as callers:
        return list(await asyncio.gather(*(one.ask(*words) for one in callers)))


class Callers:
    """Callers that are connected, and closed together: two of RESP2, two of RESP3, and so on."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._all = [Caller(port, 2 + at // 2 % 2) for at, port in enumerate(ports)]

    async def __aenter__(self) -> list[Caller]:
        for one in self._all:
            await one.__aenter__()
        return self._all

    async def __aexit__(
        self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None
    ) -> None:
        for one in self._all:
            await one.__aexit__(kind, why, at)
