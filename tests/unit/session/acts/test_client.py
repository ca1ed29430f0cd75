"""CLIENT: replies that are switched off, names and kills of our own clients, tracking."""

from __future__ import annotations

from dataclasses import replace

import pytest
from nearhit.proxy.resp.replies import error
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.session.acts.client import NO_NAME
from nearhit.proxy.table.table import Ours, Table

from tests.asking import BAD_NAME, GET, LOST, OK, asked, named, switched
from tests.fakes import Client, World

BAD_INFO = error("lib-ver cannot contain spaces, newlines or special characters.")


async def test_a_push_comes_between_two_replies(world: World, client: Client) -> None:
    await asked(world, client, b"HELLO", b"3", reply=b"%1\r\n$5\r\nproto\r\n:3\r\n")
    push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
    client.send(b"CLIENT", b"TRACKING", b"ON")
    await world.settle()
    own = world.dial.wires[-1]
    own.reply(OK)
    client.raw(GET * 2)
    await world.settle()

    own.reply(b"+1\r\n" + push[:7], push[7:] + b"+2\r\n")
    await world.settle()

    assert client.took() == OK + b"+1\r\n" + push + b"+2\r\n"
    assert client.session.berth.flags == "t"


async def test_with_replies_off_nothing_comes_but_all_is_done(world: World, client: Client) -> None:
    assert await switched(world, client, b"OFF") == b""
    client.raw(GET * 2)
    wire = await world.upstream(0)
    assert wire.take() == GET * 2
    wire.reply(b"+1\r\n$1\r\n", b"2\r\n")
    await world.settle()
    assert client.took() == b""
    assert await named(world, client, b"me") == b""

    assert await switched(world, client, b"ON") == OK
    client.raw(GET)
    await world.settle()
    wire.expect(b"GET", b"k")
    wire.reply(b"+3\r\n")
    await world.settle()

    assert client.took() == b"+3\r\n"
    assert client.session.identity.name == b"me"


@pytest.mark.parametrize("mode", [b"ON", b"OFF", b"SKIP"])
async def test_who_may_not_switch_replies_does_not(
    world: World, client: Client, mode: bytes
) -> None:
    assert await switched(world, client, mode, NO) == NO

    assert await asked(world, client, b"GET", b"k", reply=OK) == OK


async def test_who_may_not_switch_replies_on_is_not_told(world: World, client: Client) -> None:
    await switched(world, client, b"OFF")

    assert await switched(world, client, b"ON", NO) == b""
    assert await asked(world, client, b"GET", b"k", reply=OK) == b""


async def test_skip_is_for_one_request(world: World, client: Client) -> None:
    client.raw(encode([b"CLIENT", b"REPLY", b"SKIP"]) + GET * 3)
    wire = await world.upstream(0)
    wire.expect(b"CLIENT", b"REPLY", b"ON")
    wire.reply(OK)
    await world.settle()

    wire.reply(b"+1\r\n+2\r\n+3\r\n")
    await world.settle()

    assert client.took() == b"+2\r\n+3\r\n"


async def test_skip_reaches_our_own_answers_too(world: World, client: Client) -> None:
    await switched(world, client, b"SKIP")

    assert await named(world, client, b"me") == b""
    assert await named(world, client, b"you") == OK


async def test_what_is_muted_needs_no_cut_when_the_lane_dies(world: World, client: Client) -> None:
    await switched(world, client, b"SKIP")
    client.raw(GET * 2)
    wire = await world.upstream(0)

    wire.reply(b"$5\r\nhe")
    wire.lose()
    await world.settle()

    assert client.took().count(LOST) == 1
    assert not client.wire.end


async def test_kill_cuts_another_client_and_says_how_many(world: World, client: Client) -> None:
    other = world.client()
    client.send(b"CLIENT", b"KILL", b"ID", b"2")
    wire = await world.upstream(0)
    wire.reply(b":0\r\n")
    await world.settle()

    assert client.took() == b":1\r\n"
    assert other.wire.end == "aborted"
    assert len(world.context.clients) == 1


# --- What CLIENT says of our own clients


NO = b"-NOPERM no\r\n"
LINE = b"id=101 addr=a:1 name= db=7 age=0 lib-name=x lib-ver=y\n"


