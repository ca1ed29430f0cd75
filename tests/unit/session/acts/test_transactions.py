"""MULTI and its kin: which lane, what EXEC answers, what ends with the lane."""

from __future__ import annotations

import pytest
from nearhit.proxy.hot.answers import WINDOW_START
from nearhit.proxy.keys.ours import lease_key
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.table.table import Ours, snapshot

from tests.asking import GET, OK, asked, manage, shared
from tests.fakes import Client, Upstream, World


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


async def test_a_watch_that_the_server_refuses_watches_nothing(
    world: World, client: Client
) -> None:
    await asked(world, client, b"WATCH", b"k", reply=OK)

    await asked(world, client, b"WATCH", b"l", b"m", reply=b"-NOPERM no\r\n")

    assert client.session.transaction.watched == {b"k"}


async def test_a_watch_answered_behind_the_next_one_is_not_counted_for_it(
    world: World, client: Client
) -> None:
    client.raw(b"".join(encode(words.split()) for words in (b"WATCH k", b"UNWATCH", b"WATCH l")))
    await world.settle()

    (await world.upstream(0)).reply(OK * 3)
    await world.settle()

    assert client.session.transaction.watched == {b"l"}


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


async def test_what_is_gathered_for_exec_is_not_copied_for_each_request(
    world: World, client: Client
) -> None:
    """A transaction may queue a million requests, and a client watch as many keys."""
    await asked(world, client, b"WATCH", b"k", reply=OK)
    transaction = client.session.transaction
    watched, patches = transaction.watched, transaction.patches

    await asked(world, client, b"WATCH", b"l", reply=OK)
    await asked(world, client, b"MULTI", reply=OK)
    for _ in range(2):
        await asked(world, client, b"CLIENT", b"ID", reply=b"+QUEUED\r\n")

    assert transaction.watched is watched
    assert watched == {b"k", b"l"}
    assert transaction.patches is patches
    assert len(patches) == 2


async def test_a_select_in_a_transaction_moves_the_session(world: World, client: Client) -> None:
    await asked(world, client, b"MULTI", reply=OK)
    await asked(world, client, b"SELECT", b"4", reply=b"+QUEUED\r\n")
    await asked(world, client, b"EXEC", reply=b"*1\r\n+OK\r\n")

    assert client.session.berth.lane_key.db == 4
    await asked(world, client, b"GET", b"k", reply=b"+v\r\n")
    assert world.dial.wires[-1].handshake is not None
    assert [b"SELECT", b"4"] in world.dial.wires[-1].handshake


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


# --- What is not queued, or not as it came


QUEUED = b"+QUEUED\r\n"


async def begun(world: World, client: Client) -> Upstream:
    """A transaction is open: the server's end of its lane."""
    await asked(world, client, b"MULTI", reply=OK)
    return world.dial.wires[-1]


async def test_a_refused_multi_opens_no_transaction(world: World, client: Client) -> None:
    refused = b"-NOPERM no\r\n"

    assert await asked(world, client, b"MULTI", reply=refused) == refused

    assert client.session.berth.holds == 0
    assert world.dial.wires[0].end == "aborted"
    assert not client.wire.end


async def test_a_refused_multi_with_a_select_behind_it_ends_the_connection(
    world: World, client: Client
) -> None:
    client.send(b"MULTI")
    client.send(b"SELECT", b"4")
    wire = await world.upstream(0)
    wire.expect(b"MULTI")
    wire.expect(b"SELECT", b"4")

    wire.reply(b"-NOPERM no\r\n", OK)  # it has run, and nobody knows in which db the lane is
    await world.settle()

    assert client.took() == b"-NOPERM no\r\n+OK\r\n"
    assert client.wire.end == "closed"
    assert wire.end == "aborted"


@pytest.mark.parametrize(
    "words", [[b"MULTI"], [b"MULTI", b"x"], [b"WATCH", b"k"], [b"WATCH"], [b"DISCARD", b"x"]]
)
async def test_what_the_server_refuses_at_once_is_not_counted_as_queued(
    world: World, client: Client, words: list[bytes]
) -> None:
    await begun(world, client)
    await asked(world, client, b"SET", b"k", b"v", reply=QUEUED)
    assert client.session.queued == 1

    assert await asked(world, client, *words, reply=b"-ERR no\r\n") == b"-ERR no\r\n"

    assert client.session.queued == 1
    assert client.session.berth.flags == "x"


async def test_outside_of_a_transaction_exec_and_discard_are_the_servers_to_refuse(
    world: World, client: Client
) -> None:
    no = b"-ERR without MULTI\r\n"

    assert await asked(world, client, b"EXEC", reply=no) == no
    assert await asked(world, client, b"DISCARD", reply=no) == no

    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=0>"


async def test_a_refused_discard_leaves_the_transaction_open(world: World, client: Client) -> None:
    await begun(world, client)

    await asked(world, client, b"DISCARD", reply=b"-NOPERM no\r\n")

    assert client.session.berth.flags == "x"
    assert client.session.queued == 0


@pytest.mark.parametrize("reply", [b"-NOPERM no\r\n", None], ids=["refused", "lost"])
async def test_an_unwatch_that_fails_still_watches(
    world: World, client: Client, reply: bytes | None
) -> None:
    await asked(world, client, b"WATCH", b"k", reply=OK)
    holds = client.session.berth.holds
    client.send(b"UNWATCH")
    await world.settle()
    assert client.session.berth.holds == 0

    wire = world.dial.wires[0]
    if reply is None:
        wire.lose()
    else:
        wire.reply(reply)
    await world.settle()

    if reply is None:
        assert client.wire.end == "closed"
    else:
        assert client.session.berth.holds == holds
        assert client.took() == reply


