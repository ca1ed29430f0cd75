"""``nearhit check --connect``: dials what the settings name, as serving would: the upstream
(look.py says what it is), lock servers, and the servers that loaders ask.

Owns what is dialled, and what becomes of the exit code. A loader's HTTP server is connected to,
with TLS where its URL has it, and not asked: only a key would tell what for. Imported where it is
needed only: it brings an event loop and a client library along."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from ..errors import ExitCode, StartError
from ..keys.captures import UrlTemplate
from ..process.embedded import find_server
from ..settings.config import Config
from ..settings.loaders import LoaderSettings
from .check import ANSWERS, lock_servers_of
from .look import LOOK_S, line_of, look
from .reach import linked

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(slots=True)
class Dialled:
    """Lines about what was found, one about each thing that is not well, and the exit code."""

    lines: list[str] = field(default_factory=list[str])
    whys: list[str] = field(default_factory=list[str])
    code: ExitCode = ExitCode.ALL_DONE

    def fail(self, why: str, code: ExitCode) -> None:
        """Tell it; the code is that of the first."""
        self.whys.append(why)
        self.code = self.code or code


def dialled(config: Config) -> Dialled:
    """Dial all of it, one after the other."""
    found = Dialled()
    _upstream(config, found)
    if config.lock_servers:
        for name, state in asyncio.run(lock_servers_of(config)):
            found.lines.append(line_of("lock server", name, state))
            if state != ANSWERS:
                why = f"{config.given['lock_servers'].place}: {name}: {state}"
                found.fail(why, ExitCode.UNREACHABLE)
    for loader in config.loaders:
        _loader(loader, found)
    return found


def _upstream(config: Config, found: Dialled) -> None:
    place = config.given["upstream"].place
    if config.url is None:
        try:
            found.lines.append(line_of("server", "its own", str(find_server())))
        except StartError as error:
            found.fail(f"{place}: {error}", error.exit_code)
        return
    seen = look(config, config.url)
    found.lines += seen.lines
    if seen.why:
        found.fail(f"{place}: {seen.why}", seen.code)


def _loader(loader: LoaderSettings, found: Dialled) -> None:
    for url in (loader.url, loader.batch_url):
        if url is not None:
            _dial(loader.name, url, found)
    if loader.redis is not None:
        try:
            with linked(loader.redis, patience=LOOK_S):
                pass
        except StartError as error:
            _tell(loader.name, found, str(error), error.exit_code)
        else:
            _tell(loader.name, found, ANSWERS)


def _dial(name: str, url: UrlTemplate, found: Dialled) -> None:
    parts = urlsplit(url.literals[0])
    host = parts.hostname or ""
    try:
        with contextlib.ExitStack() as stack:
            address = host, parts.port or _PORTS[parts.scheme]
            link = stack.enter_context(socket.create_connection(address, LOOK_S))
            if parts.scheme == "https":
                context = ssl.create_default_context()
                stack.enter_context(context.wrap_socket(link, server_hostname=host))
    except OSError as error:
        _tell(name, found, f"{url.host}: {error.strerror or error}", ExitCode.UNREACHABLE)
    else:
        _tell(name, found, f"{url.host} accepts connections")


def _tell(name: str, found: Dialled, state: str, code: ExitCode = ExitCode.ALL_DONE) -> None:
    found.lines.append(line_of("loader", name, state))
    if code:
        found.fail(f"[loaders.{name}]: {state}", code)
