"""WARM VALUES with tags: values that a client gave, stored so that no invalidation of a tag which
came after is undone.

    epochs ─▶ EXISTS ─▶ leases, over any that loads hold ─▶ attach ─▶ give.lua, under the lease

As with loads (custom/tags.py): who invalidates a tag behind ``attach`` takes the leases, and who
does so before it has changed the epoch. A piece has each key once, for its lease is one."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..lua import script
from ..proxy.custom.spec import Call, Expiry
from ..proxy.custom.tags import attach, epochs
from ..proxy.errors import Invalidated, ProxyError
from ..proxy.keys.ours import lease_key, lease_keys
from ..proxy.resp.replies import Value, number
from ..proxy.resp.requests import encode

GIVE: Final = script("give")
SETTLE: Final = script("settle")
PIECE: Final = 100  # keys
LEASE_MS: Final = 2_000
# What give.lua returns, besides that the lease has gone.
_OUTCOMES: Final = {1: "loaded", 0: "skipped"}


@dataclass(frozen=True, slots=True)
class Given:
    """A value for a key, and how many milliseconds it lives, None for ever."""

    key: bytes
    value: bytes
    ttl_ms: int | None


async def store(
    call: Call, given: Iterable[Given], tags: Sequence[bytes], refresh: bool
) -> AsyncIterator[tuple[bytes, str | ProxyError]]:
    """What became of each key, in order: ``loaded``, ``skipped`` where something stands and it is
    no ``refresh``, or why it failed."""
    known = await epochs(call.upstream, tags)
    for piece in _pieces(given):
        keys = [one.key for one in piece]
        call.writes.passed(keys)
        try:
            outcomes = await _store(call, piece, tags, refresh, known)
        except ProxyError as why:
            outcomes = [why for _ in piece]
        finally:
            # Also when no answer came: they may be stored all the same.
            call.writes.passed([*keys, *lease_keys(keys)])
        for key, outcome in zip(keys, outcomes, strict=True):
            yield key, outcome


def _pieces(given: Iterable[Given]) -> Iterator[list[Given]]:
    piece: dict[bytes, Given] = {}
    for one in given:
        if len(piece) == PIECE or one.key in piece:
            yield list(piece.values())
            piece = {}
        piece[one.key] = one
    if piece:
        yield list(piece.values())


async def _store(
    call: Call, piece: Sequence[Given], tags: Sequence[bytes], refresh: bool, known: Sequence[Value]
) -> list[str | ProxyError]:
    outcomes = dict[bytes, str | ProxyError]()
    if not refresh:
        # What stands is under the tags that it has.
        there = [encode([b"EXISTS", one.key]) for one in piece]
        for one, reply in zip(piece, await call.bulk.many(there), strict=True):
            if isinstance(reply, ProxyError):
                outcomes[one.key] = reply
            elif reply:
                outcomes[one.key] = "skipped"
    missing = [one for one in piece if one.key not in outcomes]
    if missing:
        outcomes |= await _give(call, missing, tags, refresh, known)
    return [outcomes[one.key] for one in piece]


async def _give(
    call: Call, piece: Sequence[Given], tags: Sequence[bytes], refresh: bool, known: Sequence[Value]
) -> dict[bytes, str | ProxyError]:
    """Take the leases, attach, store; what fails leaves no lease."""
    token = b"t" + secrets.token_hex(16).encode()  # as leases of loads (take.lua)
    outcomes: dict[bytes, str | ProxyError] = {one.key: Invalidated() for one in piece}
    ttls = [(one.key, one.ttl_ms) for one in piece]
    ends = [(key, None if ms is None else Expiry(b"PX", ms)) for key, ms in ttls]

    async def give(one: Given) -> None:
        ttl = b"" if one.ttl_ms is None else b"%d" % one.ttl_ms
        args = token, one.value, ttl, b"" if refresh else b"NX"
        try:
            reply = await call.bulk.run(GIVE, (one.key, lease_key(one.key)), args)
            outcomes[one.key] = _OUTCOMES.get(number(reply, "a script"), Invalidated())
        except ProxyError as why:
            outcomes[one.key] = why

    try:
        await _lease(call, [*outcomes], token)
        if await attach(call.bulk, ends, tags, known, LEASE_MS):
            await asyncio.gather(*map(give, piece))
    finally:
        failed = [key for key, outcome in outcomes.items() if isinstance(outcome, ProxyError)]
        await asyncio.gather(*(_give_up(call, key, token) for key in failed))
    return outcomes


async def _lease(call: Call, keys: Sequence[bytes], token: bytes) -> None:
    """Take the leases of keys, whoever has them."""
    lasts = b"PX", b"%d" % LEASE_MS
    requests = [encode([b"SET", lease_key(key), token, *lasts]) for key in keys]
    for reply in await call.bulk.many(requests):
        if isinstance(reply, ProxyError):
            raise reply


async def _give_up(call: Call, key: bytes, token: bytes) -> None:
    """Let others load at once; where the server does not answer the lease ends by itself."""
    with contextlib.suppress(ProxyError):
        await call.bulk.run(SETTLE, (key, lease_key(key)), (token, b"", b"0", b""))
