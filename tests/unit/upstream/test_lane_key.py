"""Sessions share lanes where their keys are equal."""

from __future__ import annotations

import pytest
from nearhit.proxy.upstream.lane_key import LaneKey, Use, User


def test_a_key_without_more_is_the_proxys_own_first_db() -> None:
    assert LaneKey() == LaneKey(db=0, resp=2, user=None, use=Use.REQUESTS)


@pytest.mark.parametrize(
    "other",
    [
        LaneKey().with_db(1),
        LaneKey().with_resp(3),
        LaneKey().with_user(User(b"u", b"p")),
        LaneKey(use=Use.BULK),
    ],
)
def test_keys_that_differ_in_anything_have_other_lanes(other: LaneKey) -> None:
    assert other != LaneKey()


def test_a_change_leaves_the_rest_and_the_old_key_as_they_were() -> None:
    user = User(b"u", b"p")
    key = LaneKey(1, 3, user)

    assert key.with_db(2) == LaneKey(2, 3, user)
    assert key.with_resp(2) == LaneKey(1, 2, user)
    assert key.with_user(None) == LaneKey(1, 3)
    assert key == LaneKey(1, 3, user)


def test_equal_keys_find_the_same_lane() -> None:
    lanes = {LaneKey(1, user=User(b"u", b"p")): "lane"}

    assert lanes[LaneKey().with_user(User(b"u", b"p")).with_db(1)] == "lane"


def test_a_user_with_another_password_is_another_user() -> None:
    assert User(b"u", b"old") != User(b"u", b"new")


def test_a_user_is_shown_without_its_password() -> None:
    assert repr(User(b"alice", b"sesame")) == "<User b'alice'>"
    assert "sesame" not in repr(LaneKey(user=User(b"alice", b"sesame")))
