"""What is counted and timed of a session's requests, beyond the hot path's own counts."""

from __future__ import annotations

from typing import Any

import pytest
from nearhit.proxy.hot.answers import Turn
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.session.timing import KEYS_MOST, name_of
from nearhit.proxy.stats.keys import HOT, LARGE
from nearhit.proxy.stats.sampler import Class, Sampler, Tier

from tests.asking import OK
from tests.fakes import Client, World


@pytest.fixture
def sampler(world: World) -> Sampler:
    """Each read is timed, by a clock that stands still between the test's own moves."""
    sampler = Sampler(1, clock=lambda: world.now)
    world.context.sampler = sampler
    world.context.turn.time_by(sampler.gap, sampler.clock)
    return sampler


def seen(sampler: Sampler) -> dict[tuple[Class, Tier], float]:
    """The seconds of what was timed."""
    return {key: one.seconds for key, one in sampler.commands.items() if one.count}


def counted(turn: Turn) -> tuple[int, int, int, int]:
    return turn.asking, turn.writing, turn.others, turn.owns


async def test_a_request_is_timed_until_its_answer(
    world: World, client: Client, sampler: Sampler
) -> None:
    client.send(b"GET", b"k")
    wire = await world.upstream(0)
    world.now += 0.25

    wire.reply(b"$1\r\nv\r\n")
    await world.settle()

    assert seen(sampler) == {(Class.READ, Tier.SERVER): 0.25}
    assert client.session.clocked is None


async def test_of_one_read_the_last_answer_counts(
    world: World, client: Client, sampler: Sampler
) -> None:
    client.raw(encode([b"GET", b"k"]) + encode([b"SET", b"k", b"v"]))
    wire = await world.upstream(0)
    wire.reply(b"$1\r\nv\r\n")
    await world.settle()
    assert not seen(sampler)
    world.now += 0.5

    wire.reply(OK)
    await world.settle()

    assert seen(sampler) == {(Class.WRITE, Tier.SERVER): 0.5}


async def test_what_the_proxy_answers_itself_is_its_own(
    world: World, client: Client, sampler: Sampler
) -> None:
    client.send(b"RESET")

    assert seen(sampler) == {(Class.OTHER, Tier.PROXY): 0.0}
    assert sampler.local == {**dict.fromkeys(Class, 0), Class.OTHER: 1}


async def test_what_blocks_is_not_timed_but_counted(
    world: World, client: Client, sampler: Sampler
) -> None:
    client.send(b"BLPOP", b"q", b"0")
    wire = await world.upstream(0)
    world.now += 9.0
    wire.reply(b"*-1\r\n")
    await world.settle()

    assert not seen(sampler)
    assert world.context.turn.writing == 1


async def test_what_is_not_whole_is_timed_from_its_last_part(
    world: World, client: Client, sampler: Sampler
) -> None:
    whole = encode([b"GET", b"key"])
    client.raw(whole[:9])
    world.now += 9.0
    client.raw(whole[9:])
    wire = await world.upstream(0)
    world.now += 0.5

    wire.reply(b"$-1\r\n")
    await world.settle()

    assert seen(sampler) == {(Class.READ, Tier.SERVER): 0.5}


async def test_what_had_to_be_loaded_is_told_apart(
    world: World, client: Client, sampler: Sampler
) -> None:
    client.send(b"GET", b"k")
    wire = await world.upstream(0)
    client.session.answers.loading = True  # as acts/own.py says
    world.now += 0.25

    wire.reply(b"$-1\r\n")
    await world.settle()

    assert seen(sampler) == {(Class.READ, Tier.LOAD): 0.25}


async def test_of_what_is_sampled_the_key_is_noted_and_its_reply(
    world: World, client: Client, sampler: Sampler
) -> None:
    client.send(b"GET", b"k")
    wire = await world.upstream(0)
    wire.reply(b"$2000\r\n", b"v" * 2000 + b"\r\n")
    await world.settle()
    client.send(b"HGET", b"k", b"f")
    wire.reply(b"$-1\r\n")
    await world.settle()

    (one,) = world.context.keys.top(HOT)
    assert (one.name, one.reads, one.hits, one.misses) == (b"k", 2, 1, 1)
    assert one.size == 2009
    assert [big.size for big in world.context.keys.top(LARGE)] == [2009]


@pytest.mark.parametrize("reply", [b"-ERR no\r\n", b":0\r\n"])
async def test_what_tells_nothing_of_a_value_is_neither_hit_nor_miss(
    world: World, client: Client, sampler: Sampler, reply: bytes
) -> None:
    client.send(b"STRLEN", b"k")
    wire = await world.upstream(0)
    wire.reply(reply)
    await world.settle()

    assert world.context.keys.top(HOT)[0].found == (None, None)


async def test_of_a_pipeline_one_request_stands_for_all(
    world: World, client: Client, sampler: Sampler
) -> None:
    world.dial.answer = lambda words: OK
    client.raw(b"".join(encode([b"GET", b"p:%d" % n]) for n in range(4)))
    await world.settle()

    (one,) = world.context.keys.top(HOT)
    assert (one.reads, one.found) == (4, (None, None))
    assert one.name.startswith(b"p:")


