"""WAIT is asked by ROLE, WAITAOF behind a write of its own: a server counts by connections."""

from __future__ import annotations

import asyncio

import pytest
from nearhit.proxy.errors import OTHER_MASTER
from nearhit.proxy.upstream.heard import MOST
from nearhit.proxy.upstream.lane_key import LaneKey, User

from tests.asking import GET, LOST, OK, asked, shared, switched
from tests.fakes import Client, Upstream, World

MASTER = b"*3\r\n$6\r\nmaster\r\n:%d\r\n*1\r\n*3\r\n$1\r\nh\r\n$1\r\n1\r\n$3\r\n%d\r\n"
HAS, LACKS = MASTER % (500, 500), MASTER % (500, 499)
NOPERM = b"-NOPERM this user has no permissions to run the 'role' command\r\n"


async def begun(world: World, client: Client, *words: bytes) -> tuple[Upstream, Upstream]:
    """The shared lane, and the client's own where it waits."""
    wire = await shared(world, client)
    client.send(*words)
    own = await world.upstream(1)
    own.expect(b"WAIT", b"0", b"0")
    wire.expect(b"ROLE")
    return wire, own


async def test_who_has_heard_is_told_by_role(world: World, client: Client) -> None:
    wire, own = await begun(world, client, b"WAIT", b"1", b"0")
    client.raw(GET)  # waits for the answer to WAIT

    own.reply(b":7\r\n")
    await world.settle()
    assert client.session.berth.flags == "b"
    assert client.took() == b""
    wire.reply(HAS)
    await world.settle()

    assert client.took() == b":1\r\n"
    assert client.session.berth.flags == "N"
    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=1>"
    wire.expect(b"GET", b"k")


async def test_who_has_not_heard_is_asked_again(world: World, client: Client) -> None:
    wire, own = await begun(world, client, b"WAIT", b"1", b"0")
    own.reply(b":1\r\n")
    wire.reply(LACKS)
    await asyncio.sleep(0.01)
    await world.settle()

    own.expect(b"WAIT", MOST, b"1")
    wire.expect(b"ROLE")
    own.reply(b":1\r\n")
    wire.reply(HAS)
    await world.settle()
    assert client.took() == b":1\r\n"


async def test_where_the_proxy_may_not_ask_the_client_does(world: World, client: Client) -> None:
    wire, own = await begun(world, client, b"WAIT", b"1", b"0")
    own.reply(b":1\r\n")
    wire.reply(NOPERM)
    await world.settle()
    own.expect(b"ROLE")
    own.reply(NOPERM)
    await world.settle()

    assert client.took() == NOPERM
    assert not client.wire.end


