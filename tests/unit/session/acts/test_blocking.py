"""What waits in the server: on a lane of its own, and what the client hears of its end."""

from __future__ import annotations

import pytest
from nearhit.proxy.upstream.lane_key import LaneKey, User

from tests.asking import GET, OK, asked, shared
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


async def test_a_blocked_client_whose_lane_dies_is_closed_and_told_nothing(
    world: World, client: Client
) -> None:
    """Nor what else it asked there: it would take the error for the answer to what waited."""
    client.send(b"BLPOP", b"q", b"0")
    client.send(b"ECHO", b"behind")
    own = await world.upstream(0)
    own.expect(b"BLPOP", b"q", b"0")

    own.lose()
    await world.settle()

    assert client.took() == b""
    assert client.wire.end == "closed"
    assert client.session.berth.holds == 0
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=0>"


async def test_what_was_answered_before_it_blocked_is_told(world: World, client: Client) -> None:
    client.send(b"BLPOP", b"q", b"0")
    client.send(b"BRPOP", b"q", b"0")
    own = await world.upstream(0)
    own.reply(b"*-1\r\n")
    own.lose()
    await world.settle()

    assert client.took() == b"*-1\r\n"
    assert client.wire.end == "closed"


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


async def test_what_waits_is_not_begun_for_a_client_that_sends_no_more(
    world: World, client: Client
) -> None:
    wire = await shared(world, client)
    client.raw(GET)
    client.send(b"BLPOP", b"q", b"0")  # waits for the answer to GET
    client.finish()
    await world.settle()
    wire.expect(b"GET", b"k")

    wire.reply(b"+1\r\n")
    await world.settle()

    assert client.took() == b"+1\r\n"
    assert client.wire.end == "closed"
    assert all(one.quiet for one in world.dial.wires)


async def test_two_that_wait_in_a_row_are_blocked_until_both_are_answered(
    world: World, client: Client
) -> None:
    client.send(b"BLPOP", b"q", b"0")
    client.send(b"BRPOP", b"q", b"0")
    own = await world.upstream(0)
    own.expect(b"BLPOP", b"q", b"0")
    own.expect(b"BRPOP", b"q", b"0")

    own.reply(b"*-1\r\n")
    await world.settle()
    assert client.session.berth.flags == "b"
    own.reply(b"*-1\r\n")
    await world.settle()

    assert client.session.berth.flags == "N"
    assert client.session.lane is None


async def test_kill_of_a_script_goes_to_db_0_and_what_follows_does_not(
    world: World, client: Client
) -> None:
    await asked(world, client, b"SELECT", b"5", reply=OK)
    client.send(b"SCRIPT", b"KILL")
    client.raw(GET)
    await world.settle()
    own = world.dial.wires[-1]
    assert own.handshake is not None
    assert not any(words[0] == b"SELECT" for words in own.handshake)
    own.expect(b"SCRIPT", b"KILL")
    assert own.quiet

    own.reply(b"-NOTBUSY no\r\n")
    await world.settle()

    assert client.took() == b"-NOTBUSY no\r\n"
    (behind,) = [wire for wire in world.dial.wires if wire.written]
    assert behind is not own
    assert behind.handshake is not None
    assert [b"SELECT", b"5"] in behind.handshake


@pytest.mark.parametrize("words", [[b"WAIT", b"1", b"0"], [b"SHUTDOWN"]])
async def test_what_needs_a_lane_of_its_own_lets_the_others_be_answered_first(
    world: World, client: Client, words: list[bytes]
) -> None:
    wire = await shared(world, client)
    client.raw(GET)
    client.send(*words)
    await world.settle()
    assert world.connections == 1

    wire.reply(b"+1\r\n")
    await world.settle()

    assert world.connections == 2


async def test_shutdown_is_answered_by_the_end_of_the_connection(
    world: World, client: Client
) -> None:
    client.send(b"SHUTDOWN")
    own = await world.upstream(0)
    own.expect(b"SHUTDOWN")

    own.lose()
    await world.settle()

    assert client.took() == b""
    assert client.wire.end == "closed"


async def test_a_refused_shutdown_leaves_the_client_where_it_was(
    world: World, client: Client
) -> None:
    assert await asked(world, client, b"SHUTDOWN", reply=b"-ERR no\r\n") == b"-ERR no\r\n"

    assert not client.wire.end
    assert repr(world.lanes) == "<Lanes shared=0 lent=0 warm=1>"


