"""How long a lane's requests wait for a server that says nothing: by what they are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.upstream.deadline import may_be_slow
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey, Use

from tests.fakes import FakeDial, FakeHome, Tray, settle

GET = encode([b"GET", b"k"])
KEYS = encode([b"keys", b"*"])
LOST = b"-UPSTREAM connection to the server lost ("


class Bench:
    def __init__(self) -> None:
        self.dial, self.home = FakeDial(), FakeHome()
        self.lanes: list[Lane] = []

    def lane(self, use: Use = Use.REQUESTS, slow_s: float | None = 9) -> Lane:
        lane = Lane(
            *(1, LaneKey(use=use), self.dial, self.home),
            offline_max=1000,
            timeout_s=60,
            most_s=4,
            slow_s=slow_s,
        )
        self.lanes.append(lane)
        return lane


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    for lane in bench.lanes:
        lane.close()
    await bench.home.tasks.stop()


async def waited(lane: Lane, data: bytes, want: int = 1) -> int:
    """For how many seconds a piece is waited for, and what it is told."""
    tray = Tray(want)
    lane.send(data, tray)
    await settle()
    for seconds in range(30):
        lane.tick()
        await settle()
        if tray.filled:
            assert tray.error.startswith(LOST + b"no answer in %d s)" % (seconds - 1))
            return seconds - 1
    raise AssertionError("it waits for ever")


@pytest.mark.parametrize(
    ("use", "data", "seconds"),
    [
        (Use.REQUESTS, GET, 4),
        (Use.TRACKED, GET, 4),
        (Use.REQUESTS, KEYS, 9),
        (Use.SCRIPTS, GET, 9),
        (Use.BULK, GET, 9),
    ],
)
async def test_what_may_take_long_is_waited_for_longer(
    bench: Bench, use: Use, data: bytes, seconds: int
) -> None:
    assert await waited(bench.lane(use), data) == seconds


async def test_where_none_is_set_it_is_command_timeout(bench: Bench) -> None:
    assert await waited(bench.lane(slow_s=None), KEYS) == 4
    assert await waited(bench.lane(Use.SCRIPTS, slow_s=None), GET) == 4


async def test_what_has_been_answered_of_a_piece_counts_no_more(bench: Bench) -> None:
    lane = bench.lane()
    tray = Tray(2)
    lane.send(KEYS + GET, tray)
    await settle()
    bench.dial.wires[-1].reply(b"*0\r\n")

    for _ in range(6):
        lane.tick()
    await settle()

    assert tray.error.startswith(LOST + b"no answer in 4 s)")


@pytest.mark.parametrize(
    ("data", "want", "slow"),
    [
        (GET + KEYS, 2, False),
        (GET + KEYS, 1, True),
        (KEYS, 2, False),
        (b"", 1, False),
        (KEYS[:-3], 1, False),
        (encode([b"sunionstore", b"a", b"b"]), 1, True),
    ],
)
def test_a_piece_is_as_slow_as_what_is_next_of_it(data: bytes, want: int, slow: bool) -> None:
    assert may_be_slow(data, want) is slow


async def test_it_is_shown(bench: Bench) -> None:
    lane = bench.lane(Use.SCRIPTS)

    assert repr(lane._deadline) == "<Deadline most=9 slow=9>"
