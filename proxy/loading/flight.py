"""One load of a key, and how it ended: what flights.py flies, and what is remembered of failures.

Knows no server and no lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..errors import LoadError, ProxyError, one_line
from .loaders import Loader

# What is remembered of a load that failed begins so, and is no longer.
REMEMBERED: Final = (b"LOADERR ", b"LOADTIMEOUT ")
REMEMBERED_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class Landed:
    """How a flight ended, if it did not fail."""

    value: bytes | None
    how: str  # loaded, skipped (it was there), not_found


Ended = Callable[["Flight", Landed | ProxyError], None]


@dataclass(slots=True, eq=False)
class Flight:
    """One load, and who waits for it. ``warm``: for WARM, or behind its readers, which lets others
    go first. ``behind``: only if the key still has a value that lasts no longer than so many
    milliseconds; ``counted`` is what it counts as then."""

    key: bytes
    loader: Loader
    warm: bool = False
    ttl_ms: int | None = None
    refresh: bool = False
    tags: Sequence[bytes] = ()
    behind: int | None = None
    counted: str = "refreshes"
    ended: Ended | None = None
    touched: bool = False  # the key was written since its lease was taken: nothing is stored
    waiters: set[asyncio.Future[Landed]] = field(default_factory=set[asyncio.Future[Landed]])

    def __repr__(self) -> str:
        return f"<Flight {self.key!r} {self.loader.name} waiters={len(self.waiters)}>"


def remembered(text: bytes, loader: str) -> ProxyError:
    """A failure as it stands at a lease's key, where any client with a right to the key may have
    written it: its first word says what a client does next, and is one of ours or not passed on."""
    if not text.startswith(REMEMBERED):
        return LoadError(loader, "it has failed lately")
    return ProxyError(b"-" + one_line(text[:REMEMBERED_MAX].decode("utf-8", "replace")).encode())
