"""When a slot's gate opens, and in which order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from nearhit.proxy.cluster.gates import Gate, pause_of
from nearhit.proxy.cluster.redirects import Kind
from nearhit.proxy.upstream.lane import Lane

from tests.fakes import Tray
from tests.unit.cluster.bench import A, Bench, get, later


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = await Bench().open()
    yield made
    await made.close()


class Watcher:
    def __init__(self) -> None:
        self.opened: list[Any] = []
        self.gave_up: list[Lane] = []
        self.gate = Gate([1], lambda gate: self.opened.extend(gate.taken()), self.gave_up.append)


def parts(count: int) -> list[Any]:
    return [object() for _ in range(count)]


async def test_what_was_redirected_goes_before_what_came_since(bench: Bench) -> None:
    watcher = Watcher()
    first, second, third = parts(3)
    watcher.gate.wait(third)
    watcher.gate.redirected(first)
    watcher.gate.redirected(second)
    watcher.gate.pause(0)
    assert watcher.opened == [], "whoever made it may add to it"
    await later()

    assert watcher.opened == [first, second, third]


async def test_it_opens_when_all_before_its_mark_is_answered(bench: Bench) -> None:
    watcher, lane = Watcher(), bench.lanes[0]
    (part,) = parts(1)
    watcher.gate.wait(part)
    bench.send(get(A))
    watcher.gate.behind(lane)
    watcher.gate.pause(0)
    await later()
    assert watcher.opened == []

    bench.node(0).reply(b"$-1\r\n*0\r\n")
    await later()

    assert watcher.opened == [part]


async def test_a_node_that_owes_nothing_is_not_waited_for(bench: Bench) -> None:
    watcher = Watcher()
    (part,) = parts(1)
    watcher.gate.wait(part)
    watcher.gate.behind(bench.lanes[0])
    await later()

    assert watcher.opened == [part]


async def test_a_silent_node_is_given_up(bench: Bench) -> None:
    watcher = Watcher()
    bench.send(get(A))
    watcher.gate.behind(bench.lanes[0], 0.02)
    await later(0.05)

    assert watcher.gave_up == [bench.lanes[0]]


async def test_a_node_that_still_answers_is_not_given_up(bench: Bench) -> None:
    watcher, tray = Watcher(), Tray(9)
    bench.front.send(get(A) * 9, tray)
    watcher.gate.behind(bench.lanes[0], 0.5)
    for _ in range(5):
        bench.node(0).reply(b"$-1\r\n")
        await later(0.15)  # longer than it waits, all in all

    assert watcher.gave_up == []


async def test_a_closed_gate_hands_over_what_waits(bench: Bench) -> None:
    watcher = Watcher()
    first, second = parts(2)
    watcher.gate.wait(first)
    watcher.gate.wait(second)
    watcher.gate.pause(0)
    watcher.gate.forget(first)

    assert watcher.gate.close() == [second]
    await later()
    assert watcher.opened == []


def test_pauses_grow_with_each_hop_and_the_first_redirection_has_none() -> None:
    assert [pause_of(Kind.MOVED, hops) for hops in (1, 2, 3, 4)] == [0, 0.002, 0.004, 0.008]
    assert pause_of(Kind.AGAIN, 1) == 0.002
    assert pause_of(Kind.LATER, 7) == pause_of(Kind.LATER, 0) == 0.05
