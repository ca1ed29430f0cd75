"""The metrics with labels: their rows, their values, and how those of workers add up."""

from __future__ import annotations

import pytest
from nearhit.proxy.stats.counters import Kind
from nearhit.proxy.stats.families import (
    FAMILIES,
    LABELS_MOST,
    Families,
    added,
    buckets_of,
    merged,
    numbers_of,
    only_counted,
)
from nearhit.proxy.stats.sampler import BOUNDS, Histogram


def test_each_has_a_name_of_its_own_and_a_sentence() -> None:
    assert len({one.name for one in FAMILIES}) == len(FAMILIES)
    for one in FAMILIES:
        assert one.help.endswith("."), one
        assert (one.kind is Kind.HISTOGRAM) == one.name.endswith("_duration_seconds"), one


def test_values_are_read_where_they_stand_and_add_up_under_the_same_labels() -> None:
    families = Families()
    families.read("lanes", lambda: [(("a:1", "shared"), [2])])
    families.read("lanes", lambda: [(("a:1", "shared"), [1]), (("a:1", "pinned"), [4])])

    assert families.series() == {
        ("lanes", ("a:1", "shared")): [3],
        ("lanes", ("a:1", "pinned")): [4],
    }
    assert repr(families) == "<Families 2 series>"


def test_a_name_without_a_row_is_a_defect() -> None:
    with pytest.raises(KeyError):
        Families().read("nothing", list)


def test_loads_are_kept_by_loader_and_result() -> None:
    families = Families()
    families.loaded("users", "success", 0.5)
    families.loaded("users", "success", 1.5)
    families.loaded("users", "error", 0.25)

    series = families.series()

    done = series["load_duration_seconds", ("users", "success")]
    assert (done[0], sum(done[1:])) == (2.0, 2)
    assert sum(series["load_duration_seconds", ("users", "error")][1:]) == 1


def test_loaders_without_end_are_one() -> None:
    families = Families()
    for number in range(LABELS_MOST + 10):
        families.loaded(f"loader{number}", "success", 0.1)

    series = families.series()

    assert len(series) == LABELS_MOST + 1
    assert sum(series["load_duration_seconds", ("other", "success")][1:]) == 10


def test_nodes_without_end_are_one() -> None:
    families = Families()
    nodes = [((f"10.0.0.{n}:6379", "on"), [1.0]) for n in range(LABELS_MOST + 5)]
    families.read("tracked_lanes", lambda: nodes)

    series = families.series()

    assert len(series) == LABELS_MOST + 1
    assert series["tracked_lanes", ("other", "on")] == [5]


def test_buckets_are_cumulative_and_the_last_has_all() -> None:
    seen = Histogram()
    for seconds in (1e-7, 3e-3, 100.0):
        seen.observe(seconds)

    buckets = buckets_of(numbers_of(seen))

    assert [count for _, count in buckets][-2:] == [2, 3]
    assert buckets[0] == ("0.000001024", 1)
    assert buckets[-1] == ("+Inf", 3)
    assert [float(bound) for bound, _ in buckets[:-1]] == pytest.approx(BOUNDS)


def test_of_several_workers_all_is_summed_and_gauges_do_not_outlive_one() -> None:
    one = {("commands", ("read", "near")): [3.0], ("lanes", ("a", "shared")): [1.0]}
    other = {("commands", ("read", "near")): [4.0], ("pinned_waiters", ()): [2.0]}

    assert merged((one, other)) == {
        ("commands", ("read", "near")): [7.0],
        ("lanes", ("a", "shared")): [1.0],
        ("pinned_waiters", ()): [2.0],
    }
    assert only_counted(one) == {("commands", ("read", "near")): [3.0]}
    assert added([1, 2], [10, 20]) == [11, 22]
