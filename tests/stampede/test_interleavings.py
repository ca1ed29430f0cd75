"""A load that began before a write of its key never stores behind it.

A round is one key that nobody has used: a reader makes a proxy load it, and somewhere in that time
a writer bumps the key's version and writes. Then both proxies are asked once more: what they answer
after the write's reply, and what stands in the server at the end, may not be older than the
writer's version. Many rounds run at once. ``-m soak`` runs 1,000 of each kind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from .scene import Caller, Scene

AT_ONCE: Final = 60
QUICK: Final = 24
SOAK: Final = 1000
# A writer comes so many seconds behind its reader; a load takes up to 0.02.
LATE: Final = 0.02

Write = Callable[[Caller, str, str], Awaitable[object]]


# --- Writes -----------------------------------------------------------------------------------


def plainly(*words: str) -> Write:
    """One request; ``k`` stands for the key, ``v`` for a value of its version, ``t`` for a tag."""

    async def write(caller: Caller, key: str, value: str) -> object:
        names = {"k": key, "v": value, "t": f"of {key.partition(':')[2]}"}
        return await caller.ask(*(names.get(word, word) for word in words))

    return write


async def _rename_onto(caller: Caller, key: str, value: str) -> object:
    await caller.ask("SET", f"from:{key}", value)
    return await caller.ask("RENAME", f"from:{key}", key)


async def _copy(caller: Caller, key: str, value: str) -> object:
    await caller.ask("SET", f"from:{key}", value)
    return await caller.ask("COPY", f"from:{key}", key, "REPLACE")


async def _restore(caller: Caller, key: str, value: str) -> object:
    await caller.ask("SET", f"from:{key}", value)
    dump = await caller.ask("DUMP", f"from:{key}")
    return await caller.ask("RESTORE", key, "0", dump, "REPLACE")


async def _transaction(caller: Caller, key: str, value: str) -> object:
    """In one piece."""
    return (await caller.all([("MULTI",), ("DEL", key), ("EXEC",)]))[-1]


async def _steps(caller: Caller, key: str, value: str) -> object:
    await caller.ask("MULTI")
    await caller.ask("SET", f"beside:{key}", value)
    await caller.ask("DEL", key)
    return await caller.ask("EXEC")


async def _list(caller: Caller, key: str, value: str) -> object:
    """Something else than a string, and gone again."""
    await caller.ask("DEL", key)
    await caller.ask("LPUSH", key, value)
    return await caller.ask("LPOP", key)


DELETES: Final[dict[str, Write]] = {
    "DEL": plainly("DEL", "k"),
    "UNLINK": plainly("UNLINK", "k"),
    "GETDEL": plainly("GETDEL", "k"),
    "GETEX": plainly("GETEX", "k", "PXAT", "1"),
    "EXPIRE 0": plainly("EXPIRE", "k", "0"),
    "RENAME away": plainly("RENAME", "k", "away"),
    "FLUSHALL": plainly("FLUSHALL"),
    "FLUSHDB ASYNC": plainly("FLUSHDB", "ASYNC"),
    "EVAL": plainly("EVAL", "return redis.call('DEL', KEYS[1])", "1", "k"),
    "EVAL, large": plainly("EVAL", "return redis.call('DEL', KEYS[1])", "1", "k", "x" * 100_000),
    "MULTI EXEC": _transaction,
    "MULTI EXEC in steps": _steps,
    "LPUSH LPOP": _list,
}
WRITES: Final[dict[str, Write]] = {
    "SET": plainly("SET", "k", "v"),
    "SET PX 1": plainly("SET", "k", "v", "PX", "1"),
    "GETSET": plainly("GETSET", "k", "v"),
    "SETEX": plainly("SETEX", "k", "100", "v"),
    "MSET": plainly("MSET", "beside", "x", "k", "v"),
    "MSETNX": plainly("MSETNX", "k", "v"),
    "RENAME onto": _rename_onto,
    "COPY": _copy,
    "RESTORE": _restore,
}
OURS: Final[dict[str, Write]] = {
    "INVALIDATE": plainly("INVALIDATE", "k"),
    "INVALIDATE KEYS": plainly("INVALIDATE", "KEYS", "k", "beside"),
    "INVALIDATE PATTERN": plainly("INVALIDATE", "PATTERN", "k"),
    "INVALIDATE PATTERN *": plainly("INVALIDATE", "PATTERN", "ite[m]:*"),
    "INVALIDATE TAG": plainly("INVALIDATE", "TAG", "t"),
    "INVALIDATE TAG, of many": plainly("INVALIDATE", "TAG", "none", "t"),
    "DEL, of a tagged key": plainly("DEL", "k"),
    "WARM VALUES, tagged": plainly("WARM", "TAG", "t", "REFRESH", "VALUES", "k", "v"),
    "GETORSET value": plainly("GETORSET", "k", "v"),
}
TAGGED: Final = {name for name in OURS if "TAG" in name or "tagged" in name}
# Directly, these leave nothing behind that a fill could be compared with: only the pushes tell of
# them. The fill is taken back as soon as it is answered, but it can be seen until then.
FLEETING: Final = {*DELETES, "SET PX 1"}
NX: Final = {"MSETNX", "GETORSET value"}
ROUTES: Final = ("same", "other", "direct")
CASES: Final = [
    *((name, route) for name in (*DELETES, *WRITES) for route in ROUTES),
    *((name, route) for name in OURS for route in ("same", "other")),
]


# --- Rounds -----------------------------------------------------------------------------------

READS: Final = (
    ("GETORSET", "k"),
    ("GETORSET", "k"),
    ("GET", "k"),
    ("WARM", "KEYS", "k"),
    ("WARM", "REFRESH", "KEYS", "k"),
)


@dataclass
class Seat:
    """The connections of one round: each is used by one actor at a time."""

    reader: Caller
    after: tuple[Caller, Caller]
    writers: dict[str, Caller]
    server: Caller


@dataclass
class Tally:
    rounds: int = 0
    raced: int = 0  # loads that began before the write and ended behind it
    stored: list[str] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)


def version(value: Any) -> int:
    assert isinstance(value, bytes), value
    assert value[:1] in b"lw", value
    return int(value[1:])


async def one_round(here: Scene, seat: Seat, name: str, route: str, tally: Tally) -> None:
    at = here.unused()
    key = f"{'tagged' if name in TAGGED else 'item'}:{at}"
    new = here.versions[at] + 1
    late = random.uniform(0, LATE)
    words = random.choice(READS)
    if "REFRESH" in words and name in TAGGED:
        await seat.reader.ask("WARM", "TAG", f"of {at}", "VALUES", key, f"w{new - 1}")
    elif "REFRESH" in words:
        await seat.server.ask("SET", key, f"w{new - 1}")

    async def read() -> Any:
        reply = await seat.reader.ask(*(key if word == "k" else word for word in words))
        return reply if words[0].startswith("GET") else None

    async def write() -> None:
        writer = seat.writers[route]
        await asyncio.sleep(late)
        here.versions[at] = new
        if route == "direct" and name in DELETES:
            # A delete of nothing is not announced by the server.
            await writer.ask("SET", key, f"w{new}")
        every = {**DELETES, **WRITES, **OURS}
        reply = await every[name](writer, key, f"w{new}")
        if name in NX and reply not in (1, b"w%d" % new):
            here.versions[at] = new - 1  # it found a value, and has written nothing
            return
        for caller in seat.after:
            answer = await caller.ask("GETORSET", key)
            if version(answer) < new and not (route == "direct" and name in FLEETING):
                tally.joined.append(f"{key}: {answer!r} after version {new}")

    got, _ = await asyncio.gather(read(), write())
    stands = await seat.server.ask("GET", key)
    new = here.versions[at]
    tally.rounds += 1
    tally.raced += got == b"l%d" % (new - 1)
    if stands is not None and version(stands) < new:
        tally.stored.append(f"{key}: {stands!r} stands after version {new}")


async def rounds(here: Scene, name: str, route: str, count: int) -> Tally:
    tally = Tally()
    one, other = (proxy.port for proxy in here.proxies)
    async with AsyncExitStack() as stack:

        async def connect(port: int) -> Caller:
            return await stack.enter_async_context(Caller(port))

        async def sit(share: int) -> None:
            seat = Seat(
                await connect(one),
                (await connect(one), await connect(other)),
                {
                    "same": await connect(one),
                    "other": await connect(other),
                    "direct": await connect(here.server.port),
                },
                await connect(here.server.port),
            )
            for _ in range(share):
                await one_round(here, seat, name, route, tally)

        seats = min(AT_ONCE, count)
        await asyncio.gather(*(sit(count // seats + (at < count % seats)) for at in range(seats)))
    async with Caller(here.server.port) as server:
        await server.ask("FLUSHALL")
    return tally


@pytest.mark.parametrize(
    "count", [QUICK, pytest.param(SOAK, marks=pytest.mark.soak)], ids=["quick", "soak"]
)
@pytest.mark.parametrize(("name", "route"), CASES)
async def test_no_stale_load_is_stored_or_joined(
    two: Scene, name: str, route: str, count: int
) -> None:
    tally = await rounds(two, name, route, count)

    print(f"{name}, {route}: {tally.raced} of {tally.rounds} loads ended behind the write")
    assert tally.rounds == count
    assert not tally.stored
    assert not tally.joined


async def test_loads_and_writes_do_race(two: Scene) -> None:
    """Or the rounds above would prove nothing. How many of 300 do, a busy machine decides."""
    raced = 0
    for _ in range(10):
        raced += (await rounds(two, "SET", "direct", 300)).raced
        if raced > 15:
            break

    assert raced > 15
