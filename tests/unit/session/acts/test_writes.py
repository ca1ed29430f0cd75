"""Writes and scripts: the lane of scripts, the loads and leases that a write makes void."""

from __future__ import annotations

from tests.asking import GET, shared
from tests.fakes import Client, World


async def test_scripts_wait_on_a_lane_of_their_own(world: World, client: Client) -> None:
    wire = await shared(world, client)

    client.send(b"EVAL", b"return 1", b"0")
    await world.settle()

    assert wire.quiet
    world.dial.wires[1].expect(b"EVAL", b"return 1", b"0")
    world.dial.wires[1].reply(b":1\r\n")
    await world.settle()
    assert client.took() == b":1\r\n"
    client.raw(GET)
    await world.settle()
    wire.expect(b"GET", b"k")
