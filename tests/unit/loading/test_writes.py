"""What a write by a command of our own makes old, in the near cache and of what runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import pytest
from nearhit.proxy.loading.writes import SLICE, Writes
from nearhit.proxy.near.cache import NearCache, Space
from nearhit.proxy.near.index import request_name
from nearhit.proxy.resp.requests import encode

REPLY = b"$1\r\nv\r\n"


class Running:
    """Loads or leases: what they were told is void."""

    def __init__(self) -> None:
        self.void_keys: list[bytes] = []
        self.patterns: list[bytes] = []
        self.tags: list[bytes] = []

    def void(self, keys: Sequence[bytes]) -> None:
        self.void_keys += keys

    def void_matching(self, pattern: re.Pattern[bytes]) -> None:
        self.patterns.append(pattern.pattern)

    def void_tags(self, tags: Sequence[bytes]) -> None:
        self.tags += tags


def filled(near: NearCache, db: int, *keys: bytes) -> Space:
    """A space that has these keys."""
    return filled_in(near.space(db, None), *keys)


def filled_in(space: Space, *keys: bytes) -> Space:
    """The same, with these."""
    for key in keys:
        ticket = space.reserve(key)
        assert ticket is not None
        assert space.fill(ticket, REPLY, -1, 0.0)
    return space


def test_what_was_read_of_the_keys_is_forgotten_and_what_runs_is_void() -> None:
    near, loads, leases = NearCache(1 << 20), Running(), Running()
    space = filled(near, 0, b"a", b"b", b"c")
    ticket = space.reserve(b"d")
    assert ticket is not None

    Writes(near, lambda: (loads, leases)).passed((b"a", b"d"))

    assert set(space.entries) == {b"b", b"c"}
    assert not ticket.valid
    assert loads.void_keys == leases.void_keys == [b"a", b"d"]


async def test_of_a_pattern_all_that_matches_is_forgotten_and_void() -> None:
    near, loads = NearCache(1 << 20), Running()
    space = filled(near, 0, b"a:1", b"b:1")
    other = filled(near, 1, b"a:2")
    ticket = space.reserve(b"a:3")
    assert ticket is not None

    await Writes(near, lambda: (loads,)).passed_matching(re.compile(rb"a:.*"))

    assert (set(space.entries), set(other.entries)) == ({b"b:1"}, set())
    assert not ticket.valid
    assert loads.patterns == [rb"a:.*"]


async def test_without_a_near_cache_what_runs_is_void_all_the_same() -> None:
    loads = Running()
    writes = Writes(None, lambda: (loads,))

    writes.passed([b"a"])
    await writes.passed_matching(re.compile(rb"b"))
    writes.passed_tags([b"t"])

    assert (loads.void_keys, loads.patterns, loads.tags) == ([b"a"], [b"b"], [b"t"])
    assert repr(writes) == "<Writes near=None>"


async def test_all_that_matches_one_of_several_patterns_is_forgotten() -> None:
    near, loads = NearCache(1 << 20), Running()
    space = filled(near, 0, b"a:1", b"b:1", b"c:1")

    await Writes(near, lambda: (loads,)).passed_matching(re.compile(rb"a.*"), re.compile(rb"c.*"))

    assert set(space.entries) == {b"b:1"}
    assert loads.patterns == [rb"a.*", rb"c.*"]


async def test_other_reads_than_get_are_forgotten_by_the_key_they_read() -> None:
    near = NearCache(1 << 20)
    space = near.space(0, None)
    gone, stays = (request_name(encode([b"HGETALL", key]), True) for key in (b"a:1", b"b:1"))
    filled_in(space.other(), gone, stays)
    ticket = space.other().reserve(request_name(encode([b"HGET", b"a:2", b"f"]), False))
    assert ticket is not None

    await Writes(near, tuple).passed_matching(re.compile(rb"a:.*"))

    assert set(space.other().entries) == {stays}
    assert not ticket.valid


KEYS = [b"a:%d" % number for number in range(3 * SLICE)]


async def test_nobody_waits_while_many_entries_are_looked_at() -> None:
    near, loads = NearCache(1 << 24), Running()
    space = filled(near, 0, *KEYS)
    left: list[int] = []
    forgetting = asyncio.create_task(
        Writes(near, lambda: (loads,)).passed_matching(re.compile(rb"a:.*"))
    )
    while not forgetting.done():
        await asyncio.sleep(0)
        left.append(len(space.entries))
        assert loads.patterns == [rb"a:.*"]  # what runs is void from the first on

    assert {2 * SLICE, SLICE, 0} <= set(left)


async def test_who_is_cancelled_forgets_the_rest_all_the_same() -> None:
    near = NearCache(1 << 24)
    space = filled(near, 0, *KEYS)
    forgetting = asyncio.create_task(Writes(near, tuple).passed_matching(re.compile(rb"a:.*")))
    await asyncio.sleep(0)
    assert len(space.entries) == 2 * SLICE

    forgetting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await forgetting

    assert not space.entries
