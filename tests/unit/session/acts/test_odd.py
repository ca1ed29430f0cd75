"""Unknown commands, tunnels, and what makes a lane its client's for good."""

from __future__ import annotations

from tests.asking import OK, asked, shared
from tests.fakes import Client, World


async def test_an_unknown_command_that_works_keeps_its_lane_for_its_client_alone(
    world: World, client: Client
) -> None:
    await shared(world, client)

    assert await asked(world, client, b"MOD.NEW", b"x", reply=OK) == OK
    assert world.learnt == 1
    assert await asked(world, client, b"GET", b"k", reply=b"+v\r\n") == b"+v\r\n"
    client.leave()
    await world.settle()

    assert world.connections == 2
    assert world.dial.wires[1].end == "aborted"
    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=0>"


async def test_a_command_that_the_server_does_not_know_either_costs_no_lane(
    world: World, client: Client
) -> None:
    await asked(world, client, b"FOO", reply=b"-ERR unknown command 'FOO'\r\n")

    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"
    assert world.learnt == 0


async def test_monitor_turns_the_connection_into_a_tunnel(world: World, client: Client) -> None:
    assert await asked(world, client, b"MONITOR", reply=OK) == OK
    own = world.dial.wires[0]

    own.reply(b'+1.0 "GET"\r\n')
    client.raw(b"QUIT\r\n")
    await world.settle()

    assert client.took() == b'+1.0 "GET"\r\n'
    assert own.take() == b"QUIT\r\n"
    own.lose()
    await world.settle()
    assert client.wire.end == "closed"
