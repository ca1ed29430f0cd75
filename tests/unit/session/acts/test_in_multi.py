"""What changes its connection inside MULTI changes the session when EXEC says so."""

from __future__ import annotations

import pytest
from nearhit.proxy.upstream.lane_key import LaneKey, User

from tests.asking import OK, asked
from tests.fakes import Client, Upstream, World

QUEUED = b"+QUEUED\r\n"
ERROR = b"-ERR no\r\n"
HELLO = b"%1\r\n$2\r\nid\r\n:77\r\n"


async def executed(
    world: World, client: Client, *words: bytes, element: bytes, sent: list[bytes] | None = None
) -> bytes:
    """Queue one request between MULTI and EXEC; what EXEC answers for it."""
    await asked(world, client, b"MULTI", reply=OK)
    client.send(*words)
    await world.settle()
    wire = world.dial.wires[-1]
    wire.expect(*(sent or words))
    wire.reply(QUEUED)
    await world.settle()
    assert client.took() == QUEUED
    got = await asked(world, client, b"EXEC", reply=b"*1\r\n" + element)
    assert not client.session.odd
    return got.removeprefix(b"*1\r\n")


@pytest.mark.parametrize(
    ("words", "sent", "key"),
    [
        ([b"HELLO", b"3"], [b"HELLO", b"3"], LaneKey(resp=3)),
        (
            [b"HELLO", b"3", b"AUTH", b"u", b"p", b"SETNAME", b"n"],
            [b"HELLO", b"3", b"AUTH", b"u", b"p"],
            LaneKey(resp=3, user=User(b"u", b"p")),
        ),
    ],
)
async def test_hello_moves_the_session_to_where_its_lane_is(
    world: World, client: Client, words: list[bytes], sent: list[bytes], key: LaneKey
) -> None:
    got = await executed(world, client, *words, sent=sent, element=HELLO)

    assert got == b"%%1\r\n$2\r\nid\r\n:%d\r\n" % client.session.identity.id
    assert client.session.berth.lane_key == key
    assert client.session.identity.name == (b"n" if b"SETNAME" in words else b"")
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"
    # The lane that it gave back is one of its new key.
    assert await asked(world, client, b"MULTI", reply=OK) == OK
    assert world.connections == 1


@pytest.mark.parametrize("words", [[b"HELLO"], [b"HELLO", b"9"], [b"HELLO", b"3"]])
async def test_a_hello_that_asks_or_is_refused_moves_nothing(
    world: World, client: Client, words: list[bytes]
) -> None:
    assert await executed(world, client, *words, element=ERROR) == ERROR

    assert client.session.berth.lane_key == LaneKey()
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


@pytest.mark.parametrize("element", [OK, ERROR])
@pytest.mark.parametrize("words", [[b"AUTH", b"p"], [b"AUTH", b"default", b"p"]])
async def test_auth_makes_it_another_user_where_the_server_agrees(
    world: World, client: Client, words: list[bytes], element: bytes
) -> None:
    await executed(world, client, *words, element=element)

    user = User(b"default", b"p") if element == OK else None
    assert client.session.berth.lane_key.user == user


@pytest.mark.parametrize(
    "words", [[b"READONLY"], [b"CLIENT", b"NO-EVICT", b"ON"], [b"CLIENT", b"NEW"]]
)
async def test_what_leaves_state_keeps_its_lane(
    world: World, client: Client, words: list[bytes]
) -> None:
    await executed(world, client, *words, element=OK)

    assert repr(world.lanes) == "<Lanes shared=0 lent=1 warm=0>"
    assert ("e" in client.session.berth.flags) is (b"NO-EVICT" in words)


PAUSE = (b"CLIENT", b"PAUSE", b"60000", b"WRITE")


async def queued_pause(world: World, client: Client) -> Upstream:
    """Its EXEC has been sent."""
    await asked(world, client, b"MULTI", reply=OK)
    await asked(world, client, *PAUSE, reply=QUEUED)
    assert not world.lanes.paused
    client.send(b"EXEC")
    await world.settle()
    wire = world.dial.wires[-1]
    wire.expect(b"EXEC")
    return wire