async def test_unwatch_without_watch_needs_no_lane_of_its_own(world: World, client: Client) -> None:
    await asked(world, client, b"UNWATCH", reply=OK)

    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=0>"


@pytest.mark.parametrize(
    "reply", [b"*-1\r\n", b"_\r\n", b"-EXECABORT no\r\n", b"*2\r\n-ERR no\r\n:7\r\n"]
)
async def test_exec_passes_what_is_not_the_clients_own(
    world: World, client: Client, reply: bytes
) -> None:
    await begun(world, client)
    await asked(world, client, b"SELECT", b"4", reply=QUEUED)
    await asked(world, client, b"INCR", b"k", reply=QUEUED)

    assert await asked(world, client, b"EXEC", reply=reply) == reply

    assert client.session.berth.lane_key.db == 0


@pytest.mark.parametrize("section", [b"SERVER", b""])
async def test_info_in_a_transaction_has_our_section_where_it_is_asked_for(
    world: World, client: Client, section: bytes
) -> None:
    world.context.info = lambda: b"# Nearhit\r\n"
    words = [b"INFO", section] if section else [b"INFO"]
    await begun(world, client)
    await asked(world, client, *words, reply=QUEUED)

    got = await asked(world, client, b"EXEC", reply=b"*1\r\n$0\r\n\r\n")

    assert (b"# Nearhit" in got) is (not section)


@pytest.mark.parametrize("words", [[b"SUBSCRIBE", b"c"], [b"CLIENT", b"REPLY", b"OFF"]])
async def test_what_no_reply_can_tell_makes_the_connection_the_clients_own(
    world: World, client: Client, words: list[bytes]
) -> None:
    wire = await begun(world, client)

    client.send(*words)
    await world.settle()
    wire.expect(*words)
    wire.reply(QUEUED)
    client.raw(b"EXEC\r\n")
    await world.settle()

    assert client.took() == QUEUED
    assert wire.take() == b"EXEC\r\n"  # as it came: bytes pass as they are
    assert client.session.berth.flags == "x"


@pytest.mark.parametrize("name", [b"GETORSET", b"LOCK"])
async def test_a_command_of_the_proxys_own_aborts_its_transaction(
    world: World, name: bytes
) -> None:
    world.context.table = snapshot(Ours(commands=frozenset({b"GETORSET", b"LOCK"})))
    client = world.client()
    wire = await begun(world, client)

    client.send(name, b"k")
    await world.settle()
    wire.expect(b"NEARHIT." + name)
    wire.reply(b"-ERR unknown command\r\n")
    await world.settle()

    assert client.took().startswith(b"-ERR %b is a command of the proxy" % name)
    assert await asked(world, client, b"EXEC", reply=b"-EXECABORT\r\n") == b"-EXECABORT\r\n"


# --- What it writes


async def test_leases_of_the_keys_written_are_deleted_before_exec_is_sent(world: World) -> None:
    manage(world)
    client = world.client()
    wire = await begun(world, client)
    await asked(world, client, b"SET", b"m:1", b"v", reply=QUEUED)
    await asked(world, client, b"SET", b"other", b"v", reply=QUEUED)

    client.send(b"EXEC")
    await world.settle()
    assert wire.quiet
    shared_wire = world.dial.wires[-1]
    assert shared_wire is not wire
    shared_wire.expect(b"DEL", lease_key(b"m:1"))
    shared_wire.reply(b":1\r\n")
    await world.settle()

    wire.expect(b"EXEC")
    wire.reply(b"*2\r\n+OK\r\n+OK\r\n")
    await world.settle()
    assert client.took() == b"*2\r\n+OK\r\n+OK\r\n"


@pytest.mark.parametrize(
    ("inside", "forgotten"),
    [
        (encode([b"SET", b"k", b"v"]) + encode([b"GET", b"other"]), {b"k"}),
        (encode([b"GET", b"k"]) + encode([b"DEL", b"other"]), {b"other"}),
    ],
)
async def test_a_transaction_in_one_piece_forgets_the_keys_that_it_writes(
    near_world: World, inside: bytes, forgotten: set[bytes]
) -> None:
    world = near_world
    client = world.client()
    await world.settle()
    space = client.session.near.space
    assert space is not None
    for key in (b"k", b"other"):
        space.admit(key)
        ticket = space.reserve(key)
        assert ticket is not None
        assert space.fill(ticket, b"$1\r\nv\r\n", -1, world.now)

    client.raw(encode([b"MULTI"]) + inside + encode([b"EXEC"]))
    await world.settle()

    assert {b"k", b"other"} - set(space.entries) == forgotten


async def test_exec_with_answers_of_ours_forgets_what_it_writes_too(near_world: World) -> None:
    world = near_world
    client = world.client()
    await begun(world, client)
    await asked(world, client, b"SET", b"k", b"v", reply=QUEUED)
    await asked(world, client, b"CLIENT", b"ID", reply=QUEUED)
    assert world.near is not None
    space = world.near.space(0, None)
    client.send(b"EXEC")
    await world.settle()
    ticket = space.reserve(b"k")
    assert ticket is not None
    assert space.fill(ticket, b"$1\r\nv\r\n", -1, world.now)

    world.dial.wires[-1].reply(b"*2\r\n+OK\r\n:105\r\n")
    await world.settle()

    assert client.took() == b"*2\r\n+OK\r\n:%d\r\n" % client.session.identity.id
    assert b"k" not in space.entries
