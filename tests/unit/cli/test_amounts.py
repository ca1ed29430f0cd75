"""Numbers as people read them."""

from __future__ import annotations

import pytest
from nearhit.proxy.cli.amounts import NONE, count, duration, part, size, span, trend


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, NONE), (0, "0"), (0.25, "0.2"), (9.96, "10.0"), (3.0, "3"), (12345.6, "12,346")],
)
def test_a_count_has_a_digit_behind_the_point_where_it_is_small(
    number: float | None, text: str
) -> None:
    assert count(number) == text


def test_a_part_is_of_a_hundred() -> None:
    assert (part(None), part(0.5), part(1.0)) == (NONE, "50.0 %", "100.0 %")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, NONE),
        (27, "27 B"),
        (1536, "1.5 KiB"),
        (200 << 10, "200 KiB"),
        (3 << 50, "3072 TiB"),
    ],
)
def test_a_size_is_in_bytes_and_their_powers(number: float | None, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(0, "0 µs"), (999, "999 µs"), (3544, "3.54 ms"), (12_000_000, "12 s")],
)
def test_a_duration_has_three_digits(microseconds: float, text: str) -> None:
    assert duration(microseconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3605, "1 h"),
        (90061, "1 d 1 h"),
    ],
)
def test_a_span_has_two_units_at_most(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_trend_has_a_bar_for_each_of_the_last_numbers() -> None:
    assert trend([9, 0, 4, None, 8], 4) == "▁▅ █"
    assert trend([0.5, 1.0], 9, most=1.0) == "▅█"
    assert trend([0, 0], 9) == "▁▁"
    assert trend([1, 2], 0) == trend([], 9) == ""
