"""What the server says of a lock."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import OddReply
from nearhit.proxy.locking.grants import Held, Taken, answer_of, drift_ms, fence_ms, keys_of


def test_an_answer_is_a_grant_or_says_for_how_long_another_holds_it() -> None:
    assert answer_of([1, b"42", 1], 2.5) == Taken(42, True, 2.5)
    assert answer_of([1, b"42", 0], 2.5) == Taken(42, False, 2.5)
    assert answer_of([0, 300], 2.5) == Held(300)


@pytest.mark.parametrize("reply", [None, 1, [], [1, b"x", 1], [1, b"1"], [b"0", 1]])
def test_anything_else_is_odd(reply: object) -> None:
    with pytest.raises(OddReply):
        answer_of(reply, 0.0)  # type: ignore[arg-type]


def test_clocks_drift_by_a_hundredth_and_two_milliseconds() -> None:
    assert [drift_ms(ttl) for ttl in (1, 100, 101, 30_000)] == [3, 3, 4, 302]


def test_a_fence_is_kept_for_a_day_or_twice_as_long_as_its_lock() -> None:
    assert fence_ms(1) == b"86400000"
    assert fence_ms(86_400_000) == b"172800000"


def test_the_keys_of_a_lock_share_a_slot() -> None:
    assert keys_of(b"r") == (b"lock:{r}", b"fence:{r}", b"fence:{r}:grant")