async def test_the_keys_of_one_request_share_what_was_not_looked_at(
    world: World, client: Client, sampler: Sampler
) -> None:
    world.dial.answer = lambda words: b"*0\r\n"
    client.send(b"MGET", *(b"k%d" % n for n in range(2 * KEYS_MOST)))
    await world.settle()

    assert [one.reads for one in world.context.keys.top(HOT)] == [2.0] * KEYS_MOST


async def test_writes_tell_of_sizes_alone(world: World, client: Client, sampler: Sampler) -> None:
    world.dial.answer = lambda words: OK
    client.send(b"SET", b"k", b"v" * 5000, b"EX", b"10")
    client.send(b"HSET", b"h", b"f", b"v" * 5000)
    client.send(b"PING")
    await world.settle()

    assert world.context.keys.top(HOT) == []
    assert [(one.name, one.size) for one in world.context.keys.top(LARGE)] == [(b"k", 5000)]


async def test_what_is_near_is_timed_and_counted_as_that(
    near_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = Sampler(1, clock=lambda: near_world.now)
    near_world.context.sampler = sampler
    near_world.context.turn.time_by(sampler.gap, sampler.clock)
    client = near_world.client()
    await near_world.settle()
    space = client.session.near.space
    assert space is not None
    ticket = space.reserve(b"k")
    assert ticket is not None
    space.fill(ticket, b"$1\r\nv\r\n", -1, near_world.now)
    read = near_world.context.keys.read

    def slowly(*args: Any) -> None:
        near_world.now += 0.25
        read(*args)

    monkeypatch.setattr(near_world.context.keys, "read", slowly)

    client.send(b"GET", b"k")
    await near_world.settle()

    assert client.took() == b"$1\r\nv\r\n"
    # What is noted of the key takes no part of it.
    assert seen(sampler) == {(Class.READ, Tier.NEAR): 0.0}
    (key,) = near_world.context.keys.top(HOT)
    assert (key.name, key.found) == (b"k", (1, 0))
    assert key.size == len(b"$1\r\nv\r\n")
    turn = near_world.context.turn
    assert (turn.near_reads, turn.near_hits, turn.near_nils) == (1, 1, 0)


async def test_only_some_reads_are_timed(world: World, client: Client) -> None:
    sampler = Sampler(10, clock=lambda: world.now)
    world.context.sampler = sampler
    world.context.turn.time_by(sampler.gap, sampler.clock)
    world.dial.answer = lambda words: OK

    for _ in range(100):
        client.send(b"GET", b"k")
        await world.settle()

    assert 6 <= sampler.commands[Class.READ, Tier.SERVER].count <= 20


async def test_requests_are_counted_by_class(world: World, client: Client) -> None:
    world.dial.answer = lambda words: OK
    client.raw(
        b"".join(
            encode(words)
            for words in (
                [b"GET", b"k"],
                [b"HGETALL", b"h"],
                [b"SET", b"k", b"v"],
                [b"PING"],
                [b"get", b"k"],
            )
        )
    )
    await world.settle()

    assert counted(world.context.turn) == (3, 1, 1, 0)


async def test_requests_that_take_the_slow_way_are_counted_too(
    world: World, client: Client
) -> None:
    world.dial.answer = lambda words: OK
    client.raw(b"GET inline\r\n" + b"SET inline 1\r\n" + b"UNHEARD of\r\n")
    await world.settle()

    assert counted(world.context.turn) == (1, 1, 1, 0)


async def test_a_whole_transaction_is_counted_by_its_parts(world: World, client: Client) -> None:
    parts = ([b"MULTI"], [b"SET", b"k", b"v"], [b"GET", b"k"], [b"EXEC"])
    client.raw(b"".join(map(encode, parts)))

    assert counted(world.context.turn) == (1, 1, 2, 0)


async def test_a_large_request_is_counted_as_it_begins(world: World, client: Client) -> None:
    client.raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$300000\r\n" + b"v" * 200_000)
    await world.settle()
    client.raw(b"v" * 100_000 + b"\r\n")

    assert counted(world.context.turn) == (0, 1, 0, 0)


async def test_errors_of_the_server_are_counted(world: World, client: Client) -> None:
    client.raw(encode([b"GET", b"k"]) + encode([b"INCR", b"k"]))
    wire = await world.upstream(0)

    wire.reply(b"-WRONGTYPE no string\r\n-ERR no number\r\n")
    await world.settle()

    assert world.context.turn.errors == 2


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", b"GET"),
        (b"*2\r\n$3\r\nGE", b"GE"),
        (b"*2\r\n", b""),
        (b"get k\r\n", b"get"),
        (b" \r\n", b""),
        (b"", b""),
    ],
)
def test_a_request_has_the_name_it_begins_with(request_: bytes, name: bytes) -> None:
    assert name_of(request_) == name
