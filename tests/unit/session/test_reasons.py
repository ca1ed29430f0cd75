"""The bits of stalls and of holds: none stands for two things."""

from __future__ import annotations

from nearhit.proxy.hot.answers import STALL_CLIENT, STALL_WINDOW
from nearhit.proxy.session import reasons


def bits(prefix: str) -> dict[str, int]:
    return {
        name: value
        for name, value in vars(reasons).items()
        if name.startswith(prefix) and isinstance(value, int)
    }


def test_each_stall_is_one_bit_of_its_own() -> None:
    stalls = bits("STALL_")

    assert stalls["STALL_WINDOW"] == STALL_WINDOW
    assert stalls["STALL_CLIENT"] == STALL_CLIENT
    assert sorted(stalls.values()) == [1 << at for at in range(len(stalls))]


def test_each_hold_is_one_bit_of_its_own() -> None:
    assert sorted(bits("HOLD_").values()) == [1 << at for at in range(len(bits("HOLD_")))]


def test_state_is_every_hold_but_a_wait_for_an_answer() -> None:
    for name, hold in bits("HOLD_").items():
        assert bool(hold & reasons.HOLDS_STATE) is (name not in ("HOLD_BLOCKED", "HOLD_GRANT"))
