"""A virtual lane: which nodes it listens to, and which clients it makes wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from nearhit.proxy.errors import NotServed, is_away
from nearhit.proxy.forgoing import forgoing
from nearhit.proxy.upstream.ask import AskSlot, Reply
from nearhit.proxy.upstream.lane import Lane

from tests.fakes import Tray, settle
from tests.unit.cluster.bench import A, C, get
from tests.unit.cluster.test_cluster import TRACKED, Listener, Town


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    made = Town()
    yield made
    made.lanes.close()
    await made.tasks.stop()


async def test_pushes_of_every_node_are_heard(town: Town) -> None:
    lane = town.lane(TRACKED)
    listener = lane.listener = Listener()
    await town.become(1, 2)
    for port in (1, 2):
        town.node(port).reply(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n")

    assert listener.heard == ["pushed"] * 2


async def test_nodes_that_left_are_listened_to_no_more(town: Town) -> None:
    lane = town.lane(TRACKED)
    listener = lane.listener = Listener()
    await town.become(1, 2)
    old = town.node(2)
    await town.become(1, 3)
    listener.heard.clear()
    old.reply(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n")
    old.lose()

    assert listener.heard == []


async def test_a_slot_that_leaves_is_told_by_its_canary(town: Town) -> None:
    lane = town.lane(TRACKED)
    listener = lane.listener = Listener()
    await town.become(1, 2)
    town.node(1).reply(b">3\r\n$12\r\nsunsubscribe\r\n$5\r\nnh{a}\r\n:0\r\n")

    assert listener.heard == ["dropped"]


async def test_the_silent_node_alone_is_suspected(town: Town) -> None:
    suspected: list[Lane] = []
    lane = town.lane(TRACKED)
    await town.become(1, 2)
    for pool in town.cluster.pools:
        pool.suspected = lambda lane, why, hasty=False: suspected.append(lane)  # type: ignore[method-assign]
    lane.ask(lambda _: None, b"HELLO")
    await settle()
    town.node(1).reply(b"*0\r\n")
    lane.suspect_silent("no answer")

    assert [each.port for each in suspected] == [2]


async def test_how_long_a_node_is_silent_is_looked_at_four_times_a_second(town: Town) -> None:
    """Of those that left while they owed, too."""
    lane, now, asked = town.lane(), 100.0, list[str]()
    await town.become(1, 2)
    lane.send(get(A), Tray())
    (old,) = [each for each in lane._real() if each.owes]
    await town.become(3, 2)
    soon: list[tuple[float, Callable[..., object], tuple[str, ...]]] = []
    loop: Any = SimpleNamespace(time=lambda: now, call_later=lambda *one: soon.append(one))
    lane._loop, lane._cluster.watch.refresh = loop, lambda why, avoid: asked.append(why)

    def second() -> None:
        nonlocal now
        began = now
        soon.clear()
        lane.tick()
        for at, do, *words in soon:  # type: ignore[misc]
            now = began + at
            do(*words)
        now = began + 1

    second()
    assert (lane.silent_s(old), asked) == (1.0, []), "it may be asked too early, and for nothing"
    second()
    assert (lane.silent_s(old), asked) == (2.0, ["a node is silent"] * 4)

    town.node(1).reply(b"$-1\r\n")
    assert lane.silent_s(old) == 0.0


async def test_a_choked_node_is_waited_for_by_who_asks_it(town: Town) -> None:
    lane, told = town.lane(), list[object]()
    await town.become(1, 2)

    class Owner:
        def lane_writable(self, lane: Lane) -> None:
            told.append(lane)

    real = lane._real()[0]
    real.pause_writing()
    lane.send(get(A), Tray())
    assert lane.choked
    lane.waiting_for_room.append(Owner())  # type: ignore[arg-type]  # nothing else is asked of it
    real.resume_writing()

    assert (told, lane.choked) == ([lane], False)


async def test_a_node_that_left_while_it_owed_is_resumed_as_the_others_are(town: Town) -> None:
    lane, tray = town.lane(), Tray()
    await town.become(1, 2)
    lane.send(get(A), tray)
    (old,) = [each for each in lane._real() if each.owes]
    reader = object()
    old.hold_reading(reader)

    await town.become(3, 2)
    lane.resume_reading(reader)

    assert not old.paused
    town.node(1).reply(b"$-1\r\n", b"*0\r\n")  # and what the gate asked it
    assert tray.got == b"$-1\r\n"
    await town.become(3, 4)
    assert old not in lane._real()


async def test_all_lanes_are_those_of_the_map_before_anybody_acts_on_it(town: Town) -> None:
    """A session that goes on as a slot moves may send on another lane than the one that moves."""
    one, other = town.lane(), town.lane(TRACKED)
    await town.become(1, 2)
    seen: list[int] = []
    for lane in (one, other):
        lane._ours.move = lambda *_, **__: seen.extend(  # type: ignore[method-assign]
            len(each._ours.lanes) for each in (one, other)
        )

    await town.become(1, 2, 3)

    assert seen
    assert {*seen} == {3}


async def test_who_can_do_without_does_not_wait_for_a_node_that_is_lost(town: Town) -> None:
    lane = town.lane(TRACKED)
    listener = lane.listener = Listener()
    assert not lane.is_away(A)  # there is no map yet
    await town.become(1, 2)
    assert not lane.is_away(A)
    town.dials[1].refuse = 1_000_000
    town.node(1).lose()
    lost: list[Reply] = []
    waits = Tray(1)
    with forgoing(True):
        lane.send(get(A), AskSlot(lost.append))
    lane.send(get(A), waits)
    while not lost:
        await asyncio.sleep(0)

    [why] = lost
    assert isinstance(why, NotServed)
    assert is_away(why)
    assert lane.is_away(A)
    assert not lane.is_away(C)
    assert not waits.filled
    assert listener.heard == ["dropped"]
    lane.close()
    assert not lane.is_away(A)
