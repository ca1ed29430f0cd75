"""Clients that do nothing are closed, and those whose buffers are the largest are cut."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from nearhit.proxy.session.clients import Clients, Traffic
from nearhit.proxy.session.limits import Limits, memory_of
from nearhit.proxy.session.reasons import (
    HOLD_BLOCKED,
    HOLD_MONITOR,
    HOLD_MULTI,
    HOLD_SUBSCRIBED,
    HOLD_TUNNEL,
)
from nearhit.proxy.settings.output import OutputBuffer
from nearhit.proxy.upstream.subscriptions import Channels

from tests.people import Someone


@dataclass(eq=False)
class Person(Someone):
    quiet: bool = True
    marks: str = ""


def joined(*people: Person) -> Clients:
    clients = Clients(10, lambda: None)
    for each in people:
        clients.join(each)  # type: ignore[arg-type]  # it is flat
    return clients


def person(unsent: int = 0, **more: Any) -> Person:
    return Person(traffic=Traffic(unsent=unsent), **more)


def test_who_has_been_idle_for_longer_than_the_timeout_is_closed() -> None:
    late, soon = person(active=99.0), person(active=100.0)
    limits = Limits(joined(late, soon), idle_s=10, memory=0)

    limits.tick(110.0)

    assert (late.ended, soon.ended) == (True, False)


@pytest.mark.parametrize("hold", [HOLD_BLOCKED, HOLD_MONITOR, HOLD_SUBSCRIBED, HOLD_TUNNEL])
def test_who_waits_for_the_future_is_not_idle(hold: int) -> None:
    waits, queues = person(holds=hold), person(holds=HOLD_MULTI)

    Limits(joined(waits, queues), idle_s=10, memory=0).tick(200.0)

    assert (waits.ended, queues.ended) == (False, True)


def test_who_waits_for_an_answer_is_not_idle() -> None:
    asks = person(quiet=False)

    Limits(joined(asks), idle_s=10, memory=0).tick(200.0)

    assert not asks.ended


@pytest.mark.parametrize("idle_s", [0.0, 1000.0])
def test_without_a_timeout_nobody_is_closed(idle_s: float) -> None:
    someone = person()

    Limits(joined(someone), idle_s=idle_s, memory=0).tick(200.0)

    assert not someone.ended


def test_a_clients_memory_is_all_that_it_has_in_our_buffers() -> None:
    someone = person()
    someone.traffic = Traffic(unread=1, gathered=(20, 1), unsent=300)
    someone.queued_bytes = 4000

    assert memory_of(someone) == 4321  # type: ignore[arg-type]


def test_names_of_subscriptions_are_memory_too() -> None:
    framing = Channels()
    framing.size = 50_000
    someone = person(unsent=1, lane=SimpleNamespace(framing=framing))

    assert memory_of(someone) == 50_001  # type: ignore[arg-type]


def test_the_largest_are_cut_until_the_rest_has_room() -> None:
    people = [person(unsent=size) for size in (10, 500, 30, 400)]

    Limits(joined(*people), idle_s=0, memory=50).tick(0.0)

    assert [bool(each.cut) for each in people] == [False, True, False, True]
    assert people[1].cut == "500 bytes in its buffers, and more than maxmemory_clients in all"


@pytest.mark.parametrize(
    "most", [0, 100], ids=lambda most: "no bound" if not most else "just so much"
)
def test_within_the_bound_nobody_is_cut(most: int) -> None:
    people = [person(unsent=50), person(unsent=50)]

    Limits(joined(*people), idle_s=0, memory=most).tick(0.0)

    assert not any(each.cut for each in people)


def test_who_is_not_to_be_evicted_is_not() -> None:
    kept, other = person(unsent=500, marks="e"), person(unsent=400)

    Limits(joined(kept, other), idle_s=0, memory=50).tick(0.0)

    assert (kept.cut, bool(other.cut)) == ("", True)


def test_who_has_nothing_is_not_cut_for_who_may_not_be() -> None:
    kept, empty = person(unsent=500, marks="e"), person()
    limits = Limits(joined(kept, empty), idle_s=0, memory=50)

    limits.tick(0.0)

    assert not empty.cut
    assert repr(limits) == "<Limits idle_s=0 memory=50 over=0>"


def bounded(*people: Person) -> Limits:
    """A soft bound of 100 bytes for 10 seconds."""
    limits = Limits(joined(*people))
    limits.take(idle_s=0, memory=0, output=OutputBuffer(hard=1000, soft=100, seconds=10))
    return limits


def test_who_stays_beyond_the_soft_bound_for_too_long_is_cut() -> None:
    slow, quick = person(unsent=100), person(unsent=99)
    limits = bounded(slow, quick)

    for now in (0.0, 5.0, 10.0):
        limits.tick(now)
        assert not slow.cut
    assert repr(limits) == "<Limits idle_s=0 memory=0 over=1>"
    limits.tick(11.0)

    assert slow.cut == (
        "overcoming of output buffer limits (client_output_buffer): 100 bytes, for 11 s"
    )
    assert not quick.cut


def test_who_has_been_below_it_has_all_the_time_again() -> None:
    someone = person(unsent=100)
    limits = bounded(someone)
    limits.tick(0.0)
    someone.traffic = Traffic(unsent=99)
    limits.tick(9.0)
    someone.traffic = Traffic(unsent=100)

    limits.tick(12.0)
    limits.tick(22.0)

    assert not someone.cut


def test_limits_that_are_taken_are_in_force() -> None:
    idle = person(active=0.0)
    limits = bounded(idle)

    limits.take(idle_s=1, memory=0, output=OutputBuffer())
    limits.tick(10.0)

    assert idle.ended


def test_who_is_cut_is_counted() -> None:
    clients = joined(person(unsent=500))

    Limits(clients, memory=50).tick(0.0)

    assert clients.cuts == 1
