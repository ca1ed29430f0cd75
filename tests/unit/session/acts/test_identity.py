"""SELECT, HELLO, AUTH, RESET: nothing changes before the server agrees."""

from __future__ import annotations

import pytest
from nearhit.proxy.upstream.lane_key import LaneKey, User

from tests.asking import GET, LOST, OK, asked, shared, switched
from tests.fakes import Client, World


async def test_select_moves_the_session_only_when_the_server_agrees(
    world: World, client: Client
) -> None:
    await shared(world, client)
    client.send(b"SELECT", b"5")
    client.send(b"GET", b"k")
    other = await world.upstream(1)
    other.expect(b"SELECT", b"5")
    assert other.quiet
    assert client.session.berth.lane_key.db == 0

    other.reply(OK)
    await world.settle()

    assert client.session.berth.lane_key.db == 5
    other.expect(b"GET", b"k")


async def test_a_refused_select_changes_nothing(world: World, client: Client) -> None:
    wire = await shared(world, client)
    world.dial.handshake = {b"SELECT": b"-ERR DB index is out of range\r\n"}

    client.send(b"SELECT", b"99")
    client.send(b"GET", b"k")
    await world.settle()

    assert client.took() == b"-ERR DB index is out of range\r\n"
    assert client.session.berth.lane_key.db == 0
    wire.expect(b"GET", b"k")
    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=0>"


async def test_hello_changes_the_protocol_only_when_the_server_agrees(
    world: World, client: Client
) -> None:
    reply = b"%2\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:101\r\n"
    client.send(b"HELLO", b"3", b"SETNAME", b"me")
    wire = await world.upstream(0)
    wire.expect(b"HELLO", b"3")
    assert (client.session.berth.lane_key.resp, client.session.identity.name) == (2, b"")

    wire.reply(reply)
    await world.settle()

    assert client.took() == reply.replace(b":101", b":1")
    assert (client.session.berth.lane_key.resp, client.session.identity.name) == (3, b"me")


async def test_a_refused_hello_changes_nothing(world: World, client: Client) -> None:
    got = await asked(world, client, b"HELLO", b"9", reply=b"-NOPROTO unsupported\r\n")

    assert got == b"-NOPROTO unsupported\r\n"
    assert client.session.berth.lane_key == LaneKey()


async def test_auth_is_asked_apart_and_changes_the_user_only_when_right(
    world: World, client: Client
) -> None:
    wire = await shared(world, client)

    got = await asked(world, client, b"AUTH", b"alice", b"bad", reply=b"-WRONGPASS no\r\n")
    assert got == b"-WRONGPASS no\r\n"
    assert client.session.berth.lane_key.user is None
    assert await asked(world, client, b"AUTH", b"alice", b"good", reply=OK) == OK

    assert client.session.berth.lane_key.user == User(b"alice", b"good")
    assert wire.quiet
    client.raw(GET)
    await world.settle()
    own = world.dial.wires[-1]
    assert own.handshake is not None
    assert own.handshake[0] == [b"AUTH", b"alice", b"good"]
    own.expect(b"GET", b"k")


async def test_reset_makes_everything_as_at_first(world: World, client: Client) -> None:
    await asked(world, client, b"SELECT", b"5", reply=OK)
    await asked(world, client, b"MULTI", reply=OK)
    client.session.identity.name = b"me"

    client.send(b"RESET")
    await world.settle()

    assert client.took() == b"+RESET\r\n"
    assert (
        client.session.berth.lane_key,
        client.session.identity.name,
        client.session.berth.holds,
    ) == (
        LaneKey(),
        b"",
        0,
    )
    assert world.dial.wires[-1].end == "aborted"


# --- What waits, and what is the server's to refuse


@pytest.mark.parametrize(
    "words",
    [
        [b"SELECT"],
        [b"SELECT", b"x"],
        [b"SELECT", b"-1"],
        [b"SELECT", b"0"],
        [b"AUTH"],
        [b"AUTH", b"a", b"b", b"c"],
        [b"RESET", b"x"],
    ],
)
async def test_what_changes_nothing_goes_up_as_it_is(
    world: World, client: Client, words: list[bytes]
) -> None:
    assert await asked(world, client, *words, reply=b"-ERR no\r\n") == b"-ERR no\r\n"

    assert client.session.berth.lane_key == LaneKey()
    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=0>"


@pytest.mark.parametrize(
    "words", [[b"SELECT", b"3"], [b"HELLO", b"3"], [b"AUTH", b"a", b"p"], [b"RESET"]]
)
async def test_what_changes_who_we_are_lets_the_others_be_answered_first(
    world: World, client: Client, words: list[bytes]
) -> None:
    wire = await shared(world, client)
    client.raw(GET)
    client.send(*words)
    await world.settle()
    assert wire.take() == GET
    assert world.connections == 1

    wire.reply(b"+1\r\n")
    await world.settle()

    assert client.took().startswith(b"+1\r\n")
    assert words == [b"RESET"] or any(wire.written for wire in world.dial.wires)


async def test_a_select_that_is_lost_leaves_the_session_where_it_was(
    world: World, client: Client
) -> None:
    client.send(b"SELECT", b"5")
    wire = await world.upstream(0)
    wire.expect(b"SELECT", b"5")

    wire.lose()
    await world.settle()

    assert client.took().startswith(LOST)
    assert client.session.berth.lane_key.db == 0


async def test_behind_watch_a_select_is_of_the_lane_that_watches(
    world: World, client: Client
) -> None:
    await asked(world, client, b"WATCH", b"k", reply=OK)

    await asked(world, client, b"SELECT", b"5", reply=OK)

    assert world.connections == 1
    assert client.session.berth.lane is not None
    assert client.session.berth.lane.key.db == 5


async def test_hello_alone_says_who_the_client_is(world: World, client: Client) -> None:
    reply = b"*2\r\n$2\r\nid\r\n:101\r\n"

    assert await asked(world, client, b"HELLO", reply=reply) == b"*2\r\n$2\r\nid\r\n:1\r\n"


async def test_a_hello_that_logs_in_changes_the_user(world: World, client: Client) -> None:
    words = [b"HELLO", b"3", b"AUTH", b"alice", b"good"]

    await asked(world, client, *words, reply=b"%1\r\n$5\r\nproto\r\n:3\r\n")

    assert client.session.berth.lane_key.user == User(b"alice", b"good")
    assert client.session.berth.lane_key.resp == 3


async def test_a_password_alone_is_the_default_users(world: World, client: Client) -> None:
    await asked(world, client, b"AUTH", b"secret", reply=OK)

    assert client.session.berth.lane_key.user == User(b"default", b"secret")


async def test_a_reset_that_is_skipped_is_done_and_not_answered(
    world: World, client: Client
) -> None:
    client.session.identity.name = b"me"
    await switched(world, client, b"SKIP")
    client.send(b"RESET")
    await world.settle()

    assert client.took() == b""
    assert client.session.identity.name == b""
    assert client.session.mute == 0


async def test_quit_is_answered_and_ends_the_connection(world: World, client: Client) -> None:
    client.send(b"QUIT")
    await world.settle()

    assert client.took() == OK
    assert client.wire.end == "closed"
