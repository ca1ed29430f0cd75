"""What ``nearhit check`` looks for beyond the settings' own text: files and functions in them.

Opens the files and imports the functions as serving would, and nothing else: no address is bound,
no server is asked. main.py calls ``mistakes_in``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..errors import StartError
from ..settings.address import Upstream
from ..settings.config import Config

NO_UPSTREAM: Final = (
    "env = production and no upstream named: name yours with --upstream URL (REDIS_URL), or have a "
    "private Valkey, empty at each start, with --upstream embedded"
)


def mistakes_in(config: Config) -> list[str]:
    """A line for each thing that would end the proxy at its start, its place first."""
    return [*_in_upstream(config), *_in_loaders(config)]


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
