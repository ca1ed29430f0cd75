"""Is it the lane that says nothing, or the server? A second connection tells."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.upstream.dial import Mute
from nearhit.proxy.upstream.doubts import TICKS
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey
from nearhit.proxy.upstream.lanes import Lanes

from tests.fakes import FakeDial, Tasks, Tray, Upstream, settle

PONG = b"+PONG\r\n"
WHY = "no answer in 3 s"


class Bench:
    """A pool with one lane, which owes a reply and is suspected."""

    def __init__(self) -> None:
        self.dial = FakeDial()
        self.tasks = Tasks()
        self.lanes = Lanes(
            self.dial,
            self.tasks.start,
            timeout_s=30,
            offline_max=1000,
            on_ready=lambda lane: None,
            on_refused=lambda lane, why: None,
        )
        self.tray = Tray()
        self.lane = self.lanes.shared(LaneKey())

    async def owe(self) -> None:
        self.lane.users = 1
        self.lane.send(b"x", self.tray)
        await settle()

    async def suspect(self, lane: Lane | None = None, *, hasty: bool = False) -> Upstream:
        """The second connection."""
        self.lanes.suspected(lane or self.lane, WHY, hasty=hasty)
        await settle()
        return self.dial.wires[-1]

    @property
    def dead(self) -> bool:
        return self.dial.wires[0].end == "aborted"


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    await bench.owe()
    yield bench
    bench.lanes.close()
    await bench.tasks.stop()


async def test_where_another_is_answered_twice_the_lane_is_dead(bench: Bench) -> None:
    second = await bench.suspect()
    second.expect(b"PING")
    second.reply(PONG)
    await settle()
    assert not bench.dead
    second.expect(b"PING")
    second.reply(PONG)
    await settle()

    assert bench.dead
    assert WHY.encode() in bench.tray.error
    assert second.end == "aborted"
    assert not bench.lanes.silent


async def test_a_lane_that_speaks_as_the_server_wakes_up_is_alive(bench: Bench) -> None:
    second = await bench.suspect()
    second.reply(PONG)
    await settle()
    bench.dial.wires[0].reply(PONG)
    second.reply(PONG)
    await settle()

    assert not bench.dead


@pytest.mark.parametrize("hasty", [False, True])
async def test_where_none_can_be_made_the_lane_is_dead_unless_that_was_hasty(
    bench: Bench, hasty: bool
) -> None:
    bench.dial.refuse = 1

    await bench.suspect(hasty=hasty)

    assert bench.dead is not hasty


async def test_a_hasty_suspicion_becomes_a_grave_one(bench: Bench) -> None:
    second = await bench.suspect(hasty=True)
    bench.lanes.suspected(bench.lane, WHY)
    second.lose()
    await settle()
    bench.dial.refuse = 1
    await bench.suspect()

    assert bench.dead


@pytest.mark.parametrize("word", [b"-BUSY Redis is busy\r\n", b"-LOADING Redis is loading\r\n"])
async def test_a_server_at_work_is_waited_for(bench: Bench, word: bytes) -> None:
    second = await bench.suspect()
    second.reply(word)
    await settle()

    assert not bench.dead
    assert bench.lanes.silent
    assert second.end == "aborted"


async def test_a_server_that_loads_says_so_in_the_handshake(bench: Bench) -> None:
    bench.dial.handshake = {b"PING": b"-LOADING Redis is loading\r\n"}

    await bench.suspect()

    assert not bench.dead
    assert bench.lanes.silent


async def test_a_server_that_says_nothing_is_waited_for_and_each_change_is_logged_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    bench.dial.mute = True
    await bench.suspect()
    for _ in range(3 * TICKS):
        bench.lanes.suspected(bench.lane, WHY)
        bench.lanes.tick()
    assert bench.lanes.silent
    assert not bench.dead

    # Who waits for his next attempt makes it at once: what waits there may wait no longer.
    pause = asyncio.ensure_future(bench.dial.pause(60, bench.dial.moves))
    await asyncio.sleep(0)
    bench.dial.mute = False
    bench.dial.wires[0].reply(PONG)
    bench.lanes.tick()

    await asyncio.wait_for(pause, 5)
    assert not bench.lanes.silent
    assert [record.message for record in caplog.records if "upstream" in record.message] == [
        "upstream is silent",
        "upstream speaks again",
    ]


async def test_a_second_connection_whose_handshake_is_not_answered_is_no_answer(
    bench: Bench,
) -> None:
    bench.dial.mute = True
    await bench.suspect()
    second = bench.lanes._doubts._lane
    assert second is not None

    second._failed(1, Mute("no answer within 10 s"))
    await settle()

    assert bench.lanes.silent
    assert not bench.dead


async def test_that_it_speaks_again_is_noticed_where_nobody_asks_anything(bench: Bench) -> None:
    second = await bench.suspect()
    second.reply(b"-BUSY\r\n")
    bench.dial.wires[0].lose()
    bench.lane.users = 0
    await settle()
    bench.lanes.tick()
    await settle()

    for _ in range(2):
        bench.dial.wires[-1].reply(PONG)
        await settle()

    assert not bench.lanes.silent


async def test_one_second_connection_at_a_time(bench: Bench) -> None:
    for _ in range(3):
        await bench.suspect()

    assert len(bench.dial.wires) == 2


async def test_of_another_server_nothing_is_suspected_yet(bench: Bench) -> None:
    second = await bench.suspect()
    bench.lanes._doubts.take(True)

    bench.lanes._doubts.move()
    await settle()

    assert second.end == "aborted"
    assert not bench.lanes.silent
    assert repr(bench.lanes._doubts) == "<Doubts suspects=0 silent=False>"
