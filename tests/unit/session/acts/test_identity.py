"""SELECT, HELLO, AUTH, RESET: nothing changes before the server agrees."""

from __future__ import annotations

from nearhit.proxy.upstream.lane_key import LaneKey, User

from tests.asking import GET, OK, asked, shared
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
