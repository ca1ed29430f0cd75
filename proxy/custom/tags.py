"""Tags: which keys belong to what, kept in the server beside plain values.

    load        lease ─▶ epochs ─▶ load ─▶ attach: ZADD, epoch ─▶ the same? ─▶ fill under the lease
    invalidate  epoch ─▶ some keys of the tag ─▶ their leases, values ─▶ ZREM ─▶ both once more

An invalidation behind ``attach`` finds the key, and takes the lease or the value; one before it has
changed the epoch. So nothing that was asked for before is stored after, though tag and key may be
on different nodes. The second removal is for loads that attached themselves before ZREM and were
stored behind the first one. Knows no load and no command."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from ...lua import script
from ..errors import BadInput
from ..keys.ours import tag_epoch_key, tag_key
from ..resp.replies import Value, items
from .spec import Asking, Expiry

ADD: Final = script("tag_add")
EPOCH: Final = script("tag_epoch")
TAGS_MOST: Final = 16  # of one key
BATCH: Final = 250  # keys of a tag taken at once
HOUSEKEEPING: Final = 0.01  # of all writes
REMEMBERED_MS: Final = 24 * 3_600_000  # no lease lasts so long


def checked(tags: Sequence[bytes]) -> tuple[bytes, ...]:
    """The tags, each once. BadInput: too many, or one that cannot be kept."""
    once = tuple(dict.fromkeys(tags))
    if len(once) > TAGS_MOST:
        raise BadInput(f"a key has at most {TAGS_MOST} tags")
    for tag in once:
        # The braces would not put the tag's two keys into one slot of a cluster.
        if not tag or tag.startswith(b"}"):
            raise BadInput("a tag is not empty and does not begin with '}'")
    return once


async def epochs(server: Asking, tags: Sequence[bytes]) -> list[Value]:
    """When each was last invalidated: to be asked before the value is loaded."""
    return [await server.ask(b"GET", tag_epoch_key(tag)) or b"" for tag in tags]


async def attach(
    server: Asking,
    key: bytes,
    tags: Sequence[bytes],
    expiry: Expiry | None,
    known: Sequence[Value],
    lease_ms: int,
) -> bool:
    """Put a key under its tags, just before it is filled under a lease that lasts so long; False:
    one was invalidated since its epoch was asked for, and the value must not be stored."""
    found = await _attach(server, key, tags, expiry, lease_ms)
    return [epoch for epoch, _ in found] == list(known)


async def attach_aged(
    server: Asking,
    key: bytes,
    tags: Sequence[bytes],
    expiry: Expiry | None,
    elapsed: Callable[[], float],
    lease_ms: int,
) -> bool:
    """The same for who did not know the tags as the load began: ``elapsed`` says how many seconds
    ago that was at most. Two lengths of time are compared, so that no two clocks need agree."""
    found = await _attach(server, key, tags, expiry, lease_ms)
    longest = elapsed() * 1000
    return all(age < 0 or age > longest for _, age in found)


async def _attach(
    server: Asking, key: bytes, tags: Sequence[bytes], expiry: Expiry | None, lease_ms: int
) -> list[tuple[bytes, int]]:
    """Each tag's epoch, and how many milliseconds old it is, -1 for none."""
    option, number = expiry.words if expiry is not None else (b"", b"")
    found: list[tuple[bytes, int]] = []
    for tag in tags:
        tidy = b"1" if random.random() < HOUSEKEEPING else b""
        args = key, option, number, b"%d" % lease_ms, tidy
        reply = await server.run(ADD, (tag_key(tag), tag_epoch_key(tag)), args)
        epoch, age = items(reply, "a script", bytes, int)
        found.append((bytes(epoch), age))
    return found


async def drain(
    server: Asking, tags: Sequence[bytes], remove: Callable[[Sequence[bytes]], Awaitable[int]]
) -> int:
    """Invalidate tags: ``remove`` takes the leases of keys, then their values, and says how many
    there were. The number of values that went."""
    for tag in tags:
        names = tag_key(tag), tag_epoch_key(tag)
        await server.run(EPOCH, names, (b"%d" % REMEMBERED_MS,))
    removed = 0
    for tag in tags:
        while keys := await _some(server, tag):
            removed += await remove(keys)
            await server.ask(b"ZREM", tag_key(tag), *keys)
            removed += await remove(keys)
    return removed


async def _some(server: Asking, tag: bytes) -> list[bytes]:
    found = await server.ask(b"ZRANGE", tag_key(tag), b"0", b"%d" % (BATCH - 1))
    return (
        [bytes(key) for key in found if isinstance(key, bytes)] if isinstance(found, list) else []
    )
