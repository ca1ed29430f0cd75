"""The near cache in exact orders: real sessions and lanes, a server that is a script.

    client ─▶ session ─┬─ tracked ─▶ wire with CLIENT TRACKING     replies and pushes, as scripted
                       └─ others ──▶ wires without

What may be served is what the script has said last on the tracked wire, and nothing that anybody
has changed since, as far as the proxy can know."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.near.cache import NearCache
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.upstream.lane_key import User

from tests.fakes import Client, Upstream, World, requests
from tests.nearness import (
    CACHING,
    FLUSHED,
    NIL,
    OK,
    UNKEPT,
    bulk,
    cached,
    ends,
    expect_fill,
    expect_get,
    filled,
    filling,
    gets,
    joined,
    near,
    plain,
    push,
    seen_once,
    tracked,
)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(near=NearCache(1 << 20))
    yield world
    await world.close()


@pytest.fixture
async def client(world: World) -> Client:
    """One for whom both lanes of db 0 stand."""
    return await joined(world)


# --- Filling ----------------------------------------------------------------------------------


async def test_the_second_read_fills_and_the_third_is_answered_here(
    world: World, client: Client
) -> None:
    wire = await filling(world, client)
    wire.reply(filled(bulk(b"v")))
    await world.settle()
    assert client.took() == bulk(b"v")

    client.send(b"GET", b"k")
    await world.settle()

    assert client.took() == bulk(b"v")
    assert wire.quiet


@pytest.mark.parametrize("value", [bulk(b"v"), NIL, bulk(b""), bulk(b"_\r\n$-1")])
@pytest.mark.parametrize("resp", [2, 3])
async def test_a_fill_in_any_pieces_is_the_same_fill(
    world: World, client: Client, value: bytes, resp: int
) -> None:
    await seen_once(world, client, b"0")
    client.session.berth.rekey(client.session.berth.lane_key.with_resp(resp))
    expected = b"$-1\r\n" if resp == 2 and value == NIL else value
    reply = filled(value, -2 if value == NIL else 5000)
    for number, cut in enumerate(range(1, len(reply))):
        key = b"k%d" % number
        wire = await filling(world, client, key)
        wire.reply(reply[:cut], reply[cut:])
        await world.settle()
        assert client.took() == expected, cut
        assert await near(world, client, key) == expected, cut
        assert wire.quiet


async def test_what_one_client_filled_the_others_read(world: World, client: Client) -> None:
    await cached(world, client, b"k", bulk(b"v"))
    await cached(world, client, b"none", NIL)
    other = await joined(world)
    modern = await joined(world)
    modern.session.berth.rekey(modern.session.berth.lane_key.with_resp(3))

    assert await near(world, other, b"k") == bulk(b"v")
    assert await near(world, other, b"none") == b"$-1\r\n"
    assert await near(world, modern, b"k") == bulk(b"v")
    assert await near(world, modern, b"none") == NIL


NOT_KEPT = {
    "an error": OK + b":-1\r\n-WRONGTYPE Operation against a key\r\n",
    "a PTTL that failed": OK + b"-ERR no\r\n" + bulk(b"1"),
    "tracking that was not switched on": b"-ERR no\r\n:-1\r\n" + bulk(b"1"),
    "a value where PTTL saw none": OK + b":-2\r\n" + bulk(b"1"),
    "nil where PTTL saw a key": OK + b":500\r\n" + NIL,
    "a key that ends now": OK + b":0\r\n" + bulk(b"1"),
}


@pytest.mark.parametrize("reply", NOT_KEPT.values(), ids=NOT_KEPT.keys())
async def test_a_doubtful_fill_is_handed_on_and_not_kept(
    world: World, client: Client, reply: bytes
) -> None:
    wire = await filling(world, client)
    wire.reply(reply)
    await world.settle()

    assert client.took()
    assert not await near(world, client)


async def test_an_entry_ends_with_its_ttl(world: World, client: Client) -> None:
    await cached(world, client, pttl=250)
    world.now += 0.249
    assert await near(world, client)
    world.now += 0.002
    assert not await near(world, client)


async def test_a_ttl_counts_from_the_asking(world: World, client: Client) -> None:
    wire = await filling(world, client)
    world.now += 0.2
    wire.reply(filled(pttl=250))
    await world.settle()
    client.took()

    world.now += 0.049
    assert await near(world, client)
    world.now += 0.002
    assert not await near(world, client)


async def test_an_entry_of_a_key_without_ttl_ends_too(world: World, client: Client) -> None:
    await cached(world, client)
    world.now += 59.9
    assert await near(world, client)
    world.now += 0.2
    assert not await near(world, client)


async def test_a_key_on_its_way_is_not_filled_twice(world: World, client: Client) -> None:
    wire = await filling(world, client)
    other = await joined(world)
    other.send(b"GET", b"k")
    await world.settle()
    wire.expect(b"GET", b"k")
    assert wire.quiet
    wire.reply(filled(bulk(b"1")) + bulk(b"1"))
    await world.settle()

    assert client.took() == other.took() == bulk(b"1")
    assert await near(world, other) == bulk(b"1")


async def test_a_client_that_leaves_has_its_fill_finished(world: World, client: Client) -> None:
    other = await joined(world)
    wire = await filling(world, client)
    client.leave()
    await world.settle()
    wire.reply(filled(bulk(b"1")))
    await world.settle()

    assert await near(world, other) == bulk(b"1")


async def test_a_value_too_large_to_keep_passes_through(world: World, client: Client) -> None:
    large = bulk(b"x" * 100_000)
    wire = await filling(world, client)
    reply = filled(large)
    wire.reply(*(reply[at : at + 7000] for at in range(0, len(reply), 7000)))
    await world.settle()
    assert client.took() == large
    assert not await near(world, client)


# --- Pushes -----------------------------------------------------------------------------------


PUSHED = {
    "before all replies": push(b"k") + filled(),
    "behind the first reply": OK + push(b"k") + b":-1\r\n" + bulk(b"1"),
    "between PTTL and GET": OK + b":-1\r\n" + push(b"k") + bulk(b"1"),
    "behind the value": filled() + push(b"k"),
    "with other keys": filled() + push(b"a", b"k", b"b"),
    "with all keys": filled() + FLUSHED,
    "with all keys, before the value": OK + b":-1\r\n" + FLUSHED + bulk(b"1"),
}


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "single bytes"])
@pytest.mark.parametrize("reply", PUSHED.values(), ids=PUSHED.keys())
async def test_what_is_pushed_around_a_fill_is_not_kept(
    world: World, client: Client, reply: bytes, chunked: bool
) -> None:
    wire = await filling(world, client)
    wire.reply(*(reply[at : at + 1] for at in range(len(reply))) if chunked else (reply,))
    await world.settle()

    assert client.took() == bulk(b"1")
    assert not await near(world, client)


async def test_a_push_in_two_reads_counts_when_it_is_whole(world: World, client: Client) -> None:
    frame = push(b"k")
    for cut in range(1, len(frame)):
        await cached(world, client)
        tracked(world).reply(frame[:cut])
        assert await near(world, client)
        tracked(world).reply(frame[cut:])
        assert not await near(world, client), cut


@pytest.mark.parametrize(
    "frame",
    [
        push(b"other"),
        push(),
        b">2\r\n$7\r\nnothing\r\n*1\r\n$1\r\nk\r\n",
        b">1\r\n+k\r\n",
        b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nk\r\n",
    ],
)
async def test_what_does_not_name_the_key_leaves_it(
    world: World, client: Client, frame: bytes
) -> None:
    await cached(world, client)
    tracked(world).reply(frame)
    assert await near(world, client)


async def test_a_push_drops_the_key_in_all_dbs(world: World, client: Client) -> None:
    await cached(world, client)
    other = await joined(world)
    other.session.berth.rekey(other.session.berth.lane_key.with_db(3))
    other.session.open_tracked()
    await world.settle()
    await cached(world, other, value=bulk(b"3"))

    tracked(world).reply(push(b"k"))

    assert not await near(world, client)
    assert not await near(world, other)


# --- Own writes -------------------------------------------------------------------------------


WRITES = [
    "SET k 2", "set k 2", "SETEX k 9 2", "INCR k", "APPEND k x", "GETSET k 2", "GETDEL k",
    "GETEX k EX 1", "DEL k", "DEL a k", "UNLINK a b k", "MSET a 1 k 2", "MSETNX k 2 a 1",
    "EXPIRE k 9", "PEXPIRE k 9", "PERSIST k", "RENAME k b", "RENAME a k", "RENAMENX a k",
    "COPY a k", "COPY a k DB 3 REPLACE", "MOVE k 3", "RESTORE k 0 x", "SETRANGE k 0 x",
    "SETBIT k 1 1", "BITOP AND k a", "BITFIELD k SET u1 0 1", "INCRBYFLOAT k 1", "PFADD k a",
    "SORT a STORE k", "EVAL x 1 k", "EVALSHA x 2 a k", "FCALL f 1 k", "FLUSHALL", "FLUSHDB",
    "SWAPDB 0 1", "LPUSH k 1", "HSET k f v", "XADD k * f v", "ZUNIONSTORE k 1 a",
    "LMOVE a k LEFT LEFT", "RPOPLPUSH a k", "BLMOVE a k LEFT LEFT 1", "BRPOPLPUSH a k 1",
    "BLPOP k 1", "UNHEARDOF k 1",
]  # fmt: skip


def others(world: World) -> list[Upstream]:
    return [wire for wire in ends(world, tracked=False) if wire.written]


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_drops_its_keys_as_it_is_sent(
    world: World, client: Client, write: str
) -> None:
    await cached(world, client)
    writer = await joined(world)
    writer.send(*write.encode().split())
    await world.settle()
    assert len(others(world)) == 1

    assert not await near_tracked(world, client)


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_drops_its_keys_again_as_it_is_answered(
    world: World, client: Client, write: str
) -> None:
    """What was read before the write ran, and came back before its reply."""
    await seen_once(world, client)
    writer = await joined(world)
    writer.send(*write.encode().split())
    await world.settle()
    (wire,) = others(world)
    wire.expect(*write.encode().split())
    client.send(b"GET", b"k")
    await world.settle()
    expect_fill(tracked(world), b"k")
    tracked(world).reply(filled(bulk(b"1")))
    await world.settle()
    client.took()

    wire.reply(OK)
    await world.settle()

    assert writer.took() == OK
    assert not await near_tracked(world, client)


@pytest.mark.parametrize("write", WRITES)
async def test_a_fill_that_a_write_of_another_overtakes_is_not_kept(
    world: World, client: Client, write: str
) -> None:
    writer = await joined(world)
    wire = await filling(world, client)
    writer.send(*write.encode().split())
    await world.settle()
    others(world)[0].reply(OK)
    await world.settle()
    wire.reply(filled(bulk(b"1")))
    await world.settle()

    assert client.took() == bulk(b"1")
    assert not await near_tracked(world, client)


async def near_tracked(world: World, client: Client, key: bytes = b"k") -> bytes:
    """As ``near``, where other lanes hold requests that are not to be answered yet."""
    client.send(b"GET", key)
    await world.settle()
    got = client.took()
    if not got:
        wire = next(wire for wire in ends(world, tracked=True) if wire.written)
        wire.reply(UNKEPT if expect_get(wire, key) else NIL)
        await world.settle()
        client.took()
    return got


TRANSACTIONS = {
    "a set": ["SET k 2"],
    "a delete": ["DEL a k"],
    "a script": ["EVAL x 1 k"],
    "a flush": ["FLUSHALL"],
    "a swap": ["SWAPDB 0 1"],
    "a wait for a list": ["BLMOVE a k LEFT LEFT 1"],
    "a command of a module": ["UNHEARDOF k"],
    "among reads": ["GET k", "SET k 2", "GET k"],
    "in another db": ["SELECT 1", "SET k 2"],
}


@pytest.mark.parametrize("whole", [True, False], ids=["in one piece", "in pieces"])
@pytest.mark.parametrize("body", TRANSACTIONS.values(), ids=TRANSACTIONS.keys())
async def test_a_transaction_drops_what_it_writes_as_it_is_answered(
    world: World, client: Client, body: list[str], whole: bool
) -> None:
    await seen_once(world, client)
    writer = await joined(world)
    lines = [line.encode().split() for line in ["MULTI", *body, "EXEC"]]
    if whole:
        writer.raw(b"".join(map(encode, lines)))
        await world.settle()
    for at, words in enumerate(lines):
        if not whole:
            writer.send(*words)
            await world.settle()
        if at < len(lines) - 1:
            (wire,) = others(world)
            wire.expect(*words)
            wire.reply(b"+QUEUED\r\n" if at else OK)
            await world.settle()
    # EXEC has been sent; a read of before it ran comes back now.
    client.send(b"GET", b"k")
    await world.settle()
    expect_fill(tracked(world), b"k")
    tracked(world).reply(filled(bulk(b"1")))
    await world.settle()
    client.took()

    (wire,) = others(world)
    wire.reply(b"*%d\r\n" % len(body) + OK * len(body))
    await world.settle()

    assert writer.took().endswith(OK * len(body))
    assert not await near_tracked(world, client)


async def test_scripts_behind_a_script_drop_their_keys_too(world: World, client: Client) -> None:
    await cached(world, client)
    writer = await joined(world)
    writer.raw(encode([b"EVAL", b"x", b"1", b"a"]) + encode([b"EVAL", b"x", b"1", b"k"]))
    await world.settle()
    assert not await near_tracked(world, client)
    await near_tracked(world, client)
    others(world)[0].reply(OK, OK)
    await world.settle()
    assert not await near_tracked(world, client)


async def test_a_write_that_is_lost_drops_its_keys(world: World, client: Client) -> None:
    await seen_once(world, client)
    writer = await joined(world)
    writer.send(b"SET", b"k", b"2")
    await world.settle()
    client.send(b"GET", b"k")
    await world.settle()
    expect_fill(tracked(world), b"k")
    tracked(world).reply(filled(bulk(b"1")))
    await world.settle()
    client.took()
    plain(world).lose()
    await world.settle()

    assert writer.took().startswith(b"-UPSTREAM")
    assert not await near_tracked(world, client)


async def test_a_write_whose_client_leaves_drops_its_keys(world: World, client: Client) -> None:
    await seen_once(world, client)
    writer = await joined(world)
    writer.send(b"SET", b"k", b"2")
    await world.settle()
    writer.leave()
    client.send(b"GET", b"k")
    await world.settle()
    expect_fill(tracked(world), b"k")
    tracked(world).reply(filled(bulk(b"1")))
    plain(world).reply(OK)
    await world.settle()
    client.took()

    assert not await near_tracked(world, client)


@pytest.mark.parametrize("how", ["CLIENT REPLY OFF", "CLIENT REPLY SKIP"])
async def test_a_write_that_is_not_to_be_answered_drops_its_keys(
    world: World, client: Client, how: str
) -> None:
    await seen_once(world, client)
    writer = await joined(world)
    writer.raw(encode(how.encode().split()) + encode([b"SET", b"k", b"2"]))
    await world.settle()
    client.send(b"GET", b"k")
    await world.settle()
    expect_fill(tracked(world), b"k")
    tracked(world).reply(filled(bulk(b"1")))
    await world.settle()
    client.took()
    for wire in others(world):
        wire.reply(OK)
    await world.settle()

    assert not await near_tracked(world, client)


# --- What was read elsewhere ------------------------------------------------------------------


# Ways to learn of a new value on a lane that is not the tracked one; its push is still to be read.
ELSEWHERE = {
    "GET behind another request": [["PING", "GET k"]],
    "MGET behind another request": [["PING", "MGET k"]],
    "GETRANGE": [["GETRANGE k 0 -1"]],
    "STRLEN": [["STRLEN k"]],
    "EXISTS": [["EXISTS k"]],
    "TYPE": [["TYPE k"]],
    "DUMP": [["DUMP k"]],
    "BITCOUNT": [["BITCOUNT k"]],
    "a script of undeclared keys": [["EVAL x 0"]],
    "a script": [["EVAL_RO x 1 k"]],
    "MULTI GET EXEC in one piece": [["MULTI", "GET k", "EXEC"]],
    "MULTI GET EXEC in pieces": [["MULTI"], ["GET k"], ["EXEC"]],
    "GET behind WATCH": [["WATCH k"], ["GET k"], ["UNWATCH"]],
    "KEYS": [["KEYS *"]],
    "a list that a writer fills last": [["BLPOP q 1"]],
    "COPY": [["COPY k b"]],
    "SET NX": [["SET k x NX"]],
}


@pytest.mark.parametrize("batches", ELSEWHERE.values(), ids=ELSEWHERE.keys())
async def test_what_was_learnt_elsewhere_is_not_unlearnt(
    world: World, client: Client, batches: list[list[str]]
) -> None:
    """The tracked lane is slow: it has not told yet what the client has seen on another one."""
    await cached(world, client)
    for batch in batches:
        client.raw(b"".join(encode(line.encode().split()) for line in batch))
        await world.settle()
        for wire in others(world):
            wire.take()
            wire.reply(*(OK for _ in batch))
        await world.settle()
        assert client.took()

    client.send(b"GET", b"k")
    await world.settle()
    assert client.took() == b"", "served from the near cache, and may be older than what was seen"
    wire = tracked(world)
    fills = expect_get(wire, b"k")
    wire.reply(push(b"k") + (filled(bulk(b"2")) if fills else bulk(b"2")))
    await world.settle()
    assert client.took() == bulk(b"2")


async def test_after_a_read_elsewhere_the_tracked_lane_must_answer_first(
    world: World, client: Client
) -> None:
    """What was outstanding there before tells nothing: it may have been answered before."""
    await cached(world, client)
    slow = await joined(world)
    for number in range(10):
        slow.send(b"GET", b"x%d" % number)
    await world.settle()
    tracked(world).take()
    client.raw(encode([b"PING"]) + gets(b"k"))
    await world.settle()
    plain(world).take()
    plain(world).reply(b"+PONG\r\n" + bulk(b"2"))
    await world.settle()
    client.took()
    tracked(world).reply(*(NIL for _ in range(10)))
    await world.settle()

    client.send(b"GET", b"k")
    await world.settle()

    assert client.took() == b""
    tracked(world).reply(push(b"k") + bulk(b"2"))
    await world.settle()
    assert client.took() == bulk(b"2")
    tracked(world).take()
    # From here on what stands there is newer than what was read.
    assert await near(world, client) == b""


async def test_a_read_elsewhere_counts_in_its_db_after_a_look_at_another(
    world: World, client: Client
) -> None:
    other = await joined(world)
    for number in range(20):  # the counts of db 0's lane run ahead
        await seen_once(world, other, b"x%d" % number)
    await cached(world, client)
    client.raw(encode([b"PING"]) + gets(b"k"))
    await world.settle()
    plain(world).take()
    plain(world).reply(b"+PONG\r\n" + bulk(b"2"))
    await world.settle()
    client.took()
    for db in (3, 0):
        client.session.berth.rekey(client.session.berth.lane_key.with_db(db))
        await world.settle()
        if db:
            client.raw(encode([b"PING"]) + gets(b"k"))
            await world.settle()
            plain(world).take()
            plain(world).reply(b"+PONG\r\n" + bulk(b"x"))
            await world.settle()
            client.took()

    client.send(b"GET", b"k")
    await world.settle()
    assert client.took() == b""


# --- Loss, silence, refusal -------------------------------------------------------------------


async def test_a_lost_lane_takes_its_entries_with_it(world: World, client: Client) -> None:
    await cached(world, client)
    tracked(world).lose()
    assert world.near is not None
    assert world.near.entries == 0
    assert world.near.flushes["lost"] == 1


async def test_a_fill_on_a_lost_lane_fails_and_the_next_one_fills(
    world: World, client: Client
) -> None:
    wire = await filling(world, client)
    wire.reply(OK + b":-1\r\n$1\r")
    wire.lose()
    await world.settle()
    assert client.took().startswith(b"-UPSTREAM connection to the server lost")
    assert not await near(world, client)  # and a new lane is opened

    await cached(world, client)


async def test_a_fill_that_was_not_sent_yet_is_sent_again_and_not_kept(
    world: World, client: Client
) -> None:
    await seen_once(world, client)
    client.send(b"GET", b"k")
    tracked(world).lose()
    await world.settle()
    wire = tracked(world)
    expect_fill(wire, b"k")
    wire.reply(filled(bulk(b"1")))
    await world.settle()

    assert client.took() == bulk(b"1")
    assert not await near(world, client)


async def test_while_no_lane_tracks_reads_go_elsewhere(world: World, client: Client) -> None:
    await cached(world, client)
    world.dial.mute = True
    tracked(world).lose()
    await world.settle()

    client.send(b"GET", b"k")
    await world.settle()
    (wire,) = others(world)
    wire.expect(b"GET", b"k")
    wire.reply(bulk(b"2"))
    await world.settle()
    assert client.took() == bulk(b"2")


@pytest.mark.parametrize("refused", [b"CLIENT", b"HELLO"])
async def test_a_server_that_does_not_track_is_served_all_the_same(refused: bytes) -> None:
    world = World(near=NearCache(1 << 20))
    world.dial.handshake[refused] = b"-ERR unknown command\r\n"
    client = await joined(world)
    for _ in range(4):
        client.send(b"GET", b"k")
        await world.settle()
        (wire,) = [wire for wire in world.dial.wires if wire.written]
        wire.expect(b"GET", b"k")
        wire.reply(b"$1\r\n1\r\n")
        await world.settle()
        assert client.took() == bulk(b"1")
    client.send(b"MGET", b"k", b"l")
    await world.settle()
    (wire,) = [wire for wire in world.dial.wires if wire.written]
    wire.expect(b"MGET", b"k", b"l")
    wire.reply(b"*2\r\n$1\r\n1\r\n$-1\r\n")
    await world.settle()
    assert client.took() == b"*2\r\n$1\r\n1\r\n$-1\r\n"
    assert world.near is not None
    assert world.near.entries == 0
    await world.close()


async def test_a_silent_server_is_asked_and_then_not_believed(world: World, client: Client) -> None:
    await cached(world, client)
    world.context.scopes.tick()
    assert await near(world, client)
    world.context.scopes.tick()
    await world.settle()
    tracked(world).expect(b"HELLO")
    assert await near(world, client)
    world.context.scopes.tick()

    assert world.near is not None
    assert world.near.entries == 0
    assert world.near.flushes["silent"] == 1
    await world.settle()
    plain(world).expect(b"PING")  # a new connection, which is not answered either
    tracked(world).reply(b"+PONG\r\n")
    world.context.scopes.tick()
    assert not await near(world, client)


async def test_a_server_that_answers_is_believed(world: World, client: Client) -> None:
    await cached(world, client)
    for _ in range(10):
        world.context.scopes.tick()
        await world.settle()
        if not tracked(world).quiet:
            tracked(world).expect(b"HELLO")
            tracked(world).reply(b"+PONG\r\n")
        assert await near(world, client)


# --- Pipelines --------------------------------------------------------------------------------


async def test_hits_and_misses_of_a_pipeline_stand_in_order(world: World, client: Client) -> None:
    await cached(world, client, b"a", bulk(b"A"))
    await cached(world, client, b"none", NIL)
    client.raw(gets(b"x", b"a", b"none", b"y", b"z", b"a", b"x"))
    await world.settle()
    wire = tracked(world)
    assert client.took() == b""
    # The last was asked for before: it fills.
    wire.expect(*CACHING)
    wire.expect(b"PTTL", b"x")
    for key in (b"x", b"y", b"z", b"x"):
        wire.expect(b"GET", key)
    assert wire.quiet
    reply = OK + b":-1\r\n" + bulk(b"X") + bulk(b"Y") + NIL + bulk(b"X")
    expected = (
        bulk(b"X"), bulk(b"A"), b"$-1\r\n", bulk(b"Y"), b"$-1\r\n", bulk(b"A"), bulk(b"X"),
    )  # fmt: skip
    wire.reply(*(reply[at : at + 1] for at in range(len(reply))))
    await world.settle()

    assert client.took() == b"".join(expected)


async def test_nulls_of_the_tracked_lane_are_those_of_the_client(
    world: World, client: Client
) -> None:
    """In every split of the replies to reads that are not kept."""
    assert world.near is not None
    world.near.active = False
    modern = await joined(world)
    modern.session.berth.rekey(modern.session.berth.lane_key.with_resp(3))
    replies = NIL + bulk(b"_") + NIL + push(b"x") + NIL + bulk(b"\r\n_\r\n")
    for number, (first, second) in enumerate(itertools.combinations(range(len(replies) + 1), 2)):
        keys = [b"%d-%d" % (number, at) for at in range(5)]
        cuts = [replies[:first], replies[first:second], replies[second:]]
        for reader, null in ((client, b"$-1\r\n"), (modern, NIL)):
            reader.raw(gets(*keys))
            await _soon(world)
            tracked(world).take()
            tracked(world).reply(*(cut for cut in cuts if cut))
            await _soon(world)
            told = null + bulk(b"_") + null * 2 + bulk(b"\r\n_\r\n")
            assert reader.took() == told, (first, second)
            keys = [key + b"m" for key in keys]


async def _soon(world: World) -> None:
    for _ in range(4):
        await asyncio.sleep(0)
    assert not world.errors


async def test_a_read_behind_a_write_is_answered_by_the_server(
    world: World, client: Client
) -> None:
    await cached(world, client)
    other = await joined(world)
    other.raw(encode([b"SET", b"other", b"2"]) + gets(b"k"))
    await world.settle()
    plain(world).expect(b"SET", b"other", b"2")
    plain(world).expect(b"GET", b"k")
    plain(world).reply(OK + bulk(b"2"))
    await world.settle()

    assert other.took() == OK + bulk(b"2")


async def test_a_write_behind_reads_waits_for_them(world: World, client: Client) -> None:
    await cached(world, client)
    client.raw(gets(b"k", b"x") + encode([b"SET", b"x", b"1"]) + gets(b"x"))
    await world.settle()
    assert client.took() == bulk(b"1")
    assert plain(world).quiet
    tracked(world).expect(b"GET", b"x")
    tracked(world).reply(NIL)
    await world.settle()
    plain(world).expect(b"SET", b"x", b"1")
    plain(world).expect(b"GET", b"x")
    plain(world).reply(OK + bulk(b"1"))
    await world.settle()

    assert client.took() == b"$-1\r\n" + OK + bulk(b"1")


async def test_a_pipeline_wider_than_the_window_is_answered_whole(
    world: World, client: Client
) -> None:
    await cached(world, client, b"hit", bulk(b"H"))
    client.session.window = 4
    keys = [key for number in range(600) for key in (b"hit", b"m%d" % number)]
    client.raw(gets(*keys))
    for _ in range(700):
        await world.settle()
        wire = tracked(world)
        asked = requests(wire.take())
        if asked:
            wire.reply(*(bulk(b"H" if words[1] == b"hit" else b"M") for words in asked))
    await world.settle()

    assert client.took() == (bulk(b"H") + bulk(b"M")) * 600


async def test_large_hits_are_handed_out_over_turns() -> None:
    here = World(near=NearCache(1 << 26, value_max=1 << 20))
    client = await joined(here)
    large = bulk(b"x" * 1_000_000)
    await cached(here, client, value=large)
    client.raw(gets(*[b"k"] * 64))
    for _ in range(100):
        await here.settle()
    assert client.took() == large * 64
    assert tracked(here).quiet
    await here.close()


async def test_a_client_that_reads_nothing_is_not_served_near(world: World, client: Client) -> None:
    await cached(world, client)
    client.session.pause_writing()
    client.raw(gets(b"k", b"k"))
    await world.settle()
    assert client.took() == b""
    client.session.resume_writing()
    await world.settle()
    assert client.took() == bulk(b"1") * 2


# --- Who may not be served --------------------------------------------------------------------


STATES = {
    "in MULTI": [b"MULTI"],
    "behind WATCH": [b"WATCH w"],
    "with tracking of its own": [b"CLIENT TRACKING ON"],
    "in another db": [b"SELECT 3"],
}


@pytest.mark.parametrize("how", ["GET k", "MGET k"])
@pytest.mark.parametrize("state", STATES.values(), ids=STATES.keys())
async def test_who_must_read_from_the_server_does(
    world: World, client: Client, state: list[bytes], how: str
) -> None:
    await cached(world, client)
    other = await joined(world)
    if b"TRACKING" in state[0]:
        other.session.berth.rekey(other.session.berth.lane_key.with_resp(3))
    for line in state:
        other.send(*line.split())
        await world.settle()
        for wire in world.dial.wires:
            if not wire.lost and wire.take():
                wire.reply(OK)
        await world.settle()
        assert other.took()

    other.send(*how.encode().split())
    await world.settle()

    assert other.took() == b""
    (wire,) = [wire for wire in world.dial.wires if wire.written]
    if state != [b"SELECT 3"]:
        assert wire is not tracked(world)
        wire.expect(*how.encode().split())


async def test_another_user_has_entries_of_its_own(world: World, client: Client) -> None:
    await cached(world, client)
    other = await joined(world)
    other.session.berth.rekey(other.session.berth.lane_key.with_user(User(b"alice", b"secret")))
    await world.settle()

    assert await near(world, other) == b""
    await cached(world, other, value=bulk(b"hers"))
    assert await near(world, client) == bulk(b"1")
    for wire in ends(world, tracked=True):
        wire.reply(push(b"k"))
        break
    assert await near(world, client) == b""


# --- The window -------------------------------------------------------------------------------


async def test_hits_do_not_narrow_the_window(world: World, client: Client) -> None:
    await cached(world, client, value=bulk(b"v" * 1000))
    client.session.window = 64
    for _ in range(5000):  # 5 MB
        client.send(b"GET", b"k")
        client.took()
        client.session.flush()

    client.send(b"GET", b"other")
    tracked(world).reply(b"_\r\n")

    assert client.session.window >= 64


async def test_behind_a_silent_lane_nobody_waits(world: World, client: Client) -> None:
    await cached(world, client)
    lane = client.session.near.lane
    assert lane is not None
    lane.silent = True

    client.send(b"GET", b"k")
    await world.settle()

    plain(world).expect(b"GET", b"k")
    plain(world).reply(bulk(b"2"))
    await world.settle()
    assert client.took() == bulk(b"2")
