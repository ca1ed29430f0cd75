"""The sampler: which reads are timed, and what is kept of them."""

from __future__ import annotations

import pytest
from nearhit.proxy.stats.sampler import (
    BOUNDS,
    BUCKETS,
    UPPER,
    Class,
    Histogram,
    Sampler,
    Tier,
    bucket_of,
)


def test_each_bucket_ends_where_the_next_begins() -> None:
    for bucket, end in enumerate(UPPER):
        assert bucket_of(end * (1 - 1e-6)) == bucket
        assert bucket_of(end * (1 + 1e-6)) == bucket + 1


@pytest.mark.parametrize(("seconds", "bucket"), [(0, 0), (1e-9, 0), (17.2, BUCKETS - 1)])
def test_what_is_out_of_range_is_counted_at_its_end(seconds: float, bucket: int) -> None:
    assert bucket_of(seconds) == bucket


def test_a_quantile_is_right_to_within_a_quarter() -> None:
    seen = Histogram()
    for us in range(1, 1001):
        seen.observe(us / 1e6)

    for part in (0.5, 0.9, 0.99):
        found = seen.quantile(part)
        assert found is not None
        assert part * 1e-3 <= found + 1e-9 <= part * 1.25e-3
    assert seen.quantile(1.0) == pytest.approx(1e-3)


def test_what_never_was_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None


def test_the_longest_is_told_also_when_it_is_out_of_range() -> None:
    seen = Histogram()
    seen.observe(40.0)

    assert seen.quantile(0.99) == 40.0


def test_a_clock_that_went_back_counts_as_no_time() -> None:
    seen = Histogram()
    seen.observe(-1.0)

    assert (seen.count, seen.seconds) == (1, 0.0)


def test_what_is_below_each_bound_is_told() -> None:
    seen = Histogram()
    for seconds in (1e-7, 1.5e-6, 3e-6, 1e-3, 100.0):
        seen.observe(seconds)

    below = list(seen.cumulative())

    assert len(below) == len(BOUNDS)
    assert below[:3] == [1, 2, 3]
    assert below[-1] == 4  # the last is above all bounds
    assert seen.count == 5


def test_a_reset_is_for_quantiles_and_counts_go_on() -> None:
    sampler = Sampler()
    sampler.observe(Class.READ, Tier.NEAR, 1.0)
    sampler.reset()
    seen = sampler.commands[Class.READ, Tier.NEAR]
    assert seen.quantile(0.5) is None
    assert (seen.count, seen.recent) == (1, 0)

    sampler.observe(Class.READ, Tier.NEAR, 1e-3)

    assert seen.quantile(0.5) == pytest.approx(1e-3, rel=0.25)
    assert (seen.count, seen.recent) == (2, 1)


def test_gaps_are_left_to_chance_and_right_on_average() -> None:
    sampler = Sampler(64)
    while sampler.weight < 64:
        sampler.gap()
    gaps = [sampler.gap() for _ in range(4000)]

    assert min(gaps) >= 32
    assert max(gaps) <= 96
    assert len(set(gaps)) > 50
    assert 62 <= sum(gaps) / len(gaps) <= 66


def test_the_first_reads_are_looked_at_more_closely_and_weigh_less() -> None:
    sampler = Sampler(64)
    gaps, weights = [], []
    for _ in range(9):
        gaps.append(sampler.gap())
        weights.append(sampler.weight)

    # Each weighs as many as those until it were on average; the first gap is before any.
    assert weights == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    for gap, weight in zip(gaps, weights[1:], strict=False):
        assert weight / 2 <= gap <= weight * 1.5


def test_a_sampler_of_each_one_skips_none() -> None:
    sampler = Sampler(1)

    assert {sampler.gap() for _ in range(50)} == {1}


def test_they_can_be_looked_at() -> None:
    sampler = Sampler()
    sampler.observe(Class.OWN, Tier.LOAD, 0.25)

    assert repr(sampler) == "<Sampler 1/1024 seen=1>"
    assert repr(sampler.commands[Class.OWN, Tier.LOAD]) == "<Histogram 1 in 0.250000 s>"
    assert repr(sampler.trips) == "<Trips <Histogram 0 in 0.000000 s>>"


def test_trips_are_kept_by_the_same_clock_and_reset_with_the_rest() -> None:
    sampler = Sampler(1, clock=lambda: 7.0)
    sampler.trips.took(0.5)
    sampler.reset()

    assert (sampler.trips.now(), sampler.trips.gap()) == (7.0, 1)
    assert (sampler.trips.histogram.count, sampler.trips.histogram.recent) == (1, 0)


def test_a_sampler_without_a_clock_sees_no_time_pass() -> None:
    assert Sampler().clock() == 0.0
