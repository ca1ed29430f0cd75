"""GETORSET: cache-aside in one command.

GETORSET key                                                 what is there, else what a loader gives
GETORSET key value [EX s | PX ms | EXAT unix-s | PXAT unix-ms]  what is there, else value, stored"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..lua import script
from ..proxy.custom.spec import Argument, Call, CommandSpec, Expiry
from ..proxy.custom.words import EXPIRIES, EXPIRY, Options, expiry
from ..proxy.keys.ours import lease_key
from ..proxy.resp.replies import Value, items

SCRIPT = script("getorset")


@dataclass(frozen=True, slots=True)
class Request:
    """``value`` None: read through a loader."""

    key: bytes
    value: bytes | None = None
    expiry: Expiry | None = None


def parse(words: Sequence[bytes]) -> Request:
    if len(words) == 2:
        return Request(words[1])
    options, given = Options(words, 3), None
    while options.more():
        name = options.name(*EXPIRIES, also=EXPIRIES)
        given = expiry(name, options.value(), "getorset")
    return Request(words[1], words[2], given)


def probe(request: object) -> tuple[bytes, ...] | None:
    """The read whose answer is ours too, unless it is nil."""
    assert isinstance(request, Request)
    return (b"GET", request.key) if request.value is None else None


async def run(call: Call) -> Value:
    request = call.request
    assert isinstance(request, Request)
    if request.value is None:
        return await call.loads.load(request.key)
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


SPEC = CommandSpec(
    name=b"GETORSET",
    arity=-2,
    summary="Returns the string at a key; where there is none, loads or stores it.",
    group="nearhit",
    complexity="O(1)",
    parse=parse,
    run=run,
    probe=probe,
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
            ),
        ),
    ),
)
