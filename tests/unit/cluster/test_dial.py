"""A lane that is lent gets a connection in memory, when there is a cluster."""

from __future__ import annotations

import asyncio

import pytest
from nearhit.proxy.cluster.dial import FIRST_ID, VirtualDial
from nearhit.proxy.upstream.lane_key import LaneKey

from tests.fakes import Tray

from ..upstream.test_lanes import Owner
from .nodes import A, World, clustered


@clustered
async def test_a_lane_is_lent_as_by_one_server(world: World) -> None:
    lane = world.lanes.borrow(LaneKey(), Owner())
    assert lane is not None
    tray = Tray()
    lane.send(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(A), A), tray)
    await asyncio.sleep(0.1)

    assert tray.got == b"+OK\r\n"
    world.lanes.give_back(lane)
    assert "lent=0 warm=1" in repr(world.lanes)


@clustered
async def test_as_long_as_there_is_no_map_there_is_no_connection(world: World) -> None:
    world.cluster.watch.topology = None

    with pytest.raises(ConnectionRefusedError, match="no node of the cluster"):
        await world.connect()


@clustered
async def test_connections_are_known_by_number_while_they_stand(world: World) -> None:
    dial = world.lanes.dial
    assert isinstance(dial, VirtualDial)
    one, other = await world.connect(), await world.connect()
    assert set(dial.open_) == {FIRST_ID, FIRST_ID + 1}
    one.connection.abort()

    assert dial.open_ == {FIRST_ID + 1: other.connection}
