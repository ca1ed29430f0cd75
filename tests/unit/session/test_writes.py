"""What a write makes void before it is sent: loads, and the leases of loaders' keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from nearhit.proxy.keys.ours import lease_key
from nearhit.proxy.session.reasons import HOLD_MULTI
from nearhit.proxy.session.scopes import Scope, Scopes
from nearhit.proxy.session.writes import begin_write
from nearhit.proxy.upstream.lane_key import LaneKey
from nearhit.proxy.upstream.tracked import TrackedLane

from tests.asking import manage
from tests.fakes import Client, NoFlights, World


class Flights:
    """Loads of one db: which keys were voided."""

    def __init__(self) -> None:
        self.voided: list[bytes] = []

    def void(self, keys: Sequence[bytes]) -> None:
        self.voided += keys

    def tick(self) -> None: ...


@pytest.fixture
def flights(world: World) -> Flights:
    flights: Any = Flights()
    nothing: Any = None
    leases: Any = NoFlights()
    world.context.scopes = Scopes(
        (), lambda key: Scope(TrackedLane(world.lanes, key), flights, leases, nothing, nothing)
    )
    manage(world)
    return flights


@pytest.fixture
async def client(world: World, flights: Flights) -> Client:
    world.context.scopes.scope(LaneKey())
    return world.client()


async def test_leases_of_managed_keys_are_deleted_where_the_write_goes(
    world: World, client: Client, flights: Flights
) -> None:
    leases = begin_write(world.context, client.session.berth, [b"m:1", b"k", b"m:2"])
    client.send(b"MSET", b"m:1", b"a", b"k", b"b", b"m:2", b"c")
    wire = await world.upstream(0)

    assert leases == [lease_key(b"m:1"), lease_key(b"m:2")]
    assert flights.voided[:3] == [b"m:1", b"k", b"m:2"]
    wire.expect(b"DEL", *leases)


async def test_a_write_of_other_keys_sends_nothing(
    world: World, client: Client, flights: Flights
) -> None:
    assert begin_write(world.context, client.session.berth, [b"k"]) == []
    await world.settle()

    assert flights.voided == [b"k"]
    assert world.connections == 0


async def test_inside_multi_leases_are_left_for_exec(world: World, client: Client) -> None:
    client.session.berth.holds |= HOLD_MULTI

    assert begin_write(world.context, client.session.berth, [b"m:1"]) == [lease_key(b"m:1")]
    await world.settle()

    assert world.connections == 0


async def test_loads_of_another_db_run_on(world: World, client: Client, flights: Flights) -> None:
    client.session.berth.rekey(LaneKey(db=3))

    begin_write(world.context, client.session.berth, [b"k"])

    assert flights.voided == []
