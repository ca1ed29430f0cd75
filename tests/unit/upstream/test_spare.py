"""For which keys lanes are opened ahead, and for how long."""

from __future__ import annotations

from typing import Any

from nearhit.proxy.errors import UpstreamDown
from nearhit.proxy.upstream.lane_key import LaneKey
from nearhit.proxy.upstream.spare import FORGET_TICKS, KEYS_MAX, SPARES, Spares


class FakeLane:
    def __init__(self, key: LaneKey) -> None:
        self.key = key


def test_what_was_asked_for_is_kept_until_nobody_asks_for_long() -> None:
    spares = Spares(lambda lane: None)
    spares.asked_for(LaneKey())
    assert (spares.kept(LaneKey()), spares.kept(LaneKey(db=1))) == (SPARES, 0)

    for _ in range(FORGET_TICKS):
        spares.tick()
    assert spares.kept(LaneKey()) == SPARES
    spares.tick()

    assert spares.kept(LaneKey()) == 0


def test_keys_are_bounded() -> None:
    spares = Spares(lambda lane: None)
    for db in range(3 * KEYS_MAX):
        spares.asked_for(LaneKey(db=db))

    assert spares.wanted() == [LaneKey(db=db) for db in range(2 * KEYS_MAX, 3 * KEYS_MAX)]
    assert repr(spares) == f"<Spares keys={KEYS_MAX}>"


def test_a_lane_that_fails_is_not_tried_again_until_somebody_asks() -> None:
    ended: list[object] = []
    spares = Spares(ended.append)
    spares.asked_for(LaneKey())
    lane: Any = FakeLane(LaneKey())

    spares.lane_lost(lane, UpstreamDown("a test"))

    assert spares.kept(LaneKey()) == 0
    assert ended == [lane]
