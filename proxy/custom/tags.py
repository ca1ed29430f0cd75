"""Tags: which keys belong to what, kept in the server beside plain values.

    load        lease ─▶ epochs ─▶ load ─▶ attach: ZADD, epoch ─▶ the same? ─▶ fill under the lease
    invalidate  epoch, keys set apart ─▶ some of them ─▶ their leases, values ─▶ ZREM, and so on

An invalidation behind ``attach`` finds the key, and takes the lease or the value; one before it has
changed the epoch. So nothing that was asked for before is stored after, though tag and key may be
on different nodes.

A part that was set apart gets no more keys: what is taken out of it has been removed for good, and
who stored a key since is in another. Every invalidation removes all parts that there are, so that
one which crosses another, or comes behind one that was killed, is not answered before they are
empty. Knows no load and no command."""

from __future__ import annotations

import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from ...lua import script
from ..errors import BadInput
from ..keys.ours import tag_closed_key, tag_epoch_key, tag_key
from ..resp.replies import Value, items
from .spec import Asking, Expiry

ADD: Final = script("tag_add")
CLOSE: Final = script("tag_close")
SOFT: Final = script("tag_soft")
READ: Final = script("tag_read")
TAGS_MOST: Final = 16  # of one key
BATCH: Final = 250  # keys of a tag taken at once
HOUSEKEEPING: Final = 0.01  # of all writes
# A key is under its tags for so much longer than it lasts, as it is filled after it was attached.
FILLED_WITHIN_MS: Final = 1000
GRAIN_MS: Final = 10  # of the clocks that tell by how much
REMEMBERED_MS: Final = b"%d" % (24 * 3_600_000)  # no lease lasts so long

# Keys, and when each is to end.
Ends = Sequence[tuple[bytes, Expiry | None]]
Removing = Callable[[Sequence[bytes]], Awaitable[int]]


def checked(tags: Sequence[bytes]) -> tuple[bytes, ...]:
    """The tags, each once. BadInput: too many, or one that cannot be kept."""
    once = tuple(dict.fromkeys(tags))
    if len(once) > TAGS_MOST:
        raise BadInput(f"a key has at most {TAGS_MOST} tags")
    for tag in once:
        # The braces would not put the tag's keys into one slot of a cluster.
        if not tag or tag.startswith(b"}"):
            raise BadInput("a tag is not empty and does not begin with '}'")
    return once


# --- Storing ----------------------------------------------------------------------------------


async def epochs(server: Asking, tags: Sequence[bytes]) -> list[Value]:
    """When each was last invalidated: to be asked before the value is loaded. On a tracked lane the
    server tells of the next time."""
    return [await server.run(READ, (tag_epoch_key(tag),), ()) for tag in tags]


async def attach(
    server: Asking, keys: Ends, tags: Sequence[bytes], known: Sequence[Value], within_ms: int
) -> bool:
    """Put keys under their tags, just before they are filled, which happens within so long or not
    at all; False: one was invalidated since its epoch was asked for, and the values must not be
    stored."""
    found = await _attach(server, keys, tags, within_ms)
    return [epoch for epoch, _ in found] == list(known)


async def attach_aged(
    server: Asking,
    keys: Ends,
    tags: Sequence[bytes],
    elapsed: Callable[[], float],
    within_ms: int,
) -> bool:
    """The same for who did not know the tags as the load began: ``elapsed`` says how many seconds
    ago that was at most. Two lengths of time are compared, so that no two clocks need agree."""
    found = await _attach(server, keys, tags, within_ms)
    longest = elapsed() * 1000
    return all(age < 0 or age > longest for _, age in found)


async def _attach(
    server: Asking, keys: Ends, tags: Sequence[bytes], within_ms: int
) -> list[tuple[bytes, int]]:
    """Each tag's epoch, and how many milliseconds old it is, -1 for none."""
    ends: list[bytes] = []
    for key, expiry in keys:
        ends += key, *(expiry.words if expiry is not None else (b"", b""))
    found: list[tuple[bytes, int]] = []
    for tag in tags:
        tidy = b"1" if random.random() < HOUSEKEEPING * len(keys) else b""
        args = b"%d" % within_ms, tidy, *ends
        reply = await server.run(ADD, (tag_key(tag), tag_epoch_key(tag)), args)
        epoch, age = items(reply, "a script", bytes, int)
        found.append((bytes(epoch), age))
    return found


# --- Invalidating -----------------------------------------------------------------------------


async def close(server: Asking, tags: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Begin to invalidate tags: nothing that was asked for before is attached any more, and what
    had been is set apart. All parts that are not yet removed, each with its tag."""
    apart: list[tuple[bytes, bytes]] = []
    for tag in tags:
        mine = tag_closed_key(tag, secrets.token_hex(8).encode())
        names = tag_key(tag), tag_epoch_key(tag), tag_closed_key(tag), mine
        parts = _members(await server.run(CLOSE, names, (REMEMBERED_MS,)))
        apart += [(tag, part) for part in parts]
    return apart


async def drain(server: Asking, apart: Sequence[tuple[bytes, bytes]], remove: Removing) -> int:
    """Remove what ``close`` has told of: ``remove`` takes the leases of keys, then their values,
    and says how many there were. The number of values that went."""
    removed = 0
    for tag, part in apart:
        while keys := _members(await server.ask(b"ZRANGE", part, b"0", b"%d" % (BATCH - 1))):
            removed += await remove(keys)
            await server.ask(b"ZREM", part, *keys)
        await server.ask(b"SREM", tag_closed_key(tag), part)
    return removed


async def refuse(server: Asking, tags: Sequence[bytes]) -> None:
    """Nothing that was asked for before is attached any more; the keys stay under their tags."""
    for tag in tags:
        await server.run(SOFT, (tag_epoch_key(tag),), (REMEMBERED_MS,))


async def visit(server: Asking, tags: Sequence[bytes], soften: Removing) -> int:
    """Behind ``refuse``: ``soften`` takes the leases of keys, makes their values stale, and says
    how many it has. What others have set apart and not yet removed is theirs to remove, and ours
    to make stale before we answer."""
    softened = 0
    for tag in tags:
        softened += await _visit(server, tag_key(tag), soften)
        # Behind it: a part that was set apart while we walked is among them.
        for part in _members(await server.ask(b"SMEMBERS", tag_closed_key(tag))):
            softened += await _visit(server, part, soften)
    return softened


async def _visit(server: Asking, name: bytes, soften: Removing) -> int:
    cursor, more, softened = b"0", True, 0
    while more:
        reply = await server.ask(b"ZSCAN", name, cursor, b"COUNT", b"%d" % BATCH)
        cursor, page = items(reply, "ZSCAN", bytes, list)
        more = cursor != b"0"
        keys = _members(page)[::2]
        if keys:
            softened += await soften(keys)
    return softened


def _members(reply: Value) -> list[bytes]:
    return (
        [bytes(one) for one in reply if isinstance(one, bytes)] if isinstance(reply, list) else []
    )
