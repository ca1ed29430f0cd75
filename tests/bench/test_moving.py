"""How soon a moved hot set is served again: looks in, seconds out."""

from __future__ import annotations

from math import inf

import pytest

from .moving import Look, Watch, recovery


def looks(ratios: list[float]) -> list[Look]:
    """Ten looks a second, each after 100 reads more, of which so many were answered near."""
    made = [Look(0.0, 0, 0)]
    for number, ratio in enumerate(ratios, start=1):
        hits = round(100 * ratio)
        made.append(Look(number / 10, made[-1].hits + hits, made[-1].others + 100 - hits))
    return made


def test_the_time_from_a_move_to_nine_tenths_of_the_ratio_before_it() -> None:
    second = [0.0, 0.2, 0.6, 0.71, 0.73, *[0.8] * 5]

    assert recovery(looks(second * 4), 1.0) == pytest.approx(0.5)


def test_what_is_never_made_good_takes_for_ever() -> None:
    assert recovery(looks([0.8] * 10 + [0.1] * 11), 1.0) == inf
    assert recovery(looks([0.0] * 30), 1.0) == inf


def test_nothing_seen_is_nothing_recovered() -> None:
    assert recovery([], 1.0) == inf
    assert recovery([Look(0, 5, 5), Look(1, 5, 5)], 1.0) == inf
    assert recovery(looks([0.8] * 5), 1.0) == inf


def test_a_watch_looks_until_it_is_left() -> None:
    counts = iter(range(1, 1_000))
    with Watch(lambda: (next(counts), 7)) as watch:
        while len(watch.looks) < 2:
            pass

    assert [(look.hits, look.others) for look in watch.looks[:2]] == [(1, 7), (2, 7)]
