"""CLIENT PAUSE as it passes through: whoever waits in the server holds up nobody else."""

from __future__ import annotations

import pytest
from nearhit.proxy.resp.modes import Mode
from nearhit.proxy.resp.requests import encode

from tests.asking import GET, OK, asked, shared
from tests.fakes import Client, Upstream, World

PAUSE = (b"CLIENT", b"PAUSE", b"60000", b"WRITE")
SET = encode([b"SET", b"k", b"v"])


async def paused(world: World, client: Client) -> Upstream:
    """Writes are paused; the shared lane's end at the server."""
    wire = await shared(world, client)
    await asked(world, client, *PAUSE, reply=OK)
    return wire


async def test_reads_and_unpause_do_not_stand_behind_a_write(world: World, client: Client) -> None:
    await paused(world, client)
    writer, reader = world.client(), world.client()

    writer.raw(SET)
    reader.raw(GET)
    wire = await world.upstream(2)
    assert world.dial.wires[1].take() == SET
    wire.expect(b"GET", b"k")
    wire.reply(b"+v\r\n")
    await world.settle()
    assert reader.took() == b"+v\r\n"

    assert await asked(world, client, b"CLIENT", b"UNPAUSE", reply=OK) == OK
    assert not world.lanes.paused


async def test_a_write_right_behind_it_goes_elsewhere_though_it_is_not_answered(
    world: World, client: Client
) -> None:
    wire = await shared(world, client)
    writer = world.client()

    client.send(*PAUSE)
    writer.raw(SET)
    await world.settle()

    wire.expect(*PAUSE)
    assert wire.quiet
    assert world.dial.wires[1].take() == SET


async def test_scripts_wait_apart_too(world: World, client: Client) -> None:
    await paused(world, client)

    for one in (world.client(), world.client()):
        one.send(b"EVAL", b"return 1", b"0")
        await world.settle()

    assert [wire.take() for wire in world.dial.wires[1:]] == [
        encode([b"EVAL", b"return 1", b"0"])
    ] * 2


async def test_when_it_is_over_all_share_a_lane_again(world: World, client: Client) -> None:
    wire = await paused(world, client)
    reader = world.client()
    await asked(world, reader, b"GET", b"k", reply=b"+v\r\n")

    await asked(world, client, b"CLIENT", b"UNPAUSE", reply=OK)
    reader.raw(GET)
    await world.settle()

    assert wire.take() == GET
    assert repr(world.lanes).startswith("<Lanes shared=1 lent=0 ")


async def test_one_that_the_server_refuses_is_none(world: World, client: Client) -> None:
    await asked(world, client, *PAUSE, reply=b"-NOPERM no\r\n")

    assert not world.lanes.paused


async def test_an_end_that_the_server_refuses_is_none(world: World, client: Client) -> None:
    await paused(world, client)

    no = b"-NOPERM no\r\n"
    assert await asked(world, client, b"CLIENT", b"UNPAUSE", reply=no) == no

    assert world.lanes.writes_paused


async def test_one_that_never_left_is_none(world: World, client: Client) -> None:
    world.dial.refuse = 10**9

    client.send(*PAUSE)
    await world.settle()

    assert client.took().startswith(b"-UPSTREAM")
    assert not world.lanes.paused


@pytest.mark.parametrize(
    "words", [b"CLIENT PAUSE", b"CLIENT PAUSE x", b"CLIENT PAUSE -1", b"CLIENT PAUSE 1 WRITE x"]
)
async def test_what_is_wrong_is_the_servers_to_refuse(
    world: World, client: Client, words: bytes
) -> None:
    no = b"-ERR wrong\r\n"

    assert await asked(world, client, *words.split(), reply=no) == no
    assert not world.lanes.paused


async def test_where_no_lane_is_to_be_had_the_shared_one_is_taken(
    world: World, client: Client
) -> None:
    wire = await paused(world, client)
    world.lanes.pinned_max = 0

    client.raw(GET)
    await world.settle()
    assert wire.take() == GET

    world.lanes.pinned_max = 8
    wire.reply(b"+v\r\n")
    await world.settle()
    client.raw(GET)
    await world.settle()
    assert wire.quiet
    assert world.dial.wires[-1].take() == GET


async def test_nobody_reads_near_meanwhile_where_scripts_of_ours_may_wait(
    near_world: World,
) -> None:
    client, reader = near_world.client(), near_world.client()
    assert reader.session.mode == Mode.NEAR

    await asked(near_world, client, *PAUSE, reply=OK)
    assert [one.session.mode for one in (client, reader, near_world.client())] == [Mode.FAR] * 3

    await asked(near_world, client, b"CLIENT", b"UNPAUSE", reply=OK)
    assert reader.session.mode == Mode.NEAR


async def test_silence_is_no_death_while_the_server_is_paused(world: World, client: Client) -> None:
    await asked(world, client, b"CLIENT", b"PAUSE", b"60000", reply=OK)
    client.raw(GET)
    await world.settle()

    for _ in range(10):
        world.lanes.tick()
    await world.settle()
    assert client.took() == b""
    assert world.connections == 1  # nor anything to ask about

    world.lanes.pause.end()
    for _ in range(10):
        world.lanes.tick()
    for _ in range(2):
        (await world.upstream(1)).reply(b"+PONG\r\n")
    await world.settle()
    assert client.took().startswith(b"-UPSTREAM")
