"""What waits in the server: on a lane of its own, and what the client hears of its end."""

from __future__ import annotations

from tests.asking import LOST, asked, shared
from tests.fakes import Client, World


async def test_a_blocking_command_leaves_the_shared_lane(world: World, client: Client) -> None:
    wire = await shared(world, client)

    client.send(b"BLPOP", b"q", b"0")
    own = await world.upstream(1)

    own.expect(b"BLPOP", b"q", b"0")
    assert client.session.berth.flags == "b"
    assert wire.quiet
    own.reply(b"*-1\r\n")
    await world.settle()
    assert client.session.berth.flags == "N"
    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=1>"


async def test_a_client_that_leaves_while_blocked_closes_its_lane(
    world: World, client: Client
) -> None:
    client.send(b"BLPOP", b"q", b"0")
    own = await world.upstream(0)

    client.finish()
    await world.settle()

    assert client.wire.end == "closed"
    assert own.end == "aborted"
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=0>"


async def test_a_blocked_client_whose_lane_dies_gets_an_error_and_stays(
    world: World, client: Client
) -> None:
    client.send(b"BLPOP", b"q", b"0")
    own = await world.upstream(0)

    own.lose()
    await world.settle()

    assert client.took().startswith(LOST)
    assert not client.wire.end
    assert client.session.berth.holds == 0
    assert await asked(world, client, b"GET", b"k", reply=b"+v\r\n") == b"+v\r\n"


async def test_wait_is_moved_past_its_own_writes(world: World, client: Client) -> None:
    client.send(b"WAIT", b"1", b"0")
    own = await world.upstream(0)

    own.expect(b"PING")
    own.expect(b"WAIT", b"1", b"0")
    own.reply(b"+PONG\r\n:1\r\n")
    await world.settle()
    assert client.took() == b":1\r\n"


async def test_a_blocked_lane_is_not_given_up_for_its_silence(world: World, client: Client) -> None:
    client.send(b"BLPOP", b"q", b"0")
    own = await world.upstream(0)

    for _ in range(20):
        world.lanes.tick()
    await world.settle()
    assert not own.end

    own.reply(b"*-1\r\n")
    await world.settle()
    assert client.took() == b"*-1\r\n"
