"""Unknown commands, tunnels, and what makes a lane its client's for good."""

from __future__ import annotations

import pytest
from nearhit.proxy.upstream.lane_key import LaneKey

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


SHOWN = b'+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"\r\n'


async def test_what_monitor_shows_comes_between_the_replies(world: World, client: Client) -> None:
    assert await asked(world, client, b"MONITOR", reply=OK) == OK
    assert client.session.berth.flags == "O"
    own = world.dial.wires[0]

    client.send(b"PING")
    await world.settle()
    own.expect(b"PING")
    own.reply(SHOWN + SHOWN[:9], SHOWN[9:] + b"+PONG\r\n" + SHOWN)
    await world.settle()

    assert client.took() == SHOWN * 2 + b"+PONG\r\n" + SHOWN
    own.lose()
    await world.settle()
    assert client.wire.end == "closed"


async def test_reset_ends_monitor_and_its_lane(world: World, client: Client) -> None:
    await asked(world, client, b"MONITOR", reply=OK)

    client.raw(b"RESET\r\n")
    await world.settle()

    assert client.took() == b"+RESET\r\n"
    assert client.session.berth.flags == "N"
    assert world.dial.wires[0].end == "aborted"
    assert await asked(world, client, b"SET", b"k", b"v", reply=OK) == OK


async def test_who_monitors_may_be_subscribed(world: World, client: Client) -> None:
    confirmed = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
    message = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"
    client.session.berth.rekey(LaneKey(resp=3))
    await asked(world, client, b"SUBSCRIBE", b"c", reply=confirmed.replace(b"*", b">"))
    await asked(world, client, b"MONITOR", reply=OK)

    world.dial.wires[0].reply(message.replace(b"*", b">"), SHOWN)
    await world.settle()

    assert client.took() == message.replace(b"*", b">") + SHOWN
    assert client.session.berth.flags == "PO"


async def test_what_a_replica_says_of_itself_makes_no_tunnel(near_world: World) -> None:
    client = near_world.client()
    await near_world.settle()
    space = client.session.near.space
    assert space is not None
    ticket = space.reserve(b"k")
    assert ticket is not None
    assert space.fill(ticket, b"$1\r\nv\r\n", -1, near_world.now)

    await asked(near_world, client, b"REPLCONF", b"capa", b"x", reply=OK)
    await asked(near_world, client, b"SET", b"k", b"v", reply=OK)

    assert not space.entries
    assert not client.session.odd
    assert repr(near_world.lanes) == "<Lanes shared=1 lent=1 warm=0>"


@pytest.mark.parametrize("words", [[b"PSYNC", b"?", b"-1"], [b"SCRIPT", b"DEBUG", b"YES"]])
async def test_a_refused_tunnel_is_none(world: World, client: Client, words: list[bytes]) -> None:
    client.send(*words)
    client.send(b"GET", b"k")
    own = await world.upstream(0)
    own.expect(*words)
    assert own.quiet  # what follows waits for the answer

    own.reply(b"\n", b"-NOPERM ", b"no\r\n")
    await world.settle()

    assert client.took() == b"\n-NOPERM no\r\n"
    assert client.session.berth.flags == "N"
    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=1>"
    world.dial.wires[1].expect(b"GET", b"k")
    world.dial.wires[1].reply(b"+v\r\n")
    await world.settle()
    assert client.took() == b"+v\r\n"
    # And the lane is as good as before.
    assert await asked(world, client, b"MULTI", reply=OK) == OK
    assert world.connections == 2


async def test_what_follows_goes_through_when_the_tunnel_stands(
    world: World, client: Client
) -> None:
    client.send(b"PSYNC", b"?", b"-1")
    client.raw(b"and more")
    own = await world.upstream(0)
    own.expect(b"PSYNC", b"?", b"-1")
    assert own.quiet

    own.reply(b"+FULLRESYNC x 0\r\n")
    await world.settle()

    assert own.take() == b"and more"


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
    assert client.session.berth.flags == "S"


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
