"""Seconds of silence are counted only while something is due."""

from __future__ import annotations

import pytest
from nearhit.proxy.upstream.silence import Silence


def ticks(silence: Silence, count: int, *, owes: bool = True, heard: int = 0) -> list[bool]:
    return [silence.too_long(owes=owes, heard=heard) for _ in range(count)]


def test_silence_is_too_long_once_the_limit_is_passed() -> None:
    silence = Silence(2)

    assert ticks(silence, 5) == [False, False, False, True, True]


def test_anything_heard_begins_the_count_anew() -> None:
    silence = Silence(2)
    ticks(silence, 3)

    assert ticks(silence, 4, heard=1) == [False, False, False, True]


def test_a_lane_that_owes_nothing_may_be_silent() -> None:
    silence = Silence(2)

    assert not any(ticks(silence, 9, owes=False))
    assert ticks(silence, 3) == [False, False, True]


@pytest.mark.parametrize("limit", [0.5, 2])
def test_what_waits_for_a_connection_waits_no_longer_than_the_limit(limit: float) -> None:
    silence = Silence(limit)

    waits = [silence.waits_too_long(waits=True) for _ in range(int(limit) + 1)]

    assert waits == [False] * int(limit) + [True]


def test_a_queue_that_was_emptied_begins_to_wait_anew() -> None:
    silence = Silence(1)
    silence.waits_too_long(waits=True)
    silence.waits_too_long(waits=False)

    assert not silence.waits_too_long(waits=True)
    assert silence.waits_too_long(waits=True)


def test_while_the_server_is_silent_the_time_does_not_count_but_for_the_most() -> None:
    silence = Silence(2, 6)

    waits = [silence.waits_too_long(waits=True, silent=at < 5) for at in range(8)]

    assert waits == [False] * 7 + [True]
    assert silence.waited_past_all
    assert not silence.past_all


def test_the_most_is_no_bound_where_none_is_set() -> None:
    silence = Silence(2)
    ticks(silence, 1000)

    assert not silence.past_all


def test_the_counts_are_shown() -> None:
    silence = Silence(1.5)
    ticks(silence, 2)

    assert repr(silence) == "<Silence silent=1 waited=0 limit=1.5>"


def test_it_says_for_how_long_nothing_was_heard() -> None:
    silence = Silence(9)

    for _ in range(4):
        silence.too_long(owes=True, heard=5)

    assert silence.silent_s == 3
