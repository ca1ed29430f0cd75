"""MGET with the near cache: what is there is answered here, what is missing is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.near.cache import NearCache

from tests.fakes import Client, World
from tests.nearness import (
    CACHING,
    NIL,
    OK,
    bulk,
    cached,
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


@pytest.mark.parametrize("resp", [2, 3])
async def test_of_mget_only_the_misses_are_asked_for(
    world: World, client: Client, resp: int
) -> None:
    await cached(world, client, b"a", bulk(b"A"))
    await cached(world, client, b"none", NIL)
    client.session.berth.rekey(client.session.berth.lane_key.with_resp(resp))
    client.send(b"MGET", b"x", b"a", b"none", b"y", b"a")
    await world.settle()
    wire = tracked(world)
    wire.expect(b"MGET", b"x", b"y")
    wire.reply(b"*2\r\n" + NIL + bulk(b"Y"))
    await world.settle()
    null = NIL if resp == 3 else b"$-1\r\n"
    assert client.took() == b"*5\r\n" + null + bulk(b"A") + null + bulk(b"Y") + bulk(b"A")

    client.send(b"MGET", b"none", b"a")
    await world.settle()
    assert client.took() == b"*2\r\n" + null + bulk(b"A")
    assert wire.quiet


async def test_mget_fills_what_nothing_was_said_of_meanwhile(world: World, client: Client) -> None:
    for key in (b"a", b"b", b"c"):
        await seen_once(world, client, key)
    writer = await joined(world)
    client.send(b"MGET", b"a", b"b", b"c")
    await world.settle()
    wire = tracked(world)
    for key in (b"a", b"b", b"c"):
        wire.expect(*CACHING)
        wire.expect(b"PTTL", key)
    wire.expect(b"MGET", b"a", b"b", b"c")
    writer.send(b"SET", b"c", b"2")
    await world.settle()
    wire.reply(
        (OK + b":-1\r\n") * 2 + push(b"b") + OK + b":-1\r\n"
        + b"*3\r\n" + bulk(b"A") + bulk(b"B") + bulk(b"C")
    )  # fmt: skip
    plain(world).take()
    plain(world).reply(OK)
    await world.settle()
    assert client.took() == b"*3\r\n" + bulk(b"A") + bulk(b"B") + bulk(b"C")

    assert await near(world, client, b"a") == bulk(b"A")
    assert await near(world, client, b"b") == b""
    assert await near(world, client, b"c") == b""
