"""What ``nearhit check`` looks for beyond the settings' own text: files and functions in them.

Opens the files and imports the functions as serving would. No address is bound; the upstream is
asked what it is, and Sentinels who the master is. main.py calls ``mistakes_in`` and ``found_by``;
where the command line names the upstream, look.py's ``look`` instead, and connect.py's ``dialled``
where all is to be dialled."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Final

from ..errors import ProxyError, StartError
from ..settings.address import Kind
from ..settings.config import Config

ANSWERS: Final = "answers"
NO_UPSTREAM: Final = (
    "env = production and no upstream named: name yours with --upstream URL (REDIS_URL), or have a "
    "private Valkey, empty at each start, with --upstream embedded"
)


def mistakes_in(config: Config) -> list[str]:
    """A line for each thing that would end the proxy at its start, its place first."""
    return [
        *_in_certificate(config),
        *_in_upstream(config),
        *_in_lock_servers(config),
        *_in_loaders(config),
        *_in_traces(config),
    ]


def found_by(config: Config) -> Iterator[str]:
    """A line about what stands behind the upstream's URL, and one for each lock server. That they
    do not answer, for now, would not end the proxy."""
    logging.getLogger().addHandler(logging.NullHandler())  # what is found says it all
    yield from _behind(config)
    if config.lock_servers:
        import asyncio

        for name, state in asyncio.run(lock_servers_of(config)):
            yield f"lock server = {name}".ljust(40) + f"  # {state}"


def _behind(config: Config) -> Iterator[str]:
    if config.url is None:
        return
    import asyncio

    if (upstream := config.behind(config.url)).kind is not Kind.SENTINEL:
        if found := asyncio.run(_server_of(config, config.url)):
            yield f"server = {found}".ljust(40) + "  # asked"
        return

    from ..upstream.dial import Retry
    from ..upstream.sentinel.master import Master

    async def look() -> str:
        master = Master(upstream, Retry(1))
        try:
            await master.watch.look()
        finally:
            master.sentinels.close()
        naming = master.watch.naming
        return (
            f"master = {'unknown' if naming is None else naming}".ljust(40) + f"  # {master.found}"
        )

    yield asyncio.run(look())


async def lock_servers_of(config: Config) -> Sequence[tuple[str, str]]:
    """Each one's name, and how it is: ANSWERS, or why it does not."""
    import asyncio

    from ..bounds import WaitingRoom
    from ..errors import LockBusy
    from ..process.lock_servers import LockServers
    from ..process.tasks import Tasks
    from ..stats.counters import Stats
    from ..upstream.dial import Retry
    from .look import LOOK_S

    loop = asyncio.get_running_loop()
    tasks = Tasks(loop)
    servers = LockServers(
        config.lock_servers,
        Retry(1),
        tasks.start,
        tasks.start,
        clock=loop.time,
        stats=Stats(),
        room=WaitingRoom(0, "locks", LockBusy),
    )
    try:
        return await servers.look(LOOK_S)
    finally:
        servers.close()
        await tasks.stop()


async def _server_of(config: Config, url: str) -> str:
    """What a server says that it is; empty where it does not answer in time."""
    from .look import started

    try:
        async with started(config, url) as server:
            return server.version if server.answers else ""
    except ProxyError:
        return ""
    except StartError as error:
        return f"unknown: {error}"


def _in_certificate(config: Config) -> Iterator[str]:
    if config.tls_cert is None:
        return
    from ..process.certificate import Certificate

    try:
        Certificate.of(config)
    except StartError as error:
        yield f"{config.given['tls_cert'].place}: {error}"


def _in_upstream(config: Config) -> Iterator[str]:
    if config.forgot_upstream:
        yield NO_UPSTREAM
    if config.url is None or not (upstream := config.behind(config.url)).tls:
        return
    # Imported here, as below: most settings have no TLS and no loader, and need not pay for them.
    from ..upstream.tls import context_of

    try:
        context_of(upstream)
    except StartError as error:
        yield f"{config.given['upstream'].place}: {error}"


def _in_lock_servers(config: Config) -> Iterator[str]:
    if not any(server.tls for server in config.lock_servers):
        return
    from ..upstream.tls import context_of

    for server in config.lock_servers:
        try:
            if server.tls:
                context_of(server)
        except StartError as error:
            yield f"{config.given['lock_servers'].place}: {server.host}:{server.port}: {error}"


def _in_loaders(config: Config) -> Iterator[str]:
    if all(loader.call is None and loader.redis is None for loader in config.loaders):
        return
    from ..loading.loaders import mistakes_of

    yield from mistakes_of(config.loaders)


def _in_traces(config: Config) -> Iterator[str]:
    from ..process.traced import maker_of

    try:
        maker_of(config.traces)
    except StartError as error:
        yield f"{config.given['traces'].place}: {error}"