async def test_a_pause_is_in_force_from_the_sending_of_exec(world: World, client: Client) -> None:
    wire = await queued_pause(world, client)
    assert world.lanes.writes_paused

    wire.reply(b"*1\r\n" + OK)
    await world.settle()

    assert world.lanes.writes_paused
    assert client.took() == b"*1\r\n" + OK
    assert await executed(world, client, b"CLIENT", b"UNPAUSE", element=ERROR) == ERROR
    assert world.lanes.writes_paused
    assert await executed(world, client, b"CLIENT", b"UNPAUSE", element=OK) == OK
    assert not world.lanes.paused


@pytest.mark.parametrize(
    "reply", [b"*-1\r\n", b"_\r\n", b"-EXECABORT no\r\n", b"*1\r\n" + ERROR, None]
)
async def test_a_pause_that_exec_did_not_run_is_none(
    world: World, client: Client, reply: bytes | None
) -> None:
    wire = await queued_pause(world, client)

    if reply is None:
        wire.lose()
    else:
        wire.reply(reply)
    await world.settle()

    assert not world.lanes.paused


async def test_a_pause_that_is_discarded_is_none(world: World, client: Client) -> None:
    await asked(world, client, b"MULTI", reply=OK)
    await asked(world, client, *PAUSE, reply=QUEUED)
    await asked(world, client, b"DISCARD", reply=OK)

    assert await executed(world, client, b"READONLY", element=ERROR) == ERROR
    assert not world.lanes.paused


async def test_a_pause_that_is_wrong_is_the_servers_to_refuse(world: World, client: Client) -> None:
    assert await executed(world, client, b"CLIENT", b"PAUSE", b"x", element=ERROR) == ERROR

    assert not world.lanes.paused


async def test_refused_it_leaves_none(world: World, client: Client) -> None:
    await executed(world, client, b"READONLY", element=ERROR)

    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


async def test_tracking_is_switched_when_exec_has(world: World, client: Client) -> None:
    await executed(world, client, b"CLIENT", b"TRACKING", b"ON", element=ERROR)
    assert client.session.berth.flags == "N"

    await executed(world, client, b"CLIENT", b"TRACKING", b"ON", element=OK)
    assert client.session.berth.flags == "t"

    await executed(world, client, b"CLIENT", b"TRACKING", b"OFF", element=OK)
    assert client.session.berth.flags == "N"


async def test_monitor_may_begin_there(world: World, client: Client) -> None:
    """As a Redis before 7 lets it."""
    await executed(world, client, b"MONITOR", element=OK)

    line = b'+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"\r\n'
    world.dial.wires[-1].reply(line)
    await world.settle()
    assert client.took() == line
    assert client.session.berth.flags == "O"


async def test_what_follows_exec_waits_for_who_it_will_be(world: World, client: Client) -> None:
    await asked(world, client, b"MULTI", reply=OK)
    await asked(world, client, b"SELECT", b"4", reply=QUEUED)
    wire = world.dial.wires[-1]
    client.send(b"EXEC")
    client.send(b"GET", b"k")
    await world.settle()
    wire.expect(b"EXEC")
    assert wire.quiet

    wire.reply(b"*1\r\n" + OK)
    await world.settle()

    assert client.session.berth.lane_key.db == 4
    world.dial.wires[-1].expect(b"GET", b"k")


@pytest.mark.parametrize(
    "words",
    [
        [b"CLIENT", b"REPLY", b"OFF"],
        [b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", b"7"],
        [b"CLIENT", b"UNBLOCK", b"7"],
        [b"PSUBSCRIBE", b"c*"],
        [b"REPLCONF", b"ACK", b"1"],
    ],
)
async def test_what_no_reply_tells_makes_a_tunnel(
    world: World, client: Client, words: list[bytes]
) -> None:
    await asked(world, client, b"MULTI", reply=OK)

    await asked(world, client, *words, reply=QUEUED)

    assert client.session.berth.flags == "x"


async def test_what_is_refused_as_it_is_queued_makes_none(world: World, client: Client) -> None:
    await asked(world, client, b"MULTI", reply=OK)

    assert await asked(world, client, b"SYNC", reply=ERROR) == ERROR

    assert client.session.berth.flags == "x"
    assert await asked(world, client, b"EXEC", reply=b"-EXECABORT\r\n") == b"-EXECABORT\r\n"
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"
