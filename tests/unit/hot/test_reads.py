"""Hits and misses of string reads, as they pass: counted once each, whatever the pieces."""

from __future__ import annotations

import itertools

import pytest
from nearhit.proxy.hot.answers import WINDOW_MAX
from nearhit.proxy.resp.requests import encode

from tests.asking import switched
from tests.fakes import Client, Upstream, World
from tests.nearness import well_known

PUSH = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
WRONGTYPE = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"


async def connected(world: World, client: Client) -> Upstream:
    client.send(b"PING")
    wire = await world.upstream(0)
    wire.expect(b"PING")
    wire.reply(b"+PONG\r\n")
    await world.settle()
    client.took()
    client.session.window = WINDOW_MAX  # as after a while of small replies
    well_known(client, b"GET", b"SET", b"HGET", b"LPOP", b"MGET")
    return wire


def counted(world: World) -> tuple[int, int]:
    return world.context.turn.hits, world.context.turn.misses


MIXED = "GET 1|SET 1 x|HGET h f|GET 2|GET 3|LPOP l|MGET 1 2"
MIXED_REPLIES = b"$1\r\nv\r\n+OK\r\n$-1\r\n$-1\r\n$3\r\n$-1\r\n$1\r\nx\r\n*2\r\n$1\r\na\r\n$-1\r\n"
CASES = [
    pytest.param("GET k", b"$1\r\nv\r\n", (1, 0), id="hit"),
    pytest.param("get k", b"$0\r\n\r\n", (1, 0), id="empty string"),
    pytest.param("GET k", b"$-1\r\n", (0, 1), id="nil in RESP2"),
    pytest.param("GET k", b"_\r\n", (0, 1), id="nil in RESP3"),
    pytest.param("MGET a b c d", b"*4\r\n$1\r\na\r\n$-1\r\n_\r\n$2\r\n$-\r\n", (2, 2), id="MGET"),
    pytest.param("GETDEL k", b"$1\r\nv\r\n", (1, 0), id="GETDEL hit"),
    pytest.param("GETDEL k", b"$-1\r\n", (0, 1), id="GETDEL miss"),
    pytest.param("GETEX k EX 9", b"$1\r\nv\r\n", (1, 0), id="GETEX hit"),
    pytest.param("GETEX k EX 9", b"_\r\n", (0, 1), id="GETEX miss"),
    pytest.param("GET l", WRONGTYPE, (0, 0), id="WRONGTYPE"),
    pytest.param("GET", b"-ERR wrong number of arguments for 'get'\r\n", (0, 0), id="arity"),
    pytest.param("HGET h f", b"$-1\r\n", (0, 0), id="HGET"),
    pytest.param("GETSET k v", b"$1\r\no\r\n", (0, 0), id="GETSET"),
    pytest.param("HMGET h a b", b"*2\r\n$1\r\na\r\n_\r\n", (0, 0), id="HMGET"),
    pytest.param(MIXED, MIXED_REPLIES, (3, 2), id="mixed pipeline"),
]


def pipeline(text: str) -> bytes:
    return b"".join(encode(line.split()) for line in text.encode().split(b"|"))


@pytest.mark.parametrize(("text", "reply", "found"), CASES)
async def test_strings_are_hits_and_nils_are_misses(
    world: World, client: Client, text: str, reply: bytes, found: tuple[int, int]
) -> None:
    wire = await connected(world, client)

    client.raw(pipeline(text))
    await world.settle()
    assert wire.take() == pipeline(text)
    wire.reply(reply)
    await world.settle()

    assert client.took() == reply
    assert counted(world) == found


@pytest.mark.parametrize(("text", "reply", "found"), CASES)
async def test_a_reply_in_two_pieces_is_counted_once(
    world: World, client: Client, text: str, reply: bytes, found: tuple[int, int]
) -> None:
    wire = await connected(world, client)

    for at in range(1, len(reply)):
        world.context.turn.hits = world.context.turn.misses = 0
        client.raw(pipeline(text))
        await world.settle()
        wire.reply(reply[:at], reply[at:])
        await world.settle()

        assert client.took() == reply
        assert counted(world) == found, at


