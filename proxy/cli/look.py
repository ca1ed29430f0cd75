"""What ``nearhit check --upstream URL`` finds where it dials: a proxy is started that serves
nobody, and asks the server what it needs to know (process/inspection.py).

Owns how long is waited, and how what is not well ends the command. Imported where it is needed
only: it brings an event loop along."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..errors import ExitCode, ProxyError, StartError, UpstreamDown
from ..process.listen import Doors
from ..process.server import Server
from ..settings.config import Config

LOOK_S: Final = 3.0  # seconds for a server to say what it is


@dataclass(frozen=True, slots=True)
class Look:
    """Lines about what was found, and ``why`` that is not enough; empty where it is."""

    lines: Sequence[str]
    why: str = ""
    code: ExitCode = ExitCode.ALL_DONE


def look(config: Config, url: str) -> Look:
    """Dial the upstream, and ask it."""
    logging.getLogger().addHandler(logging.NullHandler())  # what is found says it all
    lines: list[str] = []
    try:
        # Whoever looks waits for a few attempts, not for as long as clients would.
        asyncio.run(_look(replace(config, env="development"), url, lines))
    except StartError as error:
        return Look(lines, str(error), error.exit_code)
    except ProxyError as error:
        why = f"{error}; see the URL, whether the server runs, and the network between"
        return Look(lines, why, ExitCode.UNREACHABLE)
    return Look(lines)


async def _look(config: Config, url: str, lines: list[str]) -> None:
    async with started(config, url) as server:
        if not server.answers:
            raise server.down or UpstreamDown(f"none in {LOOK_S:g} s")
        lines.append(line_of("server", server.version, "asked"))
        try:
            async with asyncio.timeout(LOOK_S):
                found = await server.inspected()
        except TimeoutError:
            raise UpstreamDown(f"no answer to INFO or ACL DRYRUN in {LOOK_S:g} s") from None
        lines += [line_of(one.name, one.value, one.remark) for one in found]


@contextlib.asynccontextmanager
async def started(config: Config, url: str) -> AsyncGenerator[Server]:
    """A proxy without clients, once the server has answered or is known to be away. UpstreamDown
    where neither is so in time; StartError."""
    config = replace(config, traces="off")  # nobody would read them
    server = Server(config, url)
    try:
        async with asyncio.timeout(LOOK_S):
            await server.start(Doors())
            if server.is_cluster.is_set():
                await server.give_way()
                server = Server(config, url, as_cluster=True)
                await server.start(Doors())
        yield server
    except TimeoutError:
        found = server.version.strip(", ")
        raise UpstreamDown(
            f"no answer in {LOOK_S:g} s" + (f" ({found})" if found else "")
        ) from None
    finally:
        server.hurry()
        await server.stop()


def line_of(name: str, value: str, remark: str) -> str:
    return f"{name} = {value}".ljust(40) + f"  # {remark}"
