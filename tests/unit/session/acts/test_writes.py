"""Writes and scripts: the lane of scripts, the loads and leases that a write makes void."""

from __future__ import annotations

from hashlib import sha1

import pytest
from nearhit.proxy.keys.ours import lease_key
from nearhit.proxy.near.cache import Space
from nearhit.proxy.upstream.lane_key import LaneKey

from tests.asking import GET, OK, asked, manage, shared
from tests.fakes import Client, World
from tests.nearness import plain


async def test_scripts_wait_on_a_lane_of_their_own(world: World, client: Client) -> None:
    wire = await shared(world, client)

    client.send(b"EVAL", b"return 1", b"0")
    await world.settle()

    assert wire.quiet
    world.dial.wires[1].expect(b"EVAL", b"return 1", b"0")
    world.dial.wires[1].reply(b":1\r\n")
    await world.settle()
    assert client.took() == b":1\r\n"
    client.raw(GET)
    await world.settle()
    wire.expect(b"GET", b"k")


async def test_a_write_deletes_the_leases_of_its_keys_first(world: World) -> None:
    manage(world)
    client = world.client()

    client.send(b"MSET", b"m:1", b"a", b"other", b"b", b"m:2", b"c")
    wire = await world.upstream(0)

    wire.expect(b"DEL", lease_key(b"m:1"), lease_key(b"m:2"))
    wire.expect(b"MSET", b"m:1", b"a", b"other", b"b", b"m:2", b"c")
    wire.reply(b":0\r\n" + OK)
    await world.settle()
    assert client.took() == OK


async def test_inside_multi_a_write_is_only_noted(world: World) -> None:
    manage(world)
    client = world.client()
    await asked(world, client, b"MULTI", reply=OK)

    await asked(world, client, b"SET", b"m:1", b"v", reply=b"+QUEUED\r\n")

    assert client.session.transaction.keys == [b"m:1"]
    assert client.session.transaction.leases == [lease_key(b"m:1")]
    assert world.connections == 1


async def test_getex_without_an_option_writes_nothing(world: World) -> None:
    manage(world)
    client = world.client()

    await asked(world, client, b"GETEX", b"m:1", reply=b"$1\r\nv\r\n")
    assert (world.context.turn.hits, world.context.turn.misses) == (1, 0)
    client.send(b"GETEX", b"m:1", b"PERSIST")
    await world.settle()

    wire = world.dial.wires[0]
    wire.expect(b"DEL", lease_key(b"m:1"))
    wire.expect(b"GETEX", b"m:1", b"PERSIST")


async def test_a_script_goes_where_the_session_is_if_that_is_its_own(
    world: World, client: Client
) -> None:
    await asked(world, client, b"WATCH", b"k", reply=OK)

    assert await asked(world, client, b"EVAL", b"return 1", b"0", reply=b":1\r\n") == b":1\r\n"

    assert world.connections == 1


async def test_a_script_behind_a_read_waits_for_it_and_goes_to_the_lane_of_scripts(
    world: World, client: Client
) -> None:
    wire = await shared(world, client)

    client.raw(GET)
    client.send(b"EVAL", b"return 1", b"0")
    client.send(b"EVAL", b"return 2", b"0")
    await world.settle()
    assert wire.take() == GET
    wire.reply(b"+v\r\n")
    scripts = await world.upstream(1)

    scripts.expect(b"EVAL", b"return 1", b"0")
    scripts.expect(b"EVAL", b"return 2", b"0")
    assert wire.quiet


@pytest.mark.parametrize("words", [b"FUNCTION LOAD code", b"SCRIPT LOAD code"])
async def test_a_function_is_called_when_it_has_been_loaded(
    world: World, client: Client, words: bytes
) -> None:
    wire = await shared(world, client)

    client.send(*words.split())
    client.send(b"FCALL", b"f", b"0")
    await world.settle()
    wire.expect(*words.split())
    wire.reply(b"$4\r\ncode\r\n")

    (await world.upstream(1)).expect(b"FCALL", b"f", b"0")


# --- What changes any key, and the server tells nobody of

SWAP = b"return redis.call('SWAPDB', 0, 1)"


def kept(world: World) -> Space:
    assert world.near is not None
    space = world.near.space(0, None)
    ticket = space.reserve(b"k")
    assert ticket is not None
    assert space.fill(ticket, b"$1\r\nv\r\n", -1, world.now)
    return space


@pytest.mark.parametrize(
    "requests",
    [
        [[b"SWAPDB", b"0", b"1"]],
        [[b"EVAL", SWAP, b"0"]],
        [[b"SCRIPT", b"LOAD", SWAP], [b"EVALSHA", sha1(SWAP).hexdigest().encode(), b"0"]],
        [[b"FUNCTION", b"LOAD", SWAP], [b"FCALL", b"f", b"0"]],
        [[b"MULTI"], [b"EVAL", SWAP, b"0"], [b"EXEC"]],
        [[b"MULTI"], [b"SWAPDB", b"0", b"1"], [b"EXEC"]],
        [[b"FLUSHALL"]],
    ],
)
async def test_a_swap_drops_what_is_kept_and_wakes_who_waits(
    near_world: World, requests: list[list[bytes]]
) -> None:
    client = near_world.client()
    await near_world.settle()
    watch = near_world.context.scopes.scope(LaneKey()).tracked.watch(b"lock:{r}")
    for words in requests[:-1]:
        await asked(near_world, client, *words, reply=OK)
    space = kept(near_world)

    client.send(*requests[-1])
    await near_world.settle()
    assert not space.entries
    assert not watch.fired
    kept(near_world)  # of before the server did it
    for wire in near_world.dial.wires:
        if wire.written:
            wire.reply(OK)
    await near_world.settle()

    assert client.took() == OK
    assert not space.entries
    assert watch.fired
    watch.close()


async def test_without_a_near_cache_too_a_swap_wakes_who_waits(
    world: World, client: Client
) -> None:
    woken: list[bool] = []
    world.context.scopes.wake = lambda: woken.append(True)  # type: ignore[method-assign]

    await asked(world, client, b"SWAPDB", b"0", b"1", reply=OK)

    assert woken == [True]


async def test_a_swap_whose_answer_is_lost_may_have_happened(near_world: World) -> None:
    client = near_world.client()
    await near_world.settle()
    client.send(b"SWAPDB", b"0", b"1")
    await near_world.settle()
    space = kept(near_world)

    plain(near_world).lose()
    await near_world.settle()

    assert client.took().startswith(b"-UPSTREAM ")
    assert not space.entries
