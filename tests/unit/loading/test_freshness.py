"""When a value is stale, and when it is refreshed before, by chance."""

from __future__ import annotations

import random
from typing import Any

import pytest
from nearhit.proxy.keys.captures import Pattern
from nearhit.proxy.loading.freshness import BESIDE_MS, EARLIEST, SEEN_LOADS, Age, Freshness
from nearhit.proxy.settings.loaders import LoaderSettings


def fresh(**settings: Any) -> Freshness:
    return Freshness(LoaderSettings(name="x", match=Pattern.parse("k"), demo=True, **settings))


def test_a_loader_without_grace_and_early_asks_for_no_time() -> None:
    plain = fresh()

    assert not plain.timed
    assert {plain.age(ttl, 0.999) for ttl in (-2, -1, 0, 1, 60_000)} == {Age.FRESH}
    assert plain.near_ms(60_000) == 60_000


@pytest.mark.parametrize(
    ("ttl_ms", "age"),
    [
        (-3, Age.FRESH),  # the server did not say
        (-1, Age.FRESH),  # for ever
        (0, Age.STALE),
        (10_000, Age.STALE),
        (10_001, Age.FRESH),
        (70_000, Age.FRESH),
    ],
)
def test_within_grace_a_value_is_stale(ttl_ms: int, age: Age) -> None:
    assert fresh(grace=10.0).age(ttl_ms, 0.999) is age


def test_near_a_value_stands_until_its_ttl_is_over() -> None:
    graceful = fresh(grace=10.0)

    assert graceful.timed
    assert [graceful.near_ms(ttl) for ttl in (70_000, 10_001, 10_000, 5)] == [60_000, 1, 0, 0]


def test_near_a_value_ends_in_time_for_its_readers_to_refresh_it() -> None:
    early = fresh(early=True, ttl=5.0)
    early.loaded(0.1)

    assert early.timed
    assert early.near_ms(5000) == 5000 - SEEN_LOADS * (100 + BESIDE_MS)
    early.loaded(10.0)
    assert early.near_ms(5000) == 5000 - EARLIEST * 5000


@pytest.mark.parametrize(("left", "share"), [(100, 0.78), (400, 0.37), (2000, 0.0067)])
def test_a_value_is_refreshed_early_with_xfetchs_chance(left: int, share: float) -> None:
    """e^(-left / load): the figures of cache-aside-and-locks.md, 2.2."""
    early, dice = fresh(early=True, ttl=60.0, grace=30.0), random.Random(7)
    early.loaded(0.4 - BESIDE_MS / 1000)

    drawn = [early.age(30_000 + left, dice.random()) for _ in range(20_000)]

    assert drawn.count(Age.EARLY) / len(drawn) == pytest.approx(share, rel=0.1)
    assert Age.STALE not in drawn


def test_what_is_read_once_a_minute_is_not_refreshed_early() -> None:
    """Of reads at any time of a ttl of 5 minutes, with loads of 0.4 s: one in 750."""
    early, dice = fresh(early=True, ttl=300.0), random.Random(7)
    early.loaded(0.4)

    drawn = [early.age(round(dice.random() * 300_000), dice.random()) for _ in range(20_000)]

    assert drawn.count(Age.EARLY) / len(drawn) < 0.004


def test_what_is_read_often_is_refreshed_before_it_ends_and_not_much_more_than_it_has_to() -> None:
    """A thousand reads a second, ttl 5 s; of loads of 5 ms to 1 s."""
    dice = random.Random(7)
    for load in (0.005, 0.1, 0.4, 1.0):
        early = fresh(early=True, ttl=5.0)
        early.loaded(load)
        lasted: list[int] = []
        for _ in range(300):
            left = next(
                left for left in range(5000, -1, -1) if early.age(left, dice.random()) is Age.EARLY
            )
            lasted.append(5000 - left)
            assert left > 0, load

        assert 5000 * len(lasted) / sum(lasted) <= 1.7


def test_how_long_loads_take_is_learnt_slowly_but_for_the_first() -> None:
    early = fresh(early=True)

    early.loaded(1.0)
    assert early.load_ms == 1000
    early.loaded(2.0)
    assert early.load_ms == 1200
    assert repr(early) == "<Freshness grace=0ms load=1200ms early=True>"
