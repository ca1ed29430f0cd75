"""The last minutes: rates and percentiles are differences of sums."""

from __future__ import annotations

import pytest
from nearhit.proxy.stats.families import Series, numbers_of
from nearhit.proxy.stats.history import KEPT, SUMS, History, Sample, durations_of, quantile
from nearhit.proxy.stats.sampler import Histogram


def sample(at: float, durations: dict[str, Histogram] | None = None, **sums: float) -> Sample:
    found = {tier: numbers_of(one) for tier, one in (durations or {}).items()}
    return Sample(at, dict.fromkeys(SUMS, 0.0) | sums, found)


def histogram(*seconds: float) -> Histogram:
    made = Histogram()
    for one in seconds:
        made.observe(one)
    return made


def test_rates_are_of_the_time_that_went_by() -> None:
    history = History()
    for one in (
        sample(10.0),
        sample(11.0, commands=30, hits=3, misses=1),
        sample(13.0, commands=50, hits=3, misses=1),
    ):
        history.take(one)

    found = history.columns(13.5)

    assert found["at"] == [-2.5, -0.5]
    assert found["seconds"] == [1.0, 2.0]
    assert found["commands"] == [30.0, 10.0]
    assert found["hit_ratio"] == [0.75, None]
    assert {len(column) for column in found.values()} == {2}


def test_a_sum_that_comes_down_is_no_negative_rate_and_no_time_is_no_point() -> None:
    history = History()
    for one in (sample(1.0, loads=5), sample(2.0, loads=3), sample(2.0, loads=4)):
        history.take(one)

    assert history.columns(2.0)["loads"] == [0.0]


def test_it_is_bounded() -> None:
    history = History()
    for at in range(KEPT + 50):
        history.take(sample(float(at)))

    assert len(history.columns(0.0)["at"]) == KEPT - 1
    assert repr(history) == f"<History {KEPT} samples>"


def test_percentiles_are_of_the_last_minute() -> None:
    history = History()
    near = histogram(*[0.5] * 100)
    history.take(sample(0.0, {"near": near}))
    history.take(sample(100.0, {"near": near}))
    for _ in range(100):
        near.observe(0.0015)
    server = histogram(0.003)
    history.take(sample(110.0, {"near": near, "server": server, "load": histogram()}))

    found = history.latencies()

    assert set(found) == {"near", "server"}
    for tier, seconds in (("near", 0.0015), ("server", 0.003)):
        for value in found[tier].values():
            assert value is not None
            assert seconds / 2 <= value <= seconds * 2  # bounds are a doubling apart


def test_nothing_has_no_percentiles() -> None:
    assert History().latencies() == {}
    assert quantile(numbers_of(Histogram()), 0.5) is None


@pytest.mark.parametrize(("seconds", "low", "high"), [(60.0, 17.0, 18.0), (1e-9, 0.0, 2e-6)])
def test_what_is_beyond_the_bounds_is_at_them(seconds: float, low: float, high: float) -> None:
    found = quantile(numbers_of(histogram(seconds)), 0.99)

    assert found is not None
    assert low <= found <= high


def test_durations_of_classes_add_up_by_tier() -> None:
    series: Series = {
        ("command_duration_seconds", ("read", "near")): [1.0, 2.0],
        ("command_duration_seconds", ("own", "near")): [3.0, 4.0],
        ("command_duration_seconds", ("read", "server")): [5.0, 6.0],
        ("leases_held", ()): [7.0],
    }

    assert durations_of(series) == {"near": [4.0, 6.0], "server": [5.0, 6.0]}
