from __future__ import annotations

import pytest
from nearhit.proxy.stats.counters import READS, ROWS, Kind, Stats, hit_ratio, info_section

# What any STATS has, in this order; what is ours alone stands behind.
CONTRACT = [
    "near_hits",
    "near_misses",
    "loads",
    "load_failures",
    "coalesced",
    "leases",
    "fills_refused",
    "invalidated",
    "locks_acquired",
    "locks_contended",
    "near_entries",
    "near_bytes",
    "near_evictions",
    "tracking",
    "clients",
    "upstream_connections",
    "uptime_s",
]


def test_the_rows_stand_in_the_order_of_the_contract() -> None:
    names = [row.name for row in ROWS]

    assert names[: len(CONTRACT)] == CONTRACT
    assert list(Stats().own()) == names


def test_a_name_has_one_row_and_one_sentence() -> None:
    rows = (*READS, *ROWS)

    assert len({row.name for row in rows}) == len(rows)
    assert all(row.help.endswith(".") and row.help.count(". ") == 0 for row in rows)


def test_everything_is_zero_before_it_happens_and_tracking_is_off() -> None:
    own = Stats().own()

    assert own.pop("tracking") == "off"
    assert set(own.values()) == {0}


def test_what_is_added_is_shown() -> None:
    stats = Stats()

    stats.add("loads")
    stats.add("loads", 2)

    assert stats.own()["loads"] == 3
    assert repr(stats) == "<Stats loads=3>"


def test_a_gauge_is_looked_at_when_it_is_shown() -> None:
    stats = Stats()
    clients = [1, 2]
    stats.gauge("clients", lambda: len(clients))
    stats.gauge("tracking", lambda: "on")

    clients.append(3)

    assert stats.own()["clients"] == 3
    assert stats.own()["tracking"] == "on"


def test_a_counter_that_is_kept_elsewhere_and_what_is_added_here_are_one_number() -> None:
    stats = Stats()
    stats.counter("hits", lambda: 40)

    stats.add("hits", 2)

    assert stats.running("hits") == 42


@pytest.mark.parametrize("name", ["nonsense", "clients"])
def test_what_is_no_counter_cannot_be_counted(name: str) -> None:
    with pytest.raises(KeyError):
        Stats().add(name)
    with pytest.raises(KeyError):
        Stats().counter(name, lambda: 0)


@pytest.mark.parametrize("name", ["nonsense", "loads"])
def test_what_is_no_gauge_cannot_be_looked_at(name: str) -> None:
    with pytest.raises(KeyError):
        Stats().gauge(name, lambda: 0)


def test_a_reset_starts_counters_again_but_not_for_prometheus() -> None:
    stats = Stats()
    stats.add("loads", 5)
    stats.counter("near_hits", lambda: 7)
    stats.gauge("clients", lambda: 9)

    stats.reset()
    stats.add("loads")

    own = stats.own()
    assert (own["loads"], own["near_hits"], own["clients"]) == (1, 0, 9)
    readings = {row.name: stats.reading(row) for row in ROWS}
    assert (readings["loads"], readings["near_hits"], readings["clients"]) == (6, 7, 9)


def test_every_row_can_be_read() -> None:
    stats = Stats()

    for row in (*READS, *ROWS):
        assert stats.reading(row) == ("off" if row.name == "tracking" else 0)
        assert row.kind in Kind


def test_the_map_has_the_reads_at_its_head() -> None:
    shown = Stats().show(3, 1)

    assert list(shown.items())[:3] == [("hits", 3), ("misses", 1), ("hit_ratio", 0.75)]
    assert list(shown)[3:] == [row.name for row in ROWS]


def test_this_process_alone_shows_its_own_reads_since_the_reset() -> None:
    stats = Stats()
    stats.add("hits", 10)
    stats.reset()
    stats.add("hits", 1)
    stats.add("misses", 1)

    here = stats.here()

    assert (here["hits"], here["misses"], here["hit_ratio"]) == (1, 1, 0.5)


@pytest.mark.parametrize(
    ("hits", "misses", "ratio"), [(0, 0, None), (1, 0, 1.0), (0, 1, 0.0), (1, 3, 0.25)]
)
def test_hit_ratio(hits: int, misses: int, ratio: float | None) -> None:
    assert hit_ratio(hits, misses) == ratio


def test_the_section_of_info_has_a_row_for_each_value() -> None:
    section = info_section({"hits": 2, "hit_ratio": 2 / 3, "tracking": "on"})

    assert section == b"# Nearhit\r\nhits:2\r\nhit_ratio:0.6667\r\ntracking:on\r\n"


def test_in_info_no_ratio_is_empty() -> None:
    assert info_section({"hit_ratio": None}) == b"# Nearhit\r\nhit_ratio:\r\n"
