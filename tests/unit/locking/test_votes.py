"""What the answers of several lock servers come to."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import NoMajority, ServerError, UpstreamDown, UpstreamLost
from nearhit.proxy.locking.votes import (
    FREE,
    Vote,
    ballot,
    complaint,
    frees_in,
    looks,
    tally,
)

AWAY = UpstreamDown("away")
LOST = UpstreamLost("cut")
TAKEN: Vote = [1, b"7", 1]
OLD: Vote = [1, b"7", 0]
HELD: Vote = [0, 300]


def of(*votes: Vote) -> tuple[bool, bool, int, int]:
    found = ballot(votes, len(votes) // 2 + 1)
    return found.won, found.over, found.answered, found.missing


@pytest.mark.parametrize(
    ("votes", "result"),
    [
        ((TAKEN, TAKEN, TAKEN, AWAY, AWAY), (True, True, 3, 0)),
        ((TAKEN, TAKEN, OLD, HELD, HELD), (True, True, 5, 0)),
        ((TAKEN, TAKEN, AWAY, AWAY, LOST), (False, False, 2, 1)),
        ((TAKEN, TAKEN, HELD, AWAY, AWAY), (False, False, 3, 1)),
        ((TAKEN, TAKEN, HELD, HELD, HELD), (False, True, 5, 1)),
        ((HELD, HELD, HELD, AWAY, AWAY), (False, True, 3, 3)),
        (([0, FREE], [0, FREE], [0, FREE], AWAY, AWAY), (False, False, 3, 0)),
        (([b"odd"], 7, None, AWAY, AWAY), (False, False, 0, 3)),
    ],
)
def test_a_lock_is_won_by_most_of_all_and_lost_where_most_cannot_be_had(
    votes: tuple[Vote, ...], result: tuple[bool, bool, int, int]
) -> None:
    assert of(*votes) == result


def test_those_that_have_to_change_are_the_ones_that_were_not_free() -> None:
    assert ballot([TAKEN, HELD, AWAY, [0, FREE], LOST], 3).elsewhere() == {1, 2, 4}


@pytest.mark.parametrize(
    ("held", "missing", "ms"),
    [
        ([300, 100, 200], 2, 200),
        ([300, 100, 200], 1, 100),
        ([300, -1, 200], 3, -1),
        ([300], 2, -1),
        ([300], 0, FREE),
    ],
)
def test_it_is_free_when_enough_of_them_are(held: list[int], missing: int, ms: int) -> None:
    assert frees_in(held, missing) == ms


def test_a_tally_passes_by_most_and_fails_where_the_rest_cannot_make_it_pass() -> None:
    assert tally([1, 1, 1, AWAY, AWAY]).passed
    assert not tally([1, 1, AWAY, AWAY, AWAY]).passed
    assert tally([0, 0, 0, 1, 1]).failed
    assert not tally([0, 0, AWAY, AWAY, 1]).failed
    assert tally([0, b"odd", None, AWAY, 1]).answered == 2


@pytest.mark.parametrize(
    ("votes", "reply"),
    [
        ([[1, 50, b"3"], [1, 70, b"9"], [1, 60, b"4"], AWAY, AWAY], [1, 70, b"9"]),
        ([[1, 50, None], [1, 70, None], [0, -2, None], [1, 60, None], AWAY], [1, 60, None]),
        ([[0, -2, b"3"], [0, -2, b"5"], [0, -2, None], [1, 60, b"9"], LOST], [0, -2, b"9"]),
        ([[1, -1, b"x"], [1, -1, b"3"], [1, 5, b"2"], AWAY, AWAY], [1, -1, b"3"]),
        ([[1, 5, b"2"], [0, -2, b"2"], [0, -2, b"2"], [b"odd"], AWAY], [1, 5, b"2"]),
    ],
)
def test_a_lock_is_held_as_long_as_nobody_else_could_get_a_majority(
    votes: list[Vote], reply: list[object]
) -> None:
    assert looks(votes).reply() == reply


def test_who_has_no_majority_hears_why_in_the_servers_own_words_where_most_refuse() -> None:
    refused = ServerError(b"-NOPERM no")

    assert complaint([refused, refused, refused, 1, 1], 2) is refused
    why = complaint([refused, AWAY, 1, 1, LOST], 2)
    assert isinstance(why, NoMajority)
    assert str(why) == "UPSTREAM 2 of 5 lock servers answered, 3 must agree: NOPERM no"
    assert not why.outcome_unknown
    assert complaint([1, 0, 1, 0, AWAY], 4, unknown=True).outcome_unknown
    assert "they do not agree" in str(complaint([1, 1, 0, 0, 0], 5))