async def test_without_a_user_of_the_proxy_s_own_only_the_client_is_asked(
    world: World, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = await shared(world, client)
    client.session.berth.rekey(LaneKey(user=User(b"u", b"p")))
    monkeypatch.setattr(world.lanes, "locked", lambda key: key.user is None)
    client.send(b"WAIT", b"1", b"0")
    own = await world.upstream(1)

    own.expect(b"WAIT", b"0", b"0")
    own.expect(b"ROLE")
    assert wire.quiet


async def test_who_may_not_wait_is_told_so(world: World, client: Client) -> None:
    _, own = await begun(world, client, b"WAIT", b"1", b"0")

    own.reply(b"-NOPERM no WAIT for you\r\n")
    await world.settle()

    assert client.took() == b"-NOPERM no WAIT for you\r\n"
    assert client.session.berth.blocking == 0


async def test_what_no_server_takes_is_for_it_to_refuse(world: World, client: Client) -> None:
    said = b"-ERR timeout is negative\r\n"

    assert await asked(world, client, b"WAIT", b"1", b"-1", reply=said) == said


async def test_it_is_asked_when_all_is_answered(world: World, client: Client) -> None:
    """ROLE goes another way than what is outstanding on the client's own connection."""
    wire = await shared(world, client)
    await asked(world, client, b"WATCH", b"k", reply=OK)
    client.raw(GET)
    client.send(b"WAIT", b"1", b"0")
    own = await world.upstream(1)
    own.expect(b"GET", b"k")
    assert own.quiet
    assert wire.quiet

    own.reply(b"+v\r\n")
    await world.settle()

    own.expect(b"WAIT", b"0", b"0")
    wire.expect(b"ROLE")


async def test_after_a_failover_nobody_vouches_for_what_was_written(
    world: World, client: Client
) -> None:
    world.dial.moves += 1
    late = world.client()

    client.send(b"WAIT", b"0", b"0")
    await world.settle()
    assert client.took() == OTHER_MASTER
    assert world.connections == 0
    for each in (client, late):
        each.send(b"WAIT", b"0", b"0")
    await world.settle()

    assert client.took() + late.took() == b""
    assert sum(wire.take().count(b"WAIT\r\n") for wire in world.dial.wires) == 2


async def test_a_lost_lane_is_an_error(world: World, client: Client) -> None:
    wire, own = await begun(world, client, b"WAIT", b"1", b"0")
    wire.reply(HAS)
    own.lose()
    await world.settle()

    assert client.took().startswith(LOST)
    assert client.session.berth.holds == 0
    client.raw(GET)
    await world.settle()
    wire.expect(b"GET", b"k")


async def test_who_leaves_waits_no_more(world: World, client: Client) -> None:
    wire, own = await begun(world, client, b"WAIT", b"1", b"0")
    client.leave()
    await world.settle()

    assert own.end == "aborted"
    wire.reply(LACKS)
    await asyncio.sleep(0.01)
    await world.settle()
    assert wire.quiet


@pytest.mark.parametrize("name", [b"WAIT", b"WAITAOF"])
async def test_who_sends_no_more_does_not_begin(world: World, client: Client, name: bytes) -> None:
    wire = await shared(world, client)
    client.raw(GET)
    client.send(name, b"1", b"0")
    client.finish()
    await world.settle()
    wire.expect(b"GET", b"k")

    wire.reply(b"+1\r\n")
    await world.settle()

    assert client.took() == b"+1\r\n"
    assert client.wire.end == "closed"
    assert all(one.quiet for one in world.dial.wires)


async def test_a_muted_client_hears_nothing_of_it(world: World, client: Client) -> None:
    await switched(world, client, b"OFF")
    client.send(b"WAIT", b"1", b"0")
    await world.settle()
    for wire in world.dial.wires:
        wire.reply(HAS if b"ROLE" in wire.take() else b":1\r\n")
    await world.settle()

    assert client.took() == b""
    assert client.session.berth.holds == 0


async def test_waitaof_stands_behind_a_write_of_its_own_connection(
    world: World, client: Client
) -> None:
    client.send(b"WAITAOF", b"0", b"1", b"0")
    client.raw(GET)
    own = await world.upstream(0)
    own.expect(b"SPUBLISH", b"nh{wait}", b"")
    assert own.quiet
    own.reply(b":0\r\n")
    await world.settle()
    own.expect(b"WAITAOF", b"0", b"1", b"0")
    assert client.session.berth.flags == "b"

    own.reply(b"*2\r\n:0\r\n:1\r\n")
    await world.settle()

    assert client.took() == b"*2\r\n:0\r\n:1\r\n"


async def test_waitaof_says_which_right_it_lacks(world: World, client: Client) -> None:
    client.send(b"WAITAOF", b"0", b"1", b"0")
    own = await world.upstream(0)
    own.expect(b"SPUBLISH", b"nh{wait}", b"")
    own.reply(b"-NOPERM No permissions to access a channel\r\n")
    await world.settle()

    assert client.took() == (
        b"-ERR WAITAOF needs SPUBLISH nh{wait}: NOPERM No permissions to access a channel\r\n"
    )
    assert own.quiet
    client.raw(GET)
    await world.settle()
    assert any(b"GET" in wire.take() for wire in world.dial.wires)


async def test_waitaof_of_a_lost_lane_is_an_error(world: World, client: Client) -> None:
    client.send(b"WAITAOF", b"0", b"1", b"0")
    (await world.upstream(0)).lose()
    await world.settle()

    assert client.took().startswith(b"-UPSTREAM")
    assert not client.wire.end


async def test_waitaof_of_who_left_is_not_sent(world: World, client: Client) -> None:
    client.send(b"WAITAOF", b"0", b"1", b"0")
    own = await world.upstream(0)
    own.take()
    client.leave()
    own.reply(b":0\r\n")
    await world.settle()

    assert own.quiet


async def test_inside_multi_nobody_is_told_to_have_heard(world: World, client: Client) -> None:
    await shared(world, client)
    assert await asked(world, client, b"MULTI", reply=OK) == OK
    for words in ((b"WAIT", b"1", b"0"), (b"WAITAOF", b"1", b"1", b"0"), (b"WAIT", b"x", b"0")):
        queued = b"+QUEUED\r\n"
        assert await asked(world, client, *words, reply=queued) == queued

    reply = b"*3\r\n:3\r\n*2\r\n:1\r\n:3\r\n-ERR value\r\n"
    got = await asked(world, client, b"EXEC", reply=reply)

    assert got == b"*3\r\n:0\r\n*2\r\n:0\r\n:0\r\n-ERR value\r\n"


async def test_in_one_piece_too(world: World, client: Client) -> None:
    wire = await shared(world, client)
    client.raw(
        b"*1\r\n$5\r\nMULTI\r\n*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n0\r\n*1\r\n$4\r\nEXEC\r\n"
    )
    await world.settle()
    own = world.dial.wires[-1]

    assert wire.quiet
    own.reply(OK)
    await world.settle()
    own.reply(b"+QUEUED\r\n*1\r\n:5\r\n")
    await world.settle()
    assert client.took() == b"+OK\r\n+QUEUED\r\n*1\r\n:0\r\n"
