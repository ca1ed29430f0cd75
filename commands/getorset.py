"""GETORSET: cache-aside in one command.

GETORSET key                                                 what is there, else what a loader gives
GETORSET key value [EX s | PX ms | EXAT unix-s | PXAT unix-ms] [TAG tag ...]
                                                             what is there, else value, stored"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from ..lua import script
from ..proxy.custom.spec import Argument, Call, CommandSpec, Expiry
from ..proxy.custom.tags import attach, checked, epochs
from ..proxy.custom.words import EXPIRIES, EXPIRY, TAG, Options, expiry
from ..proxy.errors import CacheBusy, ProxyError, shown
from ..proxy.keys.ours import lease_key
from ..proxy.resp.replies import Value, items

SCRIPT = script("getorset")
# For a value with tags: how long its lease lasts, which it is at hand to be stored under, and how
# long one of another is waited for.
LEASE_MS = 2_000
WAIT_MS = 10_000


@dataclass(frozen=True, slots=True)
class Request:
    """``value`` None: read through a loader."""

    key: bytes
    value: bytes | None = None
    expiry: Expiry | None = None
    tags: tuple[bytes, ...] = ()


def parse(words: Sequence[bytes]) -> Request:
    if len(words) == 2:
        return Request(words[1])
    options, given, tags = Options(words, 3), None, list[bytes]()
    while options.more():
        name = options.name(*EXPIRIES, b"TAG", also=EXPIRIES)
        if name == b"TAG":
            tags.append(options.again())
            continue
        given = expiry(name, options.value(), "getorset")
    return Request(words[1], words[2], given, checked(tags))


def probe(request: object) -> tuple[bytes, ...] | None:
    """The read whose answer is ours too, unless it is nil."""
    assert isinstance(request, Request)
    return (b"GET", request.key) if request.value is None else None


async def run(call: Call) -> Value:
    request = call.request
    assert isinstance(request, Request)
    if request.value is None:
        return await call.loads.load(request.key)
    if request.tags:
        return await _tagged(call, request, request.value)
    call.writes.passed((request.key,))
    words = request.expiry.words if request.expiry is not None else (b"", b"")
    keys = request.key, lease_key(request.key)
    try:
        reply = await call.upstream.run(SCRIPT, keys, (request.value, *words))
    finally:
        # Also when no answer came: it may be stored all the same.
        call.writes.passed((request.key, keys[1]))
    value, hit = items(reply, "a script", bytes, int)
    call.stats.read(hit=bool(hit))
    return bytes(value)


async def _tagged(call: Call, request: Request, value: bytes) -> bytes:
    """Stored as a load is, under a lease: what invalidates the tags meanwhile takes it away."""
    key = request.key
    known = await epochs(call.upstream, request.tags)
    found, token = await call.leases.lease(key, LEASE_MS, WAIT_MS)
    if token is not None:
        try:
            stored = await attach(
                call.upstream, [(key, request.expiry)], request.tags, known, LEASE_MS
            ) and await call.leases.fill(key, token, value, request.expiry)
        except BaseException:
            with contextlib.suppress(ProxyError):
                await call.leases.cancel(key, token)
            raise
        if not stored:
            await call.leases.cancel(key, token)
    elif found is None:
        raise CacheBusy(f"another computes {shown(key)}, and has not ended in {WAIT_MS} ms")
    call.stats.read(hit=found is not None)
    return value if found is None else found


def waits(request: object) -> bool:
    return isinstance(request, Request) and bool(request.tags)


SPEC = CommandSpec(
    name=b"GETORSET",
    arity=-2,
    summary="Returns the string at a key; where there is none, loads or stores it.",
    group="nearhit",
    complexity="O(1)",
    parse=parse,
    run=run,
    probe=probe,
    waits=waits,
    flags=("write", "denyoom", "fast"),
    keys=(1, 1, 1),
    arguments=(
        Argument("key", "key"),
        Argument(
            "given",
            "block",
            flags=("optional",),
            arguments=(
                Argument("value", "string"),
                EXPIRY,
                TAG,
            ),
        ),
    ),
)
