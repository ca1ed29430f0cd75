"""MGETORSET: read-through of many keys at once.

MGETORSET numkeys key [key ...] [PARTIAL]     an array in the order of the keys: value or nil

One MGET for what is not near, then the loads of what is missing, side by side; their leases go out
in one piece, and a loader with ``batch`` is called once for many keys (loading/batch.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..proxy.custom.spec import Argument, Call, CommandSpec, Counts
from ..proxy.custom.strings import strings
from ..proxy.custom.words import SYNTAX, integer
from ..proxy.errors import BadInput, NoLoader, ProxyError, is_away, shown
from ..proxy.forgoing import forgoing
from ..proxy.resp.kernel import pack_keys
from ..proxy.resp.replies import Value, reply
from ..proxy.resp.strings import Known, Strings

# Loads of one request at a time: a request with a million keys is no million tasks.
SIDE_BY_SIDE: Final = 1024
# Of these a load may end, and its key alone is concerned; anything else is the server's.
_OF_LOADS: Final = (b"-LOADERR ", b"-LOADTIMEOUT ", b"-CACHEBUSY ")
_NO_STRING: Final = b"-WRONGTYPE "


@dataclass(frozen=True, slots=True)
class Request:
    """``near``: what stands in the near cache of its strings."""

    keys: list[bytes]
    partial: bool = False
    near: Known | None = None


def parse(words: Sequence[bytes]) -> Request:
    keys = _keys(words)
    rest = [word.upper() for word in words[2 + len(keys) :]]
    if rest not in ([], [b"PARTIAL"]):
        raise BadInput(SYNTAX)
    return Request(keys, bool(rest))


def _keys(words: Sequence[bytes]) -> list[bytes]:
    count = integer(words[1])
    if count <= 0:
        raise BadInput("numkeys should be greater than 0")
    if count > len(words) - 2:
        raise BadInput(SYNTAX)
    return list(words[2 : 2 + count])


def key_names(words: Sequence[bytes]) -> Sequence[bytes]:
    """For COMMAND GETKEYS."""
    return _keys(words)


def look_near(request: object, known: Callable[[list[bytes]], Known | None]) -> object:
    """The request with what stands in the near cache."""
    assert isinstance(request, Request)
    return replace(request, near=known(request.keys))


async def run(call: Call) -> Value:
    request = call.request
    assert isinstance(request, Request)
    near = request.near
    asked = request.keys if near is None else near.missing
    if near is not None and not asked:
        return Strings.near(near)
    found = await _read(call, asked, near)
    # What is near is counted where it is read.
    call.stats.add("hits", len(asked) - len(found.absent))
    call.stats.add("misses", len(found.absent))
    absent = [asked[at] for at in found.absent]
    missing = list(dict.fromkeys(absent))
    values: dict[bytes, bytes | None] = {}
    failed: dict[bytes, ProxyError] = {}
    for at in range(0, len(missing), SIDE_BY_SIDE):
        some = missing[at : at + SIDE_BY_SIDE]
        for key, loaded in zip(some, await _load_all(call, some), strict=True):
            if isinstance(loaded, ProxyError):
                failed[key] = loaded
            else:
                values[key] = loaded
    if failed:
        _tell(failed, request.partial, call.stats)
    found.fill([values.get(key) for key in absent])
    return found


async def _read(call: Call, keys: list[bytes], near: Known | None) -> Strings:
    """What the server has; nothing where it is away, or one node of a cluster, and loaders make up
    for it: what the others have their loads will see."""
    values: Sequence[bytes | None] = [None] * len(keys)
    timed = call.refreshes is not None and any(map(call.refreshes.timed, keys))
    if not all(map(call.loads.alone, keys)):
        fails_open = all(map(call.loads.fails_open, keys))
        try:
            with forgoing(fails_open):
                if not timed:
                    told = await call.upstream.ask_raw(pack_keys(b"MGET", keys, b"", b""))
                    return Strings.of(told, len(keys), near)
                values = await strings(call, keys)
        except ProxyError as why:
            if not (is_away(why) and fails_open):
                raise
    return Strings.of(reply(values, 3), len(keys), near)


async def _load_all(call: Call, keys: Sequence[bytes]) -> list[bytes | ProxyError | None]:
    """What each key's load ended with; None for a key without a loader too."""

    async def load(key: bytes) -> bytes | ProxyError | None:
        try:
            return await call.loads.load(key)
        except NoLoader:
            return None
        except ProxyError as error:
            return error

    return await asyncio.gather(*map(load, keys))


def _tell(failed: Mapping[bytes, ProxyError], partial: bool, counts: Counts) -> None:
    """Raise what the whole request ends with, or count what it does without."""
    for error in failed.values():
        if not error.line.startswith((*_OF_LOADS, _NO_STRING)):
            raise error
    if partial:
        counts.add("partial_failures", len(failed))
        return
    key, error = next(iter(failed.items()))
    if error.line.startswith(_NO_STRING):
        raise error  # in the server's own words
    what = f" (key {shown(key)}; {len(failed)} failed)".encode()
    raise ProxyError(error.line.removesuffix(b"\r\n") + what)


SPEC = CommandSpec(
    name=b"MGETORSET",
    arity=-3,
    summary="Returns the strings at keys; where there are none, loads them.",
    group="nearhit",
    complexity="O(N) for N keys.",
    parse=parse,
    run=run,
    near=look_near,
    flags=("write", "denyoom", "movablekeys"),
    key_names=key_names,
    arguments=(
        Argument("numkeys", "integer"),
        Argument("key", "key", flags=("multiple",)),
        Argument("partial", "pure-token", "PARTIAL", ("optional",)),
    ),
)
