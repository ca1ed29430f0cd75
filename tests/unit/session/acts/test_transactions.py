"""MULTI and its kin: which lane, what EXEC answers, what ends with the lane."""

from __future__ import annotations

import pytest
from nearhit.proxy.hot.answers import WINDOW_START
from nearhit.proxy.resp.requests import encode

from tests.asking import GET, OK, asked, shared
from tests.fakes import Client, World


async def test_no_transaction_begins_while_the_upstream_is_down(
    world: World, client: Client
) -> None:
    world.dial.refuse = 10**9
    client.send(b"MULTI")
    client.send(b"SET", b"k", b"v")
    await world.settle()

    # Whatever else the client has sent was meant for the transaction.
    assert client.took().count(b"-UPSTREAM no connection to the server") == 2
    assert client.wire.end == "closed"


async def test_multi_takes_a_lane_and_exec_gives_it_back(world: World, client: Client) -> None:
    await shared(world, client)

    for _ in range(3):
        client.raw(encode([b"MULTI"]))
        client.raw(encode([b"SET", b"k", b"v"]) + encode([b"EXEC"]))
        wire = await world.upstream(1)
        wire.expect(b"MULTI")
        wire.expect(b"SET", b"k", b"v")
        wire.expect(b"EXEC")
        wire.reply(b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n")
        await world.settle()
        assert client.took() == b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"

    assert world.connections == 2
    assert await asked(world, client, b"GET", b"k", reply=b"+v\r\n") == b"+v\r\n"
    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=1>"


WHOLE = encode([b"MULTI"]) + encode([b"SET", b"k", b"v"]) + encode([b"EXEC"])


async def test_a_transaction_in_one_piece_needs_no_lane_of_its_own(
    world: World, client: Client
) -> None:
    wire = await shared(world, client)

    client.raw(GET + WHOLE)
    await world.settle()

    assert wire.take() == GET + WHOLE
    wire.reply(b"+1\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n")
    await world.settle()
    assert client.took() == b"+1\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"
    assert world.connections == 1


@pytest.mark.parametrize(
    "inside",
    [
        encode([b"CLIENT", b"ID"]),
        encode([b"SELECT", b"3"]),
        encode([b"BLPOP", b"q", b"0"]),
        encode([b"EVAL", b"return 1", b"0"]),
        encode([b"SUBSCRIBE", b"c"]),
        encode([b"NOSUCH"]),
        encode([b"DISCARD"]),
        b"PING\r\n",
    ],
)
async def test_a_transaction_with_more_than_plain_commands_gets_a_lane(
    world: World, client: Client, inside: bytes
) -> None:
    wire = await shared(world, client)

    client.raw(encode([b"MULTI"]) + inside + encode([b"EXEC"]))
    await world.settle()

    assert wire.quiet
    assert world.connections == 2


async def test_multi_waits_until_what_was_asked_before_is_answered(
    world: World, client: Client
) -> None:
    client.raw(GET + encode([b"MULTI"]))
    wire = await world.upstream(0)
    assert world.connections == 1

    wire.reply(b"+1\r\n")
    own = await world.upstream(1)

    own.expect(b"MULTI")


@pytest.mark.parametrize("reply", [b"*-1\r\n", b"-EXECABORT no\r\n", b"_\r\n"])
async def test_whatever_exec_answers_ends_the_transaction(
    world: World, client: Client, reply: bytes
) -> None:
    await asked(world, client, b"MULTI", reply=OK)
    assert client.session.berth.flags == "x"

    assert await asked(world, client, b"EXEC", reply=reply) == reply

    assert client.session.berth.holds == 0
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


async def test_discard_gives_the_lane_back(world: World, client: Client) -> None:
    await asked(world, client, b"MULTI", reply=OK)

    await asked(world, client, b"DISCARD", reply=OK)

    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


async def test_watch_holds_the_lane_until_exec(world: World, client: Client) -> None:
    await asked(world, client, b"WATCH", b"k", reply=OK)
    await asked(world, client, b"GET", b"k", reply=b"+v\r\n")
    assert world.connections == 1
    await asked(world, client, b"MULTI", reply=OK)

    await asked(world, client, b"EXEC", reply=b"*-1\r\n")

    assert world.connections == 1
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


async def test_unwatch_gives_the_lane_back(world: World, client: Client) -> None:
    await asked(world, client, b"WATCH", b"k", reply=OK)

    await asked(world, client, b"UNWATCH", reply=OK)

    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


@pytest.mark.parametrize("words", [[b"MULTI"], [b"WATCH", b"k"]], ids=["multi", "watch"])
async def test_a_client_that_leaves_a_transaction_takes_its_lane_along(
    world: World, client: Client, words: list[bytes]
) -> None:
    await asked(world, client, *words, reply=OK)

    client.leave()
    await world.settle()

    assert world.dial.wires[0].end == "aborted"
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=0>"


@pytest.mark.parametrize("words", [[b"MULTI"], [b"WATCH", b"k"]], ids=["multi", "watch"])
async def test_with_its_lane_a_transaction_and_its_connection_are_gone(
    world: World, client: Client, words: list[bytes]
) -> None:
    await asked(world, client, *words, reply=OK)

    world.dial.wires[0].lose()
    await world.settle()

    assert client.wire.end == "closed"


async def test_no_part_of_a_transaction_runs_outside_of_it_when_its_lane_dies(
    world: World, client: Client
) -> None:
    # MULTI is not answered yet, the window holds the rest of the pipeline back: it must not go
    # to a shared lane as plain writes.
    await shared(world, client)
    sets = [encode([b"SET", b"%d" % at, b"v"]) for at in range(WINDOW_START * 2)]
    client.raw(encode([b"MULTI"]) + b"".join(sets))
    client.raw(encode([b"EXEC"]))
    own = await world.upstream(1)
    own.expect(b"MULTI")

    own.lose()
    await world.settle()

    for wire in (world.dial.wires[0], *world.dial.wires[2:]):
        assert b"SET" not in wire.take()


async def test_exec_shows_the_clients_own_identity(world: World, client: Client) -> None:
    await asked(world, client, b"MULTI", reply=OK)
    await asked(world, client, b"CLIENT", b"ID", reply=b"+QUEUED\r\n")
    await asked(world, client, b"GET", b"k", reply=b"+QUEUED\r\n")

    got = await asked(world, client, b"EXEC", reply=b"*2\r\n:101\r\n$1\r\nv\r\n")

    assert got == b"*2\r\n:1\r\n$1\r\nv\r\n"


async def test_a_select_in_a_transaction_moves_the_session(world: World, client: Client) -> None:
    await asked(world, client, b"MULTI", reply=OK)
    await asked(world, client, b"SELECT", b"4", reply=b"+QUEUED\r\n")
    await asked(world, client, b"EXEC", reply=b"*1\r\n+OK\r\n")

    assert client.session.berth.lane_key.db == 4
    await asked(world, client, b"GET", b"k", reply=b"+v\r\n")
    assert world.dial.wires[-1].handshake is not None
    assert world.dial.wires[-1].handshake[0] == [b"SELECT", b"4"]


async def test_no_part_of_a_transaction_runs_when_multi_never_left(
    world: World, client: Client
) -> None:
    world.dial.mute = True
    client.send(b"MULTI")
    await world.settle()
    for _ in range(10):
        world.lanes.tick()
    await world.settle()
    assert client.took().startswith(b"-UPSTREAM")

    world.dial.mute = False
    for wire in world.dial.wires:
        wire._shake()
    client.send(b"SET", b"k", b"v")
    await world.settle()

    assert client.wire.end == "closed"
    assert all(wire.quiet for wire in world.dial.wires)
