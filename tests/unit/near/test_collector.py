"""What CPython's collector walks of a near cache: nothing that there is much of."""

from __future__ import annotations

import gc

import pytest
from nearhit.proxy.near.cache import NearCache
from nearhit.proxy.resp.kernel import COMPILED


@pytest.mark.skipif(not COMPILED, reason="plain Python leaves it to the collector")
def test_the_collector_does_not_walk_entries() -> None:
    space = NearCache(1 << 20).space(0, None)
    for at in range(100):
        ticket = space.reserve(b"%d" % at)
        assert ticket is not None
        space.fill(ticket, b"$1\r\nv\r\n", -1, 100.0)

    assert not any(map(gc.is_tracked, space.entries.values()))
    assert not gc.is_tracked(space.entries.slots)


def test_a_space_that_ends_cuts_its_entries_off() -> None:
    """Nobody else would break the circles that they stand in."""
    cache = NearCache(1 << 20)
    space = cache.space(0, None)
    ticket = space.reserve(b"k")
    assert ticket is not None
    space.fill(ticket, b"$1\r\nv\r\n", -1, 100.0)
    entry = space.entries[b"k"]

    cache.release(space)

    assert (entry.newer, entry.older, entry.queue) == (None, None, None)
    assert not any(space.entries.slots)
