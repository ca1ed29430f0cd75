"""What ``nearhit check`` looks for beyond the settings' own text: files and functions in them.

Opens the files and imports the functions as serving would: no address is bound, and no server is
asked but Sentinels, who the master is. main.py calls ``mistakes_in`` and ``found_by``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from ..errors import StartError
from ..settings.address import Kind, Upstream
from ..settings.config import Config

NO_UPSTREAM: Final = (
    "env = production and no upstream named: name yours with --upstream URL (REDIS_URL), or have a "
    "private Valkey, empty at each start, with --upstream embedded"
)


def mistakes_in(config: Config) -> list[str]:
    """A line for each thing that would end the proxy at its start, its place first."""
    return [*_in_upstream(config), *_in_loaders(config)]


def found_by(config: Config) -> Iterator[str]:
    """A line about what stands behind the upstream's URL, where Sentinels know. That they do not,
    for now, would not end the proxy."""
    if config.url is None or (upstream := Upstream.parse(config.url)).kind is not Kind.SENTINEL:
        return
    import asyncio

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

    logging.getLogger().addHandler(logging.NullHandler())  # what is found says it all
    yield asyncio.run(look())


def _in_upstream(config: Config) -> Iterator[str]:
    if config.forgot_upstream:
        yield NO_UPSTREAM
    if config.url is None or not (upstream := Upstream.parse(config.url)).tls:
        return
    # Imported here, as below: most settings have no TLS and no loader, and need not pay for them.
    from ..upstream.tls import context_of

    try:
        context_of(upstream)
    except StartError as error:
        yield f"{config.given['upstream'].place}: {error}"


def _in_loaders(config: Config) -> Iterator[str]:
    if all(loader.call is None and loader.redis is None for loader in config.loaders):
        return
    from ..loading.loaders import mistakes_of

    yield from mistakes_of(config.loaders)
