"""What a lane of a session's own reports, and what that does to the session."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import UpstreamLost
from nearhit.proxy.session.berth import Berth
from nearhit.proxy.session.reasons import HOLD_BLOCKED, HOLD_MULTI, STALL_END
from nearhit.proxy.upstream.lane import Lane

from tests.asking import GET
from tests.fakes import Client, World

WHY = UpstreamLost("a test")


def berth_of(client: Client) -> Berth:
    return client.session.berth


async def pinned(world: World, client: Client) -> tuple[Lane, Berth]:
    """The client's own lane, connected."""
    berth = berth_of(client)
    assert berth.pin()
    await world.settle()
    assert berth.own is not None
    return berth.own, berth


async def test_pushes_and_raw_bytes_are_the_clients(world: World, client: Client) -> None:
    lane, _ = await pinned(world, client)

    berth_of(client).reports.lane_pushed(lane, b">0\r\n")
    berth_of(client).reports.lane_raw(lane, b"raw")
    await world.settle()

    assert client.took() == b">0\r\nraw"


async def test_what_was_meant_for_lost_state_runs_nowhere(world: World, client: Client) -> None:
    lane, _ = await pinned(world, client)
    client.session.rest = GET
    berth_of(client).reports.lane_ends(lane)
    assert client.session.rest == GET  # nothing is held: it may

    berth_of(client).hold(HOLD_MULTI)
    berth_of(client).reports.lane_ends(lane)

    assert client.session.rest == b""
    assert client.session.stalls & STALL_END


@pytest.mark.parametrize(
    ("hold", "end"), [(HOLD_BLOCKED, ""), (HOLD_MULTI, "closed")], ids=["a wait", "state"]
)
async def test_with_its_lane_goes_a_wait_but_state_takes_the_client_along(
    world: World, client: Client, hold: int, end: str
) -> None:
    lane, _ = await pinned(world, client)
    berth_of(client).hold(hold)

    berth_of(client).reports.lane_lost(lane, WHY)
    await world.settle()

    assert client.wire.end == end
    assert berth_of(client).lane is None
    assert berth_of(client).left is bool(end)


async def test_a_lane_that_was_given_back_is_no_loss(world: World, client: Client) -> None:
    lane, _ = await pinned(world, client)
    berth_of(client).unpin()
    berth_of(client).hold(HOLD_MULTI)

    berth_of(client).reports.lane_lost(lane, WHY)

    assert not client.wire.end
