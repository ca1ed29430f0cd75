"""Loaders for the tests of commands: a function whose calls leave a trace, a web server, and a
proxy that has both."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from redis import Redis

from tests.servers import HOST, Kind, nearhit, server_binary, upstream
from tests.web import QuietHandler, serving
from tests.wire.link import Link

BIG: Final = 10 * 1024 * 1024
SETTINGS: Final = """
[loaders.users]
match = "user:{{id}}"
call = "people:load"
ttl = "100s"
negative_ttl = "300ms"
backoff = "300ms"
timeout = "400ms"

[loaders.reads]
match = "read:{{id}}"
call = "people:load"
negative_ttl = "300ms"
backoff = "300ms"
read_through = true

[loaders.tagged]
match = "tagged:{{id}}"
call = "people:load"
tags = ["one:{{id}}", "all"]

[loaders.graceful]
match = "soft:{{id}}"
call = "people:load"
ttl = "100s"
grace = "50s"
tags = ["soft"]

[loaders.versions]
match = "version:{{id}}"
call = "people:version"
tags = ["version{{id}}"]
timeout = "9s"
[loaders.strict]
match = "strict:{{id}}"
call = "people:load"
fail_open = false

[loaders.many]
match = "many:{{id}}"
call = "people:load_many"
negative_ttl = "300ms"
backoff = "300ms"
batch = 100

[loaders.posted]
match = "posted:{{id}}"
url = "http://127.0.0.1:{port}/{{id}}"
batch_url = "http://127.0.0.1:{port}/many"

[loaders.web]
match = "web:{{id}}"
url = "http://127.0.0.1:{port}/{{id}}"
honour_cache_control = true
"""
PEOPLE: Final = f"""
import asyncio, os, random

async def version(id):
    with open(os.environ["LOADS"] + ".version") as source:
        value = source.read()
    await asyncio.sleep(random.random() / 100)
    return value

async def load(id):
    out = os.open(os.environ["LOADS"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(out, id.encode("utf-8", "surrogateescape") + b"\\n")
    os.close(out)
    if id == "nobody":
        return None
    if id == "broken":
        raise ValueError("no\\r\\ndatabase")
    if id == "hang":
        await asyncio.sleep(3600)
    if id.startswith("slow"):
        await asyncio.sleep(0.1)
    while id.startswith("held") and not os.path.exists(os.environ["LOADS"] + ".go"):
        await asyncio.sleep(0.005)
    if id == "big":
        return b"b" * {BIG}
    if id == "json":
        return {{"name": "Jo"}}
    return "user " + id

def load_many(id):
    with open(os.environ["LOADS"], "a") as out:
        out.write(f"many {{len(id)}}\\n")
    if "all-broken" in id:
        raise ValueError("no database")
    return [
        None if one == "nobody" else ValueError("broken") if one == "broken" else "user " + one
        for one in id
    ]
"""


class Web(QuietHandler):
    def do_GET(self) -> None:
        folder: Path = self.server.folder  # type: ignore[attr-defined]
        with (folder / "loads").open("a") as log:
            log.write(self.path.lstrip("/") + "\n")
        status = {"/none": 404, "/down": 503}.get(self.path, 200)
        body = b"page" + self.path.encode()
        self.send_response(status)
        if self.path == "/short":
            self.send_header("Cache-Control", "max-age=10")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        folder: Path = self.server.folder  # type: ignore[attr-defined]
        keys = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with (folder / "loads").open("a") as log:
            log.write(f"posted {len(keys)}\n")
        found = {key: {"key": key} for key in keys if not key.endswith("nobody")}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def web(folder: Path) -> Iterator[int]:
    with serving(Web) as server:
        server.folder = folder  # type: ignore[attr-defined]
        yield server.server_address[1]


@dataclass
class Cache:
    """A proxy with loaders, the server behind it, and what was loaded."""

    folder: Path
    proxy: int
    server: Redis

    def loads(self, name: str) -> int:
        """How often a thing was loaded."""
        return (self.folder / "loads").read_text().splitlines().count(name)

    def release(self) -> None:
        """Loads of ``held...`` may end, until all is clean again."""
        (self.folder / "loads.go").touch()

    def link(self, resp: int = 2) -> Link:
        link = Link(self.proxy)
        if resp == 3:
            link.ask("HELLO", 3)
        return link

    def everything(self) -> dict[bytes, tuple[object, bool]]:
        """Every key with its contents, and whether it ends: equal where nothing has changed."""
        keys = self.server.keys()
        return {key: (self.server.dump(key), self.server.pttl(key) > 0) for key in keys}

    def clean(self) -> None:
        self.server.flushall()
        # The server tells the proxy of it, which voids what is being computed: the answer to what
        # is asked next, on the same connection, comes behind that.
        with closing(self.link()) as link:
            link.ask("GET", "clean")
        (self.folder / "loads").write_text("")
        (self.folder / "loads.go").unlink(missing_ok=True)


def settings(folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Flags and environment of a proxy that has the loaders."""
    (folder / "people.py").write_text(PEOPLE)
    (folder / "nearhit.toml").write_text(SETTINGS.format(port=port))
    (folder / "loads").touch()
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    env = {"PYTHONPATH": path, "LOADS": str(folder / "loads")}
    return ["--config", str(folder / "nearhit.toml"), "--stats-key", "off"], env


@contextmanager
def cache(kind: Kind, folder: Path, *options: str) -> Iterator[Cache]:
    if server_binary(kind) is None:
        pytest.skip(f"no {kind} server binary on this machine")
    with ExitStack() as stack:
        flags, env = settings(folder, stack.enter_context(web(folder)))
        server = stack.enter_context(upstream(kind, *options))
        url = f"redis://{HOST}:{server.port}"
        proxy = stack.enter_context(nearhit(url, *flags, env=env))
        direct = stack.enter_context(closing(Redis(host=HOST, port=server.port)))
        yield Cache(folder, proxy.port, direct)
