"""Since when a lane owes what it has not answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nearhit.proxy.cluster.silences import Silences


@dataclass(eq=False)
class Line:
    owes: bool = True
    heard: int = 7


def told(silences: Silences, line: Any, now: float, *, looked: bool = True) -> float:
    if looked:
        silences.look([line], now)
    return silences.of(line, now)


def test_who_owes_and_says_nothing_is_silent_from_the_first_look_on() -> None:
    silences, line = Silences(), Line()

    assert [told(silences, line, now) for now in (10.0, 10.25, 11.5)] == [0, 0.25, 1.5]
    assert told(silences, line, 13, looked=False) == 3
    assert repr(silences) == "<Silences 1 owe>"


def test_who_had_nothing_to_say_is_silent_from_the_question_on() -> None:
    """Not from the last answer: a node that is paused for its failover had all the time."""
    silences, line = Silences(), Line(owes=False)
    assert [told(silences, line, now) for now in (10.0, 11.0, 12.0)] == [0, 0, 0]

    line.owes = True
    assert told(silences, line, 12.2, looked=False) == 0
    assert [told(silences, line, now) for now in (12.25, 12.75)] == [0, 0.5]


def test_who_has_said_something_begins_anew() -> None:
    silences, line = Silences(), Line()
    silences.look([line], 10)  # type: ignore[list-item]
    line.heard += 1

    assert told(silences, line, 11, looked=False) == 0
    assert [told(silences, line, now) for now in (11.0, 11.25)] == [0, 0.25]


def test_who_has_answered_all_and_is_asked_again_begins_anew() -> None:
    silences, line = Silences(), Line()
    silences.look([line], 10)  # type: ignore[list-item]
    line.owes, line.heard = False, 8
    assert told(silences, line, 10.1, looked=False) == 0
    silences.look([line], 10.25)  # type: ignore[list-item]
    line.owes = True

    assert told(silences, line, 10.5) == 0
    assert told(silences, line, 10.75) == 0.25


def test_who_is_not_looked_at_any_more_is_forgotten() -> None:
    silences, line = Silences(), Line()
    silences.look([line], 10)  # type: ignore[list-item]
    silences.look([], 10.25)

    assert told(silences, line, 11, looked=False) == 0