async def test_replies_in_single_bytes_are_counted_once(world: World, client: Client) -> None:
    wire = await connected(world, client)

    client.raw(pipeline(MIXED))
    await world.settle()
    wire.reply(*(MIXED_REPLIES[at : at + 1] for at in range(len(MIXED_REPLIES))))
    await world.settle()

    assert counted(world) == (3, 2)


async def test_a_value_is_counted_when_it_is_complete(world: World, client: Client) -> None:
    wire = await connected(world, client)
    client.send(b"MGET", b"a", b"b")
    await world.settle()

    wire.reply(b"*2\r\n$1\r\na\r\n$3\r\nb")
    assert counted(world) == (1, 0)
    wire.reply(b"bb\r")
    assert counted(world) == (1, 0)
    wire.reply(b"\n")
    assert counted(world) == (2, 0)


async def test_a_push_between_replies_is_no_hit(world: World, client: Client) -> None:
    wire = await connected(world, client)
    replies = b"$1\r\na\r\n" + PUSH + b"_\r\n" + PUSH + b"$1\r\nb\r\n"

    for cuts in itertools.combinations(range(1, len(replies)), 2):
        world.context.turn.hits = world.context.turn.misses = 0
        client.raw(pipeline("GET a|GET b|GET c"))
        await world.settle()
        wire.reply(*(replies[a:b] for a, b in itertools.pairwise([0, *cuts, len(replies)])))

        assert counted(world) == (2, 1), cuts
        if cuts[0] > 6:
            break


async def test_what_a_read_of_another_client_was_answered_counts_too(world: World) -> None:
    clients = [world.client() for _ in range(3)]
    for client in clients:
        client.send(b"GET", b"k")
    wire = await world.upstream(0)

    wire.reply(b"$1\r\na\r\n_\r\n$1\r\nb\r\n")

    assert counted(world) == (2, 1)


async def test_a_pipeline_wider_than_the_window_is_counted_whole(
    world: World, client: Client
) -> None:
    world.dial.answer = lambda words: b"$1\r\nv\r\n" if words[0] == b"GET" else b"+OK\r\n"

    client.raw(pipeline("|".join(["GET k|GET k|SET k v"] * WINDOW_MAX)))
    for _ in range(20):
        await world.settle()

    assert client.took() == b"$1\r\nv\r\n$1\r\nv\r\n+OK\r\n" * WINDOW_MAX
    assert counted(world) == (2 * WINDOW_MAX, 0)


async def test_reads_inside_multi_are_not_counted(world: World, client: Client) -> None:
    wire = await connected(world, client)
    replies = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$1\r\nv\r\n+OK\r\n_\r\n"

    client.raw(pipeline("MULTI|GET a|SET a b|GET c|EXEC"))  # in one piece: no lane of its own
    await world.settle()
    assert wire.take() == pipeline("MULTI|GET a|SET a b|GET c|EXEC")
    wire.reply(replies)
    await world.settle()

    assert client.took() == replies
    assert counted(world) == (0, 0)


async def test_reads_of_a_transaction_in_pieces_are_not_counted(
    world: World, client: Client
) -> None:
    world.dial.answer = lambda words: {
        b"EXEC": b"*1\r\n$1\r\nv\r\n", b"GET": b"+QUEUED\r\n", b"MULTI": b"+OK\r\n",
    }[words[0]]  # fmt: skip

    for line in ("MULTI", "GET a", "EXEC"):
        client.raw(pipeline(line))
        await world.settle()

    assert client.took() == b"+OK\r\n+QUEUED\r\n*1\r\n$1\r\nv\r\n"
    assert counted(world) == (0, 0)


async def test_what_the_client_did_not_want_to_hear_is_not_counted(
    world: World, client: Client
) -> None:
    wire = await connected(world, client)

    await switched(world, client, b"SKIP")
    client.raw(pipeline("GET a|GET b"))
    await world.settle()
    wire.reply(b"$1\r\na\r\n$1\r\nb\r\n")
    await world.settle()

    assert client.took() == b"$1\r\nb\r\n"
    assert counted(world) == (1, 0)


async def test_a_lane_that_is_lost_answers_no_read(world: World, client: Client) -> None:
    wire = await connected(world, client)
    client.raw(pipeline("GET a|GET b"))
    await world.settle()

    wire.reply(b"$1\r\na\r\n$5\r\nlo")
    wire.lose()
    await world.settle()

    assert counted(world) == (1, 0)
