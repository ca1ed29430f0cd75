"""Who a virtual connection is, as its nodes say it."""

from __future__ import annotations

import pytest
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.upstream.lane_key import LaneKey, User

from .nodes import A, World, clustered

HELLO = b"*4\r\n$2\r\nid\r\n:5\r\n$4\r\nmode\r\n$7\r\ncluster\r\n"


@clustered
async def test_hello_is_that_of_one_server_with_a_number_of_our_own(world: World) -> None:
    line = await world.connect()
    for node in world.nodes:
        node.say(b"HELLO", HELLO)

    told = await line.ask("HELLO 2")

    assert told == HELLO.replace(b":5", b":%d" % line.connection.id).replace(
        b"$7\r\ncluster", b"$10\r\nstandalone"
    )


@clustered
async def test_hello_waits_for_no_node_that_has_said_it_once(world: World) -> None:
    line = await world.connect()
    for node in world.nodes:
        node.say(b"HELLO", HELLO, None)
    await line.ask("HELLO 3")

    assert (await line.ask("HELLO 3")).startswith(b"*4")
    assert line.connection.key == LaneKey(resp=3)


@clustered
async def test_a_login_is_what_a_node_says(world: World) -> None:
    line = await world.connect()
    for node in world.nodes:
        node.say(b"AUTH u wrong", b"-WRONGPASS\r\n")

    assert await line.ask("AUTH u wrong") == b"-WRONGPASS\r\n"
    assert line.connection.key.user is None
    assert await line.ask("AUTH u right") == b"+OK\r\n"
    assert line.connection.key.user == User(b"u", b"right")


@clustered
async def test_a_db_is_what_a_node_has(world: World) -> None:
    line = await world.connect()
    for node in world.nodes:
        node.dial.handshake[b"SELECT"] = b"-ERR DB index is out of range\r\n"

    assert await line.ask("SELECT 9") == b"-ERR DB index is out of range\r\n"
    assert line.connection.key.db == 0
    for node in world.nodes:
        node.dial.handshake[b"SELECT"] = b"+OK\r\n"
    assert await line.ask("SELECT 9") == b"+OK\r\n"
    await line.ask(b"GET " + A)
    assert world.nodes[0].dial.wires[-1].handshake[-2] == [b"SELECT", b"9"]  # type: ignore[index]


@clustered
async def test_reset_forgets_all(world: World) -> None:
    line = await world.connect()
    await line.ask("SELECT 1", "MULTI")

    assert await line.ask("RESET", "EXEC") == b"+RESET\r\n-ERR EXEC without MULTI\r\n"
    assert line.connection.key == LaneKey()


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ("MONITOR", b"-ERR MONITOR is not supported in cluster mode"),
        ("CLIENT TRACKING ON", b"-ERR CLIENT TRACKING is not supported in cluster mode"),
        ("CLIENT REPLY OFF", b"-ERR CLIENT REPLY is not supported in cluster mode"),
        ("SYNC", b"-ERR SYNC is not supported in cluster mode"),
        ("READONLY", b"-ERR This instance has cluster support disabled"),
        ("CLIENT NO-EVICT ON", b"+OK"),
        ("PING word", b"$4\r\nword"),
    ],
)
def test_nothing_of_a_client_acts_on_what_others_share(request_: str, told: bytes) -> None:
    @clustered
    async def run(world: World) -> None:
        line = await world.connect()
        assert (await line.ask(request_)).startswith(told)
        assert [node.seen for node in world.nodes] == [[], [], []]

    run()


@pytest.mark.parametrize(
    "request_",
    [b"CLIENT SETNAME", b"CLIENT NO-TOUCH maybe", b"CLIENT SETINFO BOGUS x", b"CLIENT CAPA"],
)
def test_a_hint_that_no_server_takes_is_refused_by_one(request_: bytes) -> None:
    @clustered
    async def run(world: World) -> None:
        line = await world.connect()
        for node in world.nodes:
            node.say(b"CLIENT", b"-ERR no\r\n")
        assert await line.ask(request_) == b"-ERR no\r\n"

    run()


@clustered
async def test_a_name_that_none_takes_is_refused_by_a_node(world: World) -> None:
    line = await world.connect()
    for node in world.nodes:
        node.say(b"CLIENT SETNAME", b"-ERR Client names cannot contain spaces\r\n")

    line.connection.write(encode([b"CLIENT", b"SETNAME", b" "]))

    assert await line.heard() == b"-ERR Client names cannot contain spaces\r\n"


@clustered
async def test_cluster_commands_are_those_of_a_server_that_is_none(world: World) -> None:
    line = await world.connect()
    for node in world.nodes:
        node.say(b"ASKING x", b"-ERR wrong number\r\n")

    assert await line.ask("ASKING") == b"-ERR This instance has cluster support disabled\r\n"
    assert await line.ask("ASKING x") == b"-ERR wrong number\r\n"
