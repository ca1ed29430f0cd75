"""What a loader's source is, and what it returns.

A source says where a missing value comes from: url.py, call.py, redis.py and demo.py are one
each. It maps what its library raises to ``SourceError``; loaders.py puts the
loader's name to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from ..log import redacted

WHY_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Loaded:
    """``value`` None: there is no such thing. How long it lives:

    ttl_ms   exact
    None     False   the loader's own ttl, jittered
    None     True    for ever: the source has no expiry for it
    0        True    not at all: hand it out, store nothing
    n        True    n ms to the point: the source said so

    ``not_modified``: it is the value that was known, and the source says that it still holds."""

    value: bytes | None
    ttl_ms: int | None = None
    exact: bool = False
    not_modified: bool = False

    @property
    def result(self) -> str:
        """What came of the load, as metrics have it."""
        if self.not_modified:
            return "not_modified"
        return "not_found" if self.value is None else "success"


NO_SUCH_THING: Final = Loaded(None)


class SourceError(Exception):
    """Why a source gave nothing, in words that a client may see: no password, no query of a URL."""


class Source(Protocol):
    async def load(self, key: bytes, captures: Mapping[str, bytes] | None) -> Loaded:
        """The value for the key. SourceError. A cancelled load leaves nothing half done behind.
        No captures: the loader was named for a key that its match does not fit."""
        ...

    async def close(self) -> None: ...


class ManySource(Source, Protocol):
    """A source that takes many keys at once, for loaders with ``batch``."""

    async def load_many(
        self, keys: Sequence[bytes], captures: Sequence[Mapping[str, bytes] | None]
    ) -> Sequence[Loaded | SourceError]:
        """An outcome for each key, in their order, from one call. SourceError: all of them
        failed."""
        ...


@runtime_checkable
class Confirming(Source, Protocol):
    """A source that can be asked whether a value of it still holds."""

    def confirms(self, key: bytes, digest: bytes) -> bool:
        """Whether it can be asked that of the value at the key that has this SHA-1 (in hex, as
        take.lua has it)."""
        ...

    async def refresh(
        self, key: bytes, captures: Mapping[str, bytes] | None, known: bytes
    ) -> Loaded:
        """As ``load``, with the value that stands: the source may say that it still holds, and
        what is returned is that value then."""
        ...


@runtime_checkable
class KeySource(Source, Protocol):
    """A source that can be asked which keys it has."""

    async def page(self, glob: bytes, cursor: int) -> tuple[int, Sequence[bytes]]:
        """The cursor of the next page, 0: there is none; and some keys that match, of which one may
        come twice. SourceError."""
        ...


_SECRET: Final = re.compile(r"(\w*(?:password|passwd|pwd|secret|token)\w*=)\S+", re.IGNORECASE)


def said(text: str) -> str:
    """A foreign message, fit to be seen: one line, not too long, and what stands in it as a
    password, in a URL or behind password=, hidden."""
    words = (redacted(word) if "://" in word else word for word in text.split())
    shown = _SECRET.sub(r"\1***", " ".join(words))
    return shown if len(shown) <= WHY_MAX else f"{shown[:WHY_MAX]}..."
