"""What a write by a command of our own makes old, in the near cache and of what runs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nearhit.proxy.loading.writes import Writes
from nearhit.proxy.near.cache import NearCache, Space

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
    space = near.space(db, None)
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


def test_of_a_pattern_all_that_matches_is_forgotten_and_void() -> None:
    near, loads = NearCache(1 << 20), Running()
    space = filled(near, 0, b"a:1", b"b:1")
    other = filled(near, 1, b"a:2")
    ticket = space.reserve(b"a:3")
    assert ticket is not None

    Writes(near, lambda: (loads,)).passed_matching(re.compile(rb"a:.*"))

    assert (set(space.entries), set(other.entries)) == ({b"b:1"}, set())
    assert not ticket.valid
    assert loads.patterns == [rb"a:.*"]


def test_without_a_near_cache_what_runs_is_void_all_the_same() -> None:
    loads = Running()
    writes = Writes(None, lambda: (loads,))

    writes.passed([b"a"])
    writes.passed_matching(re.compile(rb"b"))
    writes.passed_tags([b"t"])

    assert (loads.void_keys, loads.patterns, loads.tags) == ([b"a"], [b"b"], [b"t"])
    assert repr(writes) == "<Writes near=None>"