async def test_id_name_and_redirection_are_the_sessions_own(world: World, client: Client) -> None:
    assert await asked(world, client, b"CLIENT", b"ID", reply=b":101\r\n") == b":1\r\n"
    assert await asked(world, client, b"CLIENT", b"GETNAME", reply=b"$1\r\nl\r\n") == b"$-1\r\n"
    assert await asked(world, client, b"CLIENT", b"GETREDIR", reply=b":-1\r\n") == b":-1\r\n"
    client.session.identity.name = b"me"
    client.session.identity.redirect = 7

    got = [
        await asked(world, client, b"CLIENT", b"GETNAME", reply=b"$-1\r\n"),
        await asked(world, client, b"CLIENT", b"GETREDIR", reply=b":105\r\n"),
    ]

    assert got == [b"$2\r\nme\r\n", b":7\r\n"]


async def test_an_error_of_the_server_stands(world: World, client: Client) -> None:
    for words in ([b"CLIENT", b"ID"], [b"CLIENT", b"LIST"], [b"CLIENT", b"KILL", b"ID", b"1"]):
        client.send(*words)
        await world.settle()
        world.dial.wires[0].take()
        world.dial.wires[0].reply(NO)
        await world.settle()

        assert client.took() == NO

    assert not client.wire.end


@pytest.mark.parametrize(
    "words",
    [
        b"ID",
        b"LIST",
        b"INFO",
        b"GETNAME",
        b"GETREDIR",
        b"KILL TYPE normal SKIPME yes",
        b"KILL 10.0.0.9:1",
        b"SETNAME me",
        b"SETINFO lib-ver 5",
        b"REPLY ON",
        b"REPLY OFF",
    ],
)
async def test_without_a_server_nobody_is_shown_anything_and_nothing_is_done(
    world: World, client: Client, words: bytes
) -> None:
    other = world.client()
    other.session.identity.peer = "10.0.0.9:1"
    world.dial.refuse = 10**9

    client.send(b"CLIENT", *words.split())
    await world.settle()

    assert client.took().startswith(b"-UPSTREAM no connection to the server")
    assert not other.wire.end
    assert client.session.identity.name == b""
    assert client.session.identity.library == (b"", b"")


async def test_trackinginfo_names_the_client_that_is_redirected_to(
    world: World, client: Client
) -> None:
    reply = b"*6\r\n$5\r\nflags\r\n*0\r\n$8\r\nredirect\r\n:105\r\n$8\r\nprefixes\r\n*0\r\n"
    ask = (b"CLIENT", b"TRACKINGINFO")
    assert await asked(world, client, *ask, reply=reply) == reply

    client.session.identity.redirect = 3

    assert await asked(world, client, *ask, reply=reply) == reply.replace(b":105", b":3")


@pytest.mark.parametrize("resp", [2, 3])
async def test_info_is_of_this_client_with_the_servers_fields(
    world: World, client: Client, resp: int
) -> None:
    client.session.berth.rekey(client.session.berth.lane_key.with_resp(resp))
    client.session.identity.library = (b"lib", b"1.0")
    text = b"id=1 addr=10.0.0.1:5000 name= db=0 age=0 lib-name=lib lib-ver=1.0\n"

    got = await asked(world, client, b"CLIENT", b"INFO", reply=b"$%d\r\n%b\r\n" % (len(LINE), LINE))

    if resp == 2:
        assert got == b"$%d\r\n%b\r\n" % (len(text), text)
    else:
        assert got == b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text)


async def test_list_shows_our_clients_and_filters_them(world: World, client: Client) -> None:
    other = world.client()
    await named(world, other, b"other")
    world.context.fields = (b"id", b"name", b"cmd")
    reply = b"$%d\r\n%b\r\n" % (len(LINE), LINE)

    got = await asked(world, client, b"CLIENT", b"LIST", reply=reply)
    one = await asked(world, client, b"CLIENT", b"LIST", b"ID", b"2", reply=reply)

    assert got == (b"$62\r\nid=1 name= cmd=client|list\nid=2 name=other cmd=client|setname\n\r\n")
    assert one == b"$35\r\nid=2 name=other cmd=client|setname\n\r\n"


async def test_a_filter_that_the_server_took_and_we_do_not_is_refused(
    world: World, client: Client
) -> None:
    got = await asked(world, client, b"CLIENT", b"LIST", b"ID", b"0", reply=b"$0\r\n\r\n")

    assert got == b"-ERR client-id should be greater than 0\r\n"


# --- Names


