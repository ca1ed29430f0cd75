"""Where a key finds its entry, as compiled and as plain Python, against a dict."""

from __future__ import annotations

from typing import Any

import nearhit.proxy.near.index
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plain import plain

MODULES = {"as installed": nearhit.proxy.near.index, "plain": plain("near", "index")}


@pytest.fixture(params=list(MODULES))
def module(request: pytest.FixtureRequest) -> Any:
    return MODULES[request.param]


def entry_of(module: Any, key: bytes, mixed: int) -> Any:
    entry = module.Entry.__new__(module.Entry)
    entry.key, entry.mixed, entry.size, entry.freq, entry.alive = key, mixed, 1, 0, True
    return entry


@given(
    # Few hashes: walks are long, go around the end, and are shared.
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(-3, 12)), max_size=120)
)
@pytest.mark.parametrize("name", MODULES)
def test_it_holds_what_a_dict_holds(name: str, steps: list[tuple[bool, int, int]]) -> None:
    module = MODULES[name]
    index, held = module.Index(), {}

    for put, number, mixed in steps:
        key = b"%d:%d" % (number, mixed)
        if put and key not in held:
            held[key] = entry_of(module, key, mixed)
            index.put(held[key])
        elif not put and key in held:
            index.remove(held.pop(key))
        assert len(index) == len(held)
        for one in held.values():
            assert index.find(one.key, one.mixed) is one
        assert index.find(b"none", mixed) is None

    assert sorted(index) == sorted(held)
    assert {id(one) for one in index.values()} == {id(one) for one in held.values()}


def test_it_is_asked_as_a_dict_is(module: Any) -> None:
    index = module.Index(99)
    entry = entry_of(module, b"k", hash(b"k") ^ 99)
    index.put(entry)

    assert index[b"k"] is entry
    assert b"k" in index
    assert b"other" not in index
    with pytest.raises(KeyError):
        index[b"other"]
    assert repr(index) == "<Index 1 of 8>"
    assert repr(entry) == "<Entry b'k' alive size=1 freq=0>"


def test_it_is_full_by_half_at_most_and_empty_again_small(module: Any) -> None:
    index = module.Index()
    entries = [entry_of(module, b"%d" % number, hash(b"%d" % number)) for number in range(1000)]
    for entry in entries:
        index.put(entry)

    assert len(index.slots) == len(index.tags) == 2048

    for entry in entries:
        index.remove(entry)

    assert len(index.slots) == 8


def test_a_queue_keeps_the_order_and_holds_nothing_that_left(module: Any) -> None:
    queue = module.Queue()
    entries = [entry_of(module, b"%d" % number, number) for number in range(3)]
    for entry in entries:
        queue.push(entry)

    queue.remove(entries[1])

    assert list(queue) == [entries[0], entries[2]]
    assert queue.used == 2
    assert entries[1].older is entries[1].newer is entries[1].queue is None
