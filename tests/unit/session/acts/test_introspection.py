"""COMMAND and INFO through a session: the server's bytes, and ours behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from nearhit.proxy.custom.introspection import docs, facts_of, row
from nearhit.proxy.custom.spec import Call, CommandSpec, Subcommand
from nearhit.proxy.resp.replies import Value, bulk
from nearhit.proxy.resp.requests import encode

from tests.asking import switched
from tests.fakes import Client, World

NEARHIT = b"# Nearhit\r\nhits:1\r\n"
GET_ROW = b"*6\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n"
GET_DOCS = b"$3\r\nget\r\n*2\r\n$7\r\nsummary\r\n$1\r\ns\r\n"
NOPERM = b"-NOPERM this user has no permissions\r\n"
UNKNOWN = b"-ERR Invalid command specified\r\n"


async def run(call: Call) -> Value:
    raise AssertionError("COMMAND runs nothing")


SWAP = CommandSpec(
    name=b"SWAP",
    arity=3,
    summary="Returns and sets.",
    group="string",
    complexity="O(1)",
    parse=tuple,
    run=run,
    flags=("write", "fast"),
    keys=(1, 1, 1),
)
GATE = replace(
    SWAP,
    name=b"GATE",
    arity=-3,
    group="nearhit",
    flags=("write",),
    keys=(0, 0, 0),
    subcommands=(Subcommand("OPEN", "Opens.", 3, (2, 2, 1)),),
)
ROWS = {resp: [row(facts_of(spec), resp) for spec in (SWAP, GATE)] for resp in (2, 3)}
DOCS = {resp: [docs(facts_of(spec), resp) for spec in (SWAP, GATE)] for resp in (2, 3)}
OPEN = facts_of(GATE).subcommands[0]


@pytest.fixture
async def bare() -> AsyncIterator[World]:
    """A proxy without commands and section of its own."""
    world = World()
    yield world
    await world.close()


@pytest.fixture
def world(bare: World) -> World:
    bare.context.customs = {spec.name: spec for spec in (SWAP, GATE)}
    bare.context.info = lambda: NEARHIT
    return bare


@pytest.fixture
def client(world: World) -> Client:
    return world.client()


async def answered(world: World, client: Client, words: bytes, reply: bytes) -> bytes:
    """What the client gets where the server answers so to just these words."""
    client.send(*words.split())
    wire = await world.upstream(world.connections - 1 if world.connections else 0)
    wire.expect(*words.split())
    wire.reply(reply)
    await world.settle()
    return client.took()


def speak(client: Client, resp: int) -> None:
    client.session.berth.rekey(client.session.berth.lane_key.with_resp(resp))


# --- COMMAND


@pytest.mark.parametrize("words", [b"COMMAND", b"command info"])
@pytest.mark.parametrize("resp", [2, 3])
async def test_our_rows_stand_behind_the_servers(
    world: World, client: Client, resp: int, words: bytes
) -> None:
    speak(client, resp)

    got = await answered(world, client, words, b"*2\r\n" + GET_ROW * 2)

    assert got == b"*4\r\n" + GET_ROW * 2 + b"".join(ROWS[resp])


async def test_ours_are_counted(world: World, client: Client) -> None:
    assert await answered(world, client, b"COMMAND COUNT", b":240\r\n") == b":242\r\n"


LIST = b"*1\r\n$3\r\nget\r\n"


@pytest.mark.parametrize(
    ("filtered", "names"),
    [
        (b"", [b"swap", b"gate", b"gate|open"]),
        (b"FILTERBY PATTERN *", [b"swap", b"gate", b"gate|open"]),
        (b"filterby pattern GA*", [b"gate", b"gate|open"]),
        (b"FILTERBY PATTERN *|*", [b"gate|open"]),
        (b"FILTERBY PATTERN nothing", []),
        (b"FILTERBY ACLCAT string", [b"swap"]),
        (b"FILTERBY ACLCAT String", [b"swap"]),
        (b"FILTERBY ACLCAT \xff", []),
        (b"FILTERBY MODULE nearhit", []),
    ],
)
async def test_ours_are_listed_where_the_filter_takes_them(
    world: World, client: Client, filtered: bytes, names: list[bytes]
) -> None:
    got = await answered(world, client, b"COMMAND LIST " + filtered, LIST)

    head = b"*%d\r\n" % (1 + len(names))
    assert got == head + LIST[4:] + b"".join(map(bulk, names))


async def test_info_has_ours_in_the_places_of_their_names(world: World, client: Client) -> None:
    words = b"COMMAND INFO get Swap nosuch GATE|open swap"
    reply = b"*5\r\n" + GET_ROW + b"$-1\r\n" * 4

    got = await answered(world, client, words, reply)

    swap, gate_open = ROWS[2][0], row(OPEN, 2)
    assert got == b"*5\r\n" + GET_ROW + swap + b"$-1\r\n" + gate_open + swap


async def test_info_in_resp3_replaces_nulls_too(world: World, client: Client) -> None:
    speak(client, 3)

    got = await answered(world, client, b"COMMAND INFO swap nosuch", b"*2\r\n_\r\n_\r\n")

    assert got == b"*2\r\n" + ROWS[3][0] + b"_\r\n"


async def test_info_of_another_length_than_asked_is_left_alone(
    world: World, client: Client
) -> None:
    got = await answered(world, client, b"COMMAND INFO swap get", b"*1\r\n$-1\r\n")

    assert got == b"*1\r\n$-1\r\n"


@pytest.mark.parametrize(
    ("resp", "before", "after"),
    [(2, b"*2\r\n", b"*6\r\n"), (3, b"%1\r\n", b"%3\r\n"), (3, b"*2\r\n", b"*6\r\n")],
)
async def test_our_docs_stand_behind_the_servers(
    world: World, client: Client, resp: int, before: bytes, after: bytes
) -> None:
    speak(client, resp)

    got = await answered(world, client, b"COMMAND DOCS", before + GET_DOCS)

    assert got == after + GET_DOCS + b"".join(DOCS[resp])


@pytest.mark.parametrize(
    ("names", "reply", "got"),
    [
        (b"swap", b"*0\r\n", b"*2\r\n" + DOCS[2][0]),
        (b"get SWAP nosuch", b"*2\r\n" + GET_DOCS, b"*4\r\n" + GET_DOCS + DOCS[2][0]),
        (b"gate|open", b"*0\r\n", b"*2\r\n" + docs(OPEN, 2)),
        (b"gate|shut", b"*0\r\n", b"*0\r\n"),
        (b"get", b"*2\r\n" + GET_DOCS, b"*2\r\n" + GET_DOCS),
    ],
)
async def test_docs_have_those_of_ours_that_were_named(
    world: World, client: Client, names: bytes, reply: bytes, got: bytes
) -> None:
    assert await answered(world, client, b"COMMAND DOCS " + names, reply) == got


@pytest.mark.parametrize(
    ("words", "got"),
    [
        (b"GETKEYS swap k v", b"*1\r\n$1\r\nk\r\n"),
        (b"getkeys GATE open k", b"*1\r\n$1\r\nk\r\n"),
        (b"GETKEYS swap k", b"-ERR Invalid number of arguments specified for command\r\n"),
        (b"GETKEYS gate", b"-ERR The command has no key arguments\r\n"),
        (b"GETKEYS nosuch k", UNKNOWN),
        (
            b"GETKEYSANDFLAGS swap k v",
            b"*1\r\n*2\r\n$1\r\nk\r\n*3\r\n+RW\r\n+access\r\n+update\r\n",
        ),
    ],
)
async def test_the_keys_of_a_command_that_the_server_does_not_know(
    world: World, client: Client, words: bytes, got: bytes
) -> None:
    assert await answered(world, client, b"COMMAND " + words, UNKNOWN) == got


@pytest.mark.parametrize(
    "words",
    [
        b"COMMAND",
        b"COMMAND COUNT",
        b"COMMAND COUNT x",
        b"COMMAND LIST",
        b"COMMAND LIST FILTERBY",
        b"COMMAND INFO swap",
        b"COMMAND DOCS",
        b"COMMAND GETKEYS swap k v",
        b"COMMAND GETKEYSANDFLAGS",
        b"COMMAND BOGUS",
        b"INFO",
    ],
)
@pytest.mark.parametrize("line", [NOPERM, b"-UPSTREAM no connection\r\n", b"-ERR syntax error\r\n"])
async def test_an_error_of_the_server_passes_as_it_is(
    world: World, client: Client, words: bytes, line: bytes
) -> None:
    assert await answered(world, client, words, line) == line


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (b"COMMAND", b"*1\r\n" + GET_ROW),
        (b"COMMAND COUNT", b":240\r\n"),
        (b"COMMAND LIST", LIST),
        (b"COMMAND INFO swap", b"*1\r\n$-1\r\n"),
        (b"COMMAND DOCS", b"*2\r\n" + GET_DOCS),
        (b"COMMAND GETKEYS swap k v", UNKNOWN),
        (b"COMMAND HELP", b"*1\r\n+COMMAND\r\n"),
        (b"INFO", b"$10\r\n# Server\r\n\r\n"),
        (b"INFO nearhit", b"$0\r\n\r\n"),
    ],
)
async def test_without_anything_of_our_own_all_is_as_the_server_says(
    bare: World, words: bytes, reply: bytes
) -> None:
    assert await answered(bare, bare.client(), words, reply) == reply


async def test_help_is_the_servers(world: World, client: Client) -> None:
    got = await answered(world, client, b"COMMAND HELP", b"*1\r\n+COMMAND\r\n")

    assert got == b"*1\r\n+COMMAND\r\n"


async def test_a_lane_that_is_lost_says_so(world: World, client: Client) -> None:
    client.send(b"COMMAND", b"COUNT")
    wire = await world.upstream(0)
    wire.lose()
    await world.settle()

    assert client.took().startswith(b"-UPSTREAM connection to the server lost")


async def test_answers_stand_in_the_order_of_their_requests(world: World, client: Client) -> None:
    client.raw(encode([b"GET", b"k"]) + encode([b"COMMAND", b"COUNT"]) + encode([b"GET", b"l"]))
    wire = await world.upstream(0)

    wire.reply(b"$1\r\na\r\n:2", b"40\r\n$1\r\nb\r\n")
    await world.settle()

    assert client.took() == b"$1\r\na\r\n:242\r\n$1\r\nb\r\n"


async def test_a_muted_answer_is_not_given(world: World, client: Client) -> None:
    await switched(world, client, b"SKIP")

    assert await answered(world, client, b"COMMAND COUNT", b":240\r\n") == b""
    assert await answered(world, client, b"COMMAND COUNT", b":240\r\n") == b":242\r\n"


async def test_client_list_shows_it_as_the_last_command(world: World, client: Client) -> None:
    await answered(world, client, b"INFO", b"$0\r\n\r\n")

    assert client.session.last == encode([b"INFO"])


# --- INFO


@pytest.mark.parametrize(
    "words", [b"INFO", b"info ALL", b"INFO server Everything", b"INFO default", b"INFO NearHit cpu"]
)
async def test_info_of_the_whole_ends_with_our_section(
    world: World, client: Client, words: bytes
) -> None:
    text = b"# Server\r\nversion:7\r\n"

    got = await answered(world, client, words, bulk(text))

    assert got == bulk(text + b"\r\n" + NEARHIT)


async def test_info_of_ours_alone_has_no_blank_line_before_it(world: World, client: Client) -> None:
    assert await answered(world, client, b"INFO nearhit", b"$0\r\n\r\n") == bulk(NEARHIT)


async def test_info_in_resp3_stays_verbatim_text(world: World, client: Client) -> None:
    speak(client, 3)

    got = await answered(world, client, b"INFO", b"=11\r\ntxt:# CPU\r\n\r\n")
    alone = await answered(world, client, b"INFO nearhit", b"=4\r\ntxt:\r\n")

    assert got == b"=32\r\ntxt:# CPU\r\n\r\n" + NEARHIT + b"\r\n"
    assert alone == b"=23\r\ntxt:" + NEARHIT + b"\r\n"


@pytest.mark.parametrize("words", [b"INFO server", b"INFO cpu memory", b"INFO nosuch"])
async def test_info_of_other_sections_is_the_servers(
    world: World, client: Client, words: bytes
) -> None:
    assert await answered(world, client, words, b"$0\r\n\r\n") == b"$0\r\n\r\n"


LANES = b"# Clients\r\nconnected_clients:70\r\nmaxclients:9\r\nblocked_clients:12\r\n"
CLIENTS = b"# Clients\r\nconnected_clients:1\r\nmaxclients:9\r\nblocked_clients:0\r\n"


@pytest.mark.parametrize("words", [b"INFO clients", b"INFO cpu CLIENTS"])
async def test_info_of_clients_is_of_ours(world: World, client: Client, words: bytes) -> None:
    assert await answered(world, client, words, bulk(LANES)) == bulk(CLIENTS)


async def test_info_of_clients_in_resp3_is_of_ours(world: World, client: Client) -> None:
    speak(client, 3)

    got = await answered(
        world, client, b"INFO clients", b"=%d\r\ntxt:%b\r\n" % (len(LANES) + 4, LANES)
    )

    assert got == b"=%d\r\ntxt:%b\r\n" % (len(CLIENTS) + 4, CLIENTS)


async def test_what_the_server_counts_stands_in_our_section(world: World, client: Client) -> None:
    got = await answered(world, client, b"INFO everything", bulk(LANES))

    told = b"upstream_connected_clients:70\r\nupstream_blocked_clients:12\r\n"
    assert got == bulk(CLIENTS + b"\r\n" + NEARHIT + told)


async def test_exec_tells_of_our_clients_too(world: World, client: Client) -> None:
    await answered(world, client, b"MULTI", b"+OK\r\n")
    await answered(world, client, b"INFO clients", b"+QUEUED\r\n")

    got = await answered(world, client, b"EXEC", b"*1\r\n" + bulk(LANES))

    assert got == b"*1\r\n" + bulk(CLIENTS)


# --- Inside MULTI


async def test_exec_answers_for_them_as_they_answer_alone(world: World, client: Client) -> None:
    requests = [b"COMMAND COUNT", b"GET k", b"INFO", b"COMMAND HELP", b"COMMAND DOCS swap"]
    assert await answered(world, client, b"MULTI", b"+OK\r\n") == b"+OK\r\n"
    for words in requests:
        assert await answered(world, client, words, b"+QUEUED\r\n") == b"+QUEUED\r\n"

    got = await answered(
        world, client, b"EXEC", b"*5\r\n:240\r\n$1\r\nv\r\n$0\r\n\r\n*1\r\n+HELP\r\n*0\r\n"
    )

    assert got == (
        b"*5\r\n:242\r\n$1\r\nv\r\n" + bulk(NEARHIT) + b"*1\r\n+HELP\r\n*2\r\n" + DOCS[2][0]
    )


async def test_exec_that_fails_passes(world: World, client: Client) -> None:
    await answered(world, client, b"MULTI", b"+OK\r\n")
    await answered(world, client, b"COMMAND COUNT x", b"-ERR wrong number of arguments\r\n")

    assert await answered(world, client, b"EXEC", b"-EXECABORT\r\n") == b"-EXECABORT\r\n"


async def test_exec_of_a_command_that_fails_in_it_passes(world: World, client: Client) -> None:
    await answered(world, client, b"MULTI", b"+OK\r\n")
    await answered(world, client, b"COMMAND LIST x", b"+QUEUED\r\n")

    got = await answered(world, client, b"EXEC", b"*1\r\n-ERR syntax error\r\n")

    assert got == b"*1\r\n-ERR syntax error\r\n"


async def test_a_transaction_in_one_piece_has_ours_as_well(world: World, client: Client) -> None:
    client.raw(encode([b"MULTI"]) + encode([b"COMMAND", b"COUNT"]) + encode([b"EXEC"]))
    wire = await world.upstream(0)

    wire.reply(b"+OK\r\n+QUEUED\r\n*1\r\n:240\r\n")
    await world.settle()

    assert client.took() == b"+OK\r\n+QUEUED\r\n*1\r\n:242\r\n"
