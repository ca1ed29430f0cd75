"""Where a run of requests goes, and the places that it takes."""

from __future__ import annotations

import pytest
from nearhit.proxy.hot.answers import Turn
from nearhit.proxy.hot.near import NearReading
from nearhit.proxy.hot.sending import Sender
from nearhit.proxy.resp.kernel import RouteMap
from nearhit.proxy.resp.modes import Mode
from nearhit.proxy.resp.requests import encode

from tests.fakes import Client, World

GET, PING = encode([b"GET", b"k"]), encode([b"PING"])


def sender() -> Sender:
    turn = Turn(lambda call: None, 0.0, lambda: 0.0)
    return Sender([RouteMap({}) for _ in Mode], Mode.LOCKED, NearReading(None), turn)


def test_the_requests_of_a_mode_are_read_by_its_map() -> None:
    one = sender()

    one.become(Mode.FAR)

    assert one.routes is one.maps[Mode.FAR]
    assert one.home == Mode.LOCKED


@pytest.mark.parametrize(
    ("before", "after"), [(Mode.FAR, Mode.TRACKED), (Mode.LOCKED, Mode.SCRIPTING)]
)
def test_a_move_that_the_table_has_not_is_a_defect(before: Mode, after: Mode) -> None:
    one = sender()
    one.become(before)

    with pytest.raises(AssertionError):
        one.become(after)


def test_other_maps_are_taken_at_once_and_home_when_what_passes_is_over() -> None:
    one, maps = sender(), [RouteMap({}) for _ in Mode]
    one.become(Mode.NEAR)
    one.become(Mode.TRACKED)

    one.live_in(maps, Mode.FAR)

    assert (one.mode, one.home) == (Mode.TRACKED, Mode.FAR)
    assert one.routes is maps[Mode.TRACKED]


async def test_a_run_takes_one_place_for_all_its_replies_and_in_the_lane_the_same(
    world: World, client: Client
) -> None:
    client.send(b"PING")
    wire = await world.upstream(0)
    await world.settle()
    session = client.session
    assert session.lane is not None
    sent = session.lane.sent

    session.forward(PING + GET, 2, 1)

    assert session.tail is not session.head
    assert session.tail is not None
    assert (session.tail.want, session.tail.reads, session.owed) == (2, 1, 3)
    assert session.lane.sent == sent + 1
    wire.reply(b"+PONG\r\n" * 2 + b"$-1\r\n")


async def test_what_is_queued_since_multi_is_counted(world: World, client: Client) -> None:
    client.session.queued = 0

    client.session.forward(PING + GET, 2)

    assert (client.session.queued, client.session.queued_bytes) == (2, len(PING + GET))
