"""Reads that pass the near cache by where it does not pay, and those that are answered in one piece
where it does: real sessions and lanes, a server that is a script."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.hot.fills import forget
from nearhit.proxy.near.cache import NearCache, Space
from nearhit.proxy.near.worth import START
from nearhit.proxy.resp.kernel import mix
from nearhit.proxy.resp.modes import Mode
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.upstream.lane import Lane

from tests.fakes import Client, World
from tests.nearness import bulk, cached, gets, joined, near, plain, tracked, well_known


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(near=NearCache(1 << 20))
    yield world
    await world.close()


@pytest.fixture
async def client(world: World) -> Client:
    return await joined(world)


def passing(client: Client) -> Space:
    """The client's space, whose credit is spent."""
    space = client.session.near.space
    assert space is not None
    space.worth.look(0, START + 1, 0, 0, 0)
    assert not space.worth.pays
    return space


async def _lose(world: World, client: Client) -> None:
    """The links are lost, and cannot be made again for now."""
    assert world.near is not None
    world.near.stale_s = 30.0
    world.dial.refuse = 1_000_000
    for wire in list(world.dial.wires):
        wire.lose()
    await world.settle()
    lane = client.session.near.lane
    assert isinstance(lane, Lane)
    assert lane.failing


async def test_while_the_server_is_away_what_stood_near_may_be_told(
    world: World, client: Client
) -> None:
    await cached(world, client, b"k", bulk(b"v"))
    cache = world.near
    assert cache is not None

    await _lose(world, client)

    client.raw(gets(b"k", b"k") + encode([b"MGET", b"k", b"k"]))
    await world.settle()
    assert client.took() == bulk(b"v") * 2 + b"*2\r\n" + bulk(b"v") * 2
    assert cache.down_hits == 4


async def test_what_did_not_stand_near_is_the_servers_to_answer(
    world: World, client: Client
) -> None:
    await cached(world, client, b"k", bulk(b"v"))
    await _lose(world, client)

    client.raw(gets(b"k", b"a") + encode([b"MGET", b"k", b"a"]))
    await world.settle()

    told, *lost = client.took().partition(b"\r\nv\r\n")[::2]
    assert told == b"$1"
    assert b"-UPSTREAM" in lost[0]


async def test_reads_pass_as_one_run_and_are_told_of(world: World, client: Client) -> None:
    await cached(world, client, b"k", bulk(b"v"))
    space = passing(client)

    client.raw(gets(b"k", b"a", b"k"))
    await world.settle()

    assert plain(world).written == gets(b"k", b"a", b"k")
    assert tracked(world).quiet
    assert space.worth.reads == 3
    assert client.session.maps[Mode.FAR].worth is None  # others' reads are not its business
    plain(world).take()
    plain(world).reply(bulk(b"1") + b"$-1\r\n" + bulk(b"2"))
    await world.settle()
    assert client.took() == bulk(b"1") + b"$-1\r\n" + bulk(b"2")


async def test_an_mget_passes_as_it_is_and_each_key_is_told_of(
    world: World, client: Client
) -> None:
    await cached(world, client, b"k", bulk(b"v"))
    space = passing(client)
    well_known(client, b"MGET")

    client.send(b"MGET", b"k", b"a")
    await world.settle()

    assert plain(world).written == encode([b"MGET", b"k", b"a"])
    assert tracked(world).quiet
    assert space.worth.reads == 2


async def test_what_was_read_while_reads_passed_is_not_unlearnt_when_they_do_no_more(
    world: World, client: Client
) -> None:
    """The key was changed, and the server's word of it is still on its way."""
    await cached(world, client, b"k", bulk(b"old"))
    space = passing(client)
    client.send(b"GET", b"k")
    await world.settle()
    plain(world).take()
    plain(world).reply(bulk(b"new"))
    await world.settle()
    assert client.took() == bulk(b"new")

    space.worth.pays = True
    client.send(b"GET", b"k")
    await world.settle()

    assert client.took() == b""
    tracked(world).expect(b"GET", b"k")
    tracked(world).reply(bulk(b"new"))
    await world.settle()
    assert client.took() == bulk(b"new")


async def test_keys_that_are_written_as_reads_pass_do_not_earn(
    world: World, client: Client
) -> None:
    cache = world.near
    assert cache is not None
    space = passing(client)

    for _ in range(5000):
        space.worth.note(mix(b"k"))
        forget(cache, [b"k"])

    assert not space.worth.pays


async def test_replies_that_are_told_in_one_piece_count_each(world: World, client: Client) -> None:
    await cached(world, client, b"k", bulk(b"v"))
    before = client.session.replies

    client.raw(gets(b"k", b"k", b"k"))
    await world.settle()

    assert client.took() == bulk(b"v") * 3
    assert client.session.replies == before + 3


async def test_behind_a_reply_that_is_awaited_they_take_as_many_places(
    world: World, client: Client
) -> None:
    await cached(world, client, b"k", bulk(b"v"))

    client.raw(gets(b"absent", b"k", b"k", b"k"))
    await world.settle()

    assert client.session.owed == 4
    tracked(world).take()
    tracked(world).reply(b"_\r\n")
    await world.settle()
    assert client.took() == b"$-1\r\n" + bulk(b"v") * 3
    assert client.session.owed == 0
    assert await near(world, client, b"k") == bulk(b"v")
