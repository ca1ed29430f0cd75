"""The moves between modes: what may follow what, and the same as bits."""

from __future__ import annotations

import pytest
from nearhit.proxy.hot.modes import HOMES, MOVE_BITS, MOVES
from nearhit.proxy.resp.modes import Mode


@pytest.mark.parametrize("mode", set(Mode) - {Mode.INSIDE})
def test_home_may_follow_every_mode_of_a_session(mode: Mode) -> None:
    assert MOVES[mode] >= HOMES


def test_no_session_is_inside() -> None:
    assert Mode.INSIDE not in MOVES
    assert MOVE_BITS[Mode.INSIDE] == 0
    assert not any(Mode.INSIDE in moves for moves in MOVES.values())


@pytest.mark.parametrize("mode", Mode)
def test_the_bits_say_the_same(mode: Mode) -> None:
    assert {to for to in Mode if MOVE_BITS[mode] >> to & 1} == MOVES.get(mode, frozenset())


def test_passing_modes_are_left_for_home_but_for_getorset_behind_reads() -> None:
    passing = set(Mode) - HOMES - {Mode.INSIDE}

    beyond = {mode: MOVES[mode] - HOMES for mode in passing if MOVES[mode] - HOMES}

    assert beyond == {Mode.TRACKED: {Mode.OWN}}