XREAD = (b"XREAD", b"BLOCK", b"0", b"STREAMS", b"s", b"t")
LAST = (b"XREVRANGE", b"s", b"+", b"-", b"COUNT", b"1")


async def test_the_moment_of_a_read_is_that_of_its_coming(world: World, client: Client) -> None:
    """Its lane has still to be opened: what others add meanwhile is new."""
    wire = await shared(world, client)

    client.send(*XREAD, b"$", b"$")
    await world.settle()
    own = await world.upstream(1)

    wire.expect(b"XREVRANGE", b"s", b"+", b"-", b"COUNT", b"1")
    wire.expect(b"XREVRANGE", b"t", b"+", b"-", b"COUNT", b"1")
    assert own.quiet
    wire.reply(b"*1\r\n*2\r\n$3\r\n7-1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n*0\r\n")
    await world.settle()

    own.expect(*XREAD, b"7-1", b"0-0")
    assert client.session.berth.flags == "b"
    own.reply(b"*-1\r\n")
    await world.settle()
    assert client.took() == b"*-1\r\n"


async def test_who_may_not_ask_for_the_moment_reads_as_before(world: World, client: Client) -> None:
    wire = await shared(world, client)
    client.send(*XREAD, b"$", b"0")
    await world.settle()
    own = await world.upstream(1)

    wire.expect(b"XREVRANGE", b"s", b"+", b"-", b"COUNT", b"1")
    wire.reply(b"-NOPERM no\r\n")
    await world.settle()

    own.expect(*XREAD, b"$", b"0")


@pytest.mark.parametrize(
    ("may", "asks"),
    [
        (OK, True),
        (b"-NOPERM the proxy may not ask\r\n", True),
        (b"$36\r\nUser u has no permissions to run that\r\n", False),
    ],
)
async def test_as_a_user_it_asks_only_for_what_that_user_may_read(
    world: World, client: Client, may: bytes, asks: bool
) -> None:
    """ACL LOG would show a refusal of what the user never asked for."""
    first = await shared(world, client)
    client.session.berth.rekey(LaneKey(user=User(b"u", b"p")))
    users = await shared(world, client)
    world.dial.permits = False

    client.send(*XREAD[:-1], b"$")
    await world.settle()
    own = await world.upstream(2)
    first.expect(b"ACL", b"DRYRUN", b"u", *LAST)
    assert users.quiet
    first.reply(may)
    await world.settle()
    if asks:
        users.expect(*LAST)
        users.reply(b"*0\r\n")
        await world.settle()

    assert users.quiet
    own.expect(*XREAD[:-1], b"0-0" if asks else b"$")


async def test_a_warm_lane_needs_no_moment(world: World, client: Client) -> None:
    wire = await shared(world, client)
    client.send(b"BLPOP", b"q", b"0")
    own = await world.upstream(1)
    own.expect(b"BLPOP", b"q", b"0")
    own.reply(b"*-1\r\n")
    await world.settle()

    client.send(*XREAD, b"$", b"$")
    await world.settle()

    own.expect(*XREAD, b"$", b"$")
    assert wire.quiet


async def test_a_lane_lost_before_the_moment_is_known_is_an_error(
    world: World, client: Client
) -> None:
    wire = await shared(world, client)
    client.send(*XREAD, b"$", b"$")
    await world.settle()
    (await world.upstream(1)).lose()
    await world.settle()
    assert wire.take().count(b"XREVRANGE") == 2

    wire.reply(b"*0\r\n*0\r\n")
    await world.settle()

    assert client.took().startswith(b"-UPSTREAM")
    assert not client.wire.end
    assert await asked(world, client, b"GET", b"k", reply=b"+v\r\n") == b"+v\r\n"


async def test_a_client_that_leaves_before_the_moment_is_known_reads_nothing(
    world: World, client: Client
) -> None:
    wire = await shared(world, client)
    client.send(*XREAD, b"$", b"$")
    await world.settle()
    client.leave()
    await world.settle()

    wire.reply(b"*0\r\n*0\r\n")
    await world.settle()

    assert all(b"XREAD\r\n" not in one.written for one in world.dial.wires)
