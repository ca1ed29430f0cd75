"""What is known of keys that the near cache does not have, in both forms."""

from __future__ import annotations

from typing import Any

import nearhit.proxy.near.sketch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plain import plain

SLOTS = 16
# The hash decides the slot by its low bits, and the mark by bits 44 to 55.
OTHER = 1 << 44


MODULES = {"as installed": nearhit.proxy.near.sketch, "plain": plain("near", "sketch")}


@pytest.fixture(params=list(MODULES))
def sketch(request: pytest.FixtureRequest) -> Any:
    return MODULES[request.param].Sketch(SLOTS)


def test_sights_of_a_hash_are_counted_up_to_fifteen(sketch: Any) -> None:
    assert [sketch.see(OTHER | 5) for _ in range(17)] == [*range(1, 16), 15, 15]


def test_who_was_seen_once_gives_way_to_another(sketch: Any) -> None:
    sketch.see(OTHER | 5)

    assert sketch.see(2 * OTHER | 5) == 1
    assert sketch.see(2 * OTHER | 5) == 2
    assert sketch.see(OTHER | 5) == 1


def test_two_that_are_read_in_turns_are_both_seen_twice_before_long(sketch: Any) -> None:
    keys, rounds = [OTHER | 5, 2 * OTHER | 5], 0

    while keys and rounds < 200:  # who is seen twice is kept, and looked for here no more
        rounds += 1
        keys = [key for key in keys if sketch.see(key) < 2]

    assert not keys


def test_who_was_seen_more_often_loses_one_sight_to_another(sketch: Any) -> None:
    for _ in range(3):
        sketch.see(OTHER | 5)

    assert sketch.see(2 * OTHER | 5) == 1
    assert sketch.see(OTHER | 5) == 3


def test_only_what_was_not_seen_is_a_first_sight(sketch: Any) -> None:
    assert sketch.first_sight(OTHER | 5)
    assert not sketch.first_sight(OTHER | 5)
    assert sketch.see(OTHER | 5) == 2


def test_what_the_cache_looks_at_itself_is_no_first_sight(sketch: Any) -> None:
    sketch.sampled = True
    assert not sketch.first_sight(64 << 20 | 5)
    assert sketch.first_sight(1 << 20 | 5)

    sketch.eager = True
    assert not sketch.first_sight(1 << 20 | 6)


def test_what_is_remembered_is_seen_again_as_what_it_was(sketch: Any) -> None:
    sketch.remember(OTHER | 5, 6)

    assert sketch.see(OTHER | 5) == 7


def test_a_memory_does_not_replace_who_was_seen_more_often(sketch: Any) -> None:
    for _ in range(9):
        sketch.see(OTHER | 5)

    sketch.remember(2 * OTHER | 5, 3)

    assert sketch.see(OTHER | 5) == 10


def test_a_sketch_says_how_large_it_is(sketch: Any) -> None:
    assert repr(sketch) == "<Sketch slots=16>"


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
@pytest.mark.parametrize(
    ("budget", "slots"),
    [(0, 1024), (1 << 17, 1024), (1 << 20, 8192), (3 << 20, 16384), (1 << 30, 262144)],
)
def test_slots_are_a_power_of_two_within_bounds(module: Any, budget: int, slots: int) -> None:
    assert module.slots_for(budget) == slots


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["see", "first_sight"]),
            st.integers(-(2**62), 2**62),
        ),
        max_size=80,
    )
)
def test_both_forms_are_one(steps: list[tuple[str, int]]) -> None:
    both = [module.Sketch(SLOTS) for module in MODULES.values()]

    for what, mixed in steps:
        answers = {getattr(one, what)(mixed) for one in both}
        assert len(answers) == 1

    assert list(both[0].sights) == list(both[1].sights)