@pytest.mark.parametrize(
    "words",
    [
        [b"CLIENT", b"SETNAME"],
        [b"CLIENT", b"SETINFO", b"LIB-NAME"],
        [b"CLIENT", b"SETINFO", b"lib-color", b"red"],
        [b"CLIENT", b"KILL"],
        [b"CLIENT", b"REPLY", b"maybe"],
        [b"CLIENT", b"REPLY"],
        [b"CLIENT", b"UNBLOCK", b"one"],
        [b"CLIENT", b"HELP"],
        [b"CLIENT"],
    ],
)
async def test_what_is_wrong_or_leaves_nothing_is_the_servers_to_answer(
    world: World, client: Client, words: list[bytes]
) -> None:
    assert await asked(world, client, *words, reply=b"-ERR wrong\r\n") == b"-ERR wrong\r\n"

    assert repr(world.lanes) == "<Lanes shared=1 lent=0 warm=0>"


@pytest.mark.parametrize(
    ("option", "value", "library"),
    [
        (b"LIB-NAME", b"redis-py", (b"redis-py", b"")),
        (b"lib-ver", b"5.0", (b"", b"5.0")),
        (b"lib-ver", b"5 0", (b"", b"")),
    ],
)
async def test_a_library_may_name_itself(
    world: World, client: Client, option: bytes, value: bytes, library: tuple[bytes, bytes]
) -> None:
    client.send(b"CLIENT", b"SETINFO", option, value)
    wire = await world.upstream(0)
    wire.expect(b"CLIENT", b"SETINFO", option, NO_NAME)
    wire.reply(BAD_INFO)
    await world.settle()

    assert client.took() == (OK if any(library) else BAD_INFO)
    assert client.session.identity.library == library


@pytest.mark.parametrize("words", [(b"SETNAME", b"me"), (b"SETINFO", b"lib-ver", b"5")])
async def test_who_may_not_name_itself_does_not(
    world: World, client: Client, words: tuple[bytes, ...]
) -> None:
    client.send(b"CLIENT", *words)
    wire = await world.upstream(0)
    wire.reply(NO)
    await world.settle()

    assert client.took() == NO
    assert client.session.identity.name == b""
    assert client.session.identity.library == (b"", b"")


async def test_a_server_without_setinfo_is_asked(world: World, client: Client) -> None:
    commands = dict(world.context.table.commands)
    commands[b"CLIENT"] = replace(commands[b"CLIENT"], subcommands=frozenset({b"ID"}))
    world.context.table = Table(commands, Ours())
    client = world.client()

    no = b"-ERR Unknown subcommand\r\n"

    assert await asked(world, client, b"CLIENT", b"SETINFO", b"lib-ver", b"5", reply=no) == no
    assert client.session.identity.library == (b"", b"")


# --- Kills and wakes


async def test_the_old_form_of_kill_answers_ok_or_that_there_is_none(
    world: World, client: Client
) -> None:
    other = world.client()
    other.session.identity.peer = "10.0.0.9:1"

    got = b""
    for _ in range(2):
        client.send(b"CLIENT", b"KILL", b"10.0.0.9:1")
        wire = await world.upstream(0)
        wire.expect(b"CLIENT", b"KILL", b"ID", b"%d" % (2**63 - 1))
        wire.reply(b":0\r\n")
        await world.settle()
        got += client.took()

    assert got == OK + b"-ERR No such client\r\n"
    assert other.wire.end == "aborted"


async def test_who_kills_itself_is_answered_and_closed(world: World, client: Client) -> None:
    client.send(b"CLIENT", b"KILL", b"ID", b"1", b"SKIPME", b"no")
    wire = await world.upstream(0)
    wire.expect(b"CLIENT", b"KILL", b"SKIPME", b"no", b"ID", b"%d" % (2**63 - 1))
    wire.reply(b":0\r\n")
    await world.settle()

    assert client.took() == b":1\r\n"
    assert client.wire.end == "closed"


async def test_ids_are_ours_and_all_other_filters_the_servers_to_judge(
    world: World, client: Client
) -> None:
    client.send(b"CLIENT", b"KILL", b"ID", b"5", b"6", b"TYPE", b"normal", b"ID", b"x")
    wire = await world.upstream(0)

    wire.expect(
        b"CLIENT", b"KILL", b"TYPE", b"normal", b"ID", b"x", b"ID", b"%d" % (2**63 - 1)
    )  # fmt: skip
    wire.reply(b":0\r\n")
    await world.settle()

    assert client.took() == b"-ERR client-id should be greater than 0\r\n"


async def test_unblock_names_the_lane_of_who_is_blocked(world: World, client: Client) -> None:
    other = world.client()
    other.send(b"BLPOP", b"q", b"0")
    blocked = await world.upstream(0)
    assert other.session.lane is not None

    client.send(b"CLIENT", b"UNBLOCK", b"2", b"ERROR")
    client.send(b"CLIENT", b"UNBLOCK", b"1")
    wire = await world.upstream(1)

    wire.expect(b"CLIENT", b"UNBLOCK", b"101", b"ERROR")
    wire.expect(b"CLIENT", b"UNBLOCK", b"%d" % (2**63 - 1))
    assert blocked.take() == encode([b"BLPOP", b"q", b"0"])


