"""Values with labels in shared memory."""

from __future__ import annotations

import os

from nearhit.proxy.stats.blobs import HALF, Blobs
from nearhit.proxy.stats.families import Series

SERIES: Series = {("commands", ("read", "near")): [3.0], ("pinned_waiters", ()): [1.0]}


def test_what_was_put_is_got_and_nothing_before() -> None:
    blobs = Blobs(2)
    assert blobs.get(1) == {}

    for count in range(3):
        blobs.put(1, {**SERIES, ("leases_held", ()): [float(count)]})

    assert blobs.get(1) == {**SERIES, ("leases_held", ()): [2.0]}
    assert blobs.get(0) == {}
    assert repr(blobs) == "<Blobs workers=2>"


def test_what_finds_no_place_leaves_what_was_there() -> None:
    blobs = Blobs(1)
    blobs.put(0, SERIES)

    blobs.put(0, {("lanes", ("x" * HALF, "shared")): [1.0]})

    assert blobs.get(0) == SERIES


def test_a_text_that_is_overwritten_is_not_believed() -> None:
    blobs = Blobs(1)
    blobs.put(0, SERIES)
    blobs.put(0, SERIES)
    memory = blobs._of(0)
    memory[8 + HALF + 12] ^= 1

    assert blobs.get(0) == {}


def test_another_process_reads_it() -> None:
    blobs = Blobs(1)
    child = os.fork()
    if child == 0:
        blobs.put(0, SERIES)
        os._exit(0)
    os.waitpid(child, 0)

    assert blobs.get(0) == SERIES
