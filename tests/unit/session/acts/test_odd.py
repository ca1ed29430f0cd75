"""Unknown commands, tunnels, and what makes a lane its client's for good."""

from __future__ import annotations

import pytest

from tests.asking import GET, OK, asked, shared
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


async def test_an_http_request_ends_the_connection_unanswered(world: World, client: Client) -> None:
    client.raw(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nFLUSHALL\r\n")
    await world.settle()

    assert client.took() == b""
    assert client.wire.end == "closed"
    assert world.connections == 0


async def test_a_name_of_unprintable_bytes_is_the_servers_to_refuse(
    world: World, client: Client
) -> None:
    await asked(world, client, b"\x00\xff", reply=b"-ERR unknown command\r\n")

    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=0>"
    assert world.learnt == 0


async def test_an_unknown_command_is_queued_like_others(world: World, client: Client) -> None:
    await asked(world, client, b"MULTI", reply=OK)

    await asked(world, client, b"MOD.NEW", b"k", reply=b"+QUEUED\r\n")

    assert client.session.transaction.keys is None  # it may write, and nobody knows what
    assert client.session.queued == 1


@pytest.mark.parametrize(
    "words", [[b"MOD.NEW"], [b"MONITOR"], [b"CLIENT", b"NO-EVICT", b"ON"], [b"SYNC"]]
)
async def test_what_may_leave_something_waits_until_the_others_are_answered(
    world: World, client: Client, words: list[bytes]
) -> None:
    wire = await shared(world, client)
    client.raw(GET)
    client.send(*words)
    await world.settle()
    assert wire.take() == GET
    assert world.connections == 1

    wire.reply(b"+1\r\n")
    own = await world.upstream(1)

    own.expect(*words)


async def test_sync_makes_a_tunnel_of_the_connection(world: World, client: Client) -> None:
    client.send(b"SYNC")
    own = await world.upstream(0)
    own.expect(b"SYNC")

    own.reply(b"$4\r\n\x00\x01", b"\x02\x03 more")
    client.raw(b"bytes")
    await world.settle()

    assert client.took() == b"$4\r\n\x00\x01\x02\x03 more"
    assert own.take() == b"bytes"
    assert client.session.berth.flags == "O"


async def test_a_tunnel_whose_lane_never_stands_ends_its_client(
    world: World, client: Client
) -> None:
    world.dial.refuse = 10**9

    client.send(b"SYNC")
    await world.settle()

    assert client.wire.end == "closed"


async def test_a_refused_monitor_is_no_tunnel(world: World, client: Client) -> None:
    await asked(world, client, b"MONITOR", reply=b"-NOPERM no\r\n")

    assert not client.session.odd
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


async def test_no_evict_and_no_touch_are_marked(world: World, client: Client) -> None:
    await asked(world, client, b"CLIENT", b"NO-EVICT", b"ON", reply=OK)
    await asked(world, client, b"CLIENT", b"NO-TOUCH", b"on", reply=OK)
    assert client.session.berth.flags == "eT"

    await asked(world, client, b"CLIENT", b"NO-EVICT", b"OFF", reply=OK)

    assert client.session.berth.flags == "T"
    assert repr(world.lanes) == "<Lanes shared=0 lent=1 warm=0>"


async def test_what_the_server_refuses_leaves_the_lane_clean(world: World, client: Client) -> None:
    await asked(world, client, b"READONLY", reply=b"-ERR no cluster\r\n")

    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


async def test_an_unknown_command_may_have_written_any_word(near_world: World) -> None:
    client = near_world.client()
    await near_world.settle()
    space = client.session.near.space
    assert space is not None
    for key in (b"k", b"other"):
        ticket = space.reserve(key)
        assert ticket is not None
        assert space.fill(ticket, b"$1\r\nv\r\n", -1, near_world.now)

    await asked(near_world, client, b"MOD.SET", b"k", b"v", reply=OK)

    assert set(space.entries) == {b"other"}