# --- Inside MULTI


QUEUED = b"+QUEUED\r\n"


async def test_names_and_kills_in_a_transaction_are_done_by_exec(
    world: World, client: Client
) -> None:
    other = world.client()
    await asked(world, client, b"MULTI", reply=OK)
    wire = world.dial.wires[0]
    client.send(b"CLIENT", b"SETNAME", b"me")
    client.send(b"CLIENT", b"SETNAME", b"not me")  # it says why itself
    client.send(b"CLIENT", b"KILL", b"ID", b"2")
    client.send(b"CLIENT", b"PAUSE", b"0")
    await world.settle()
    assert wire.take().count(encode([b"CLIENT", b"SETNAME", NO_NAME])) == 2
    wire.reply(QUEUED * 4)
    await world.settle()
    client.took()
    assert client.session.identity.name == b""
    assert not other.wire.end

    got = await asked(
        world, client, b"EXEC", reply=b"*4\r\n%b%b:0\r\n+OK\r\n" % (BAD_NAME, BAD_NAME)
    )

    assert got == b"*4\r\n+OK\r\n%b:1\r\n+OK\r\n" % BAD_NAME
    assert client.session.identity.name == b"me"
    assert other.wire.end == "aborted"


async def test_what_exec_refuses_in_a_transaction_is_not_done(world: World, client: Client) -> None:
    """The right may be lost between MULTI and EXEC, or the element be any other error."""
    other = world.client()
    await asked(world, client, b"MULTI", reply=OK)
    wire = world.dial.wires[0]
    client.send(b"CLIENT", b"KILL", b"ID", b"2")
    client.send(b"CLIENT", b"LIST")
    client.send(b"CLIENT", b"ID")
    client.send(b"CLIENT", b"SETNAME", b"me")
    await world.settle()
    wire.take()
    wire.reply(QUEUED * 4)
    await world.settle()
    client.took()
    no = b"-NOPERM no\r\n"

    got = await asked(world, client, b"EXEC", reply=b"*4\r\n%b" % (no * 4))

    assert got == b"*4\r\n%b" % (no * 4)
    assert not other.wire.end
    assert client.session.identity.name == b""


async def test_a_stranger_has_the_servers_word(world: World) -> None:
    noauth = b"-NOAUTH Authentication required.\r\n"
    world.dial.handshake = {b"HELLO": noauth, b"PING": noauth}
    world.lanes.shared(world.lanes.primary_key).open()
    await world.settle()
    stranger = world.client()

    assert await asked(world, stranger, b"CLIENT", b"SETNAME", b"me", reply=noauth) == noauth

    assert stranger.session.identity.name == b""


@pytest.mark.parametrize(
    ("words", "asked_for"),
    [
        (b"ID 5", b""),
        (b"ID 5 6 USER a ID 7", b"USER a"),
        (b"NOT-ID 1 2 ID 5", b"NOT-ID 1 2"),
        (b"not-id 1 2 3 DB 0 id 5 6", b"not-id 1 2 3 DB 0"),
        (b"ID x", b"ID x"),
        (b"ID 0", b"ID 0"),
        (b"NOT-ID x ID 5", b"NOT-ID x"),
    ],
)
async def test_the_server_judges_the_filters_of_kill_and_sees_no_id_of_ours(
    world: World, client: Client, words: bytes, asked_for: bytes
) -> None:
    client.send(b"CLIENT", b"KILL", *words.split())
    wire = await world.upstream(0)

    wire.expect(b"CLIENT", b"KILL", *asked_for.split(), b"ID", b"%d" % (2**63 - 1))


async def test_a_capability_is_shown(world: World, client: Client) -> None:
    client.send(b"CLIENT", b"CAPA", b"redirect")
    await world.settle()
    world.dial.wires[-1].reply(OK)
    await world.settle()

    assert client.session.identity.capa == "r"


async def test_who_is_being_cut_is_not_listed(world: World, client: Client) -> None:
    other = world.client()
    world.context.fields = (b"id",)
    client.send(b"CLIENT", b"KILL", b"ID", b"2")
    client.send(b"CLIENT", b"LIST")
    wire = await world.upstream(0)

    wire.reply(b":0\r\n$3\r\nid=\r\n")
    await world.settle()

    assert client.took() == b":1\r\n$5\r\nid=1\n\r\n"
    assert other.wire.end == "aborted"
