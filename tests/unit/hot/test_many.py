"""MGET with the near cache: what is there is answered here, what is missing is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.hot.answers import WINDOW_BYTES
from nearhit.proxy.hot.many import FILLS_MAX
from nearhit.proxy.hot.reading import LAST_GET
from nearhit.proxy.near.cache import NearCache
from nearhit.proxy.resp._kernel_py import MANY_MAX
from nearhit.proxy.resp.kernel import Cutter
from nearhit.proxy.resp.requests import encode

from tests.fakes import Client, Upstream, World
from tests.nearness import (
    CACHING,
    NIL,
    OK,
    bulk,
    cached,
    gets,
    joined,
    near,
    plain,
    push,
    seen_once,
    tracked,
    well_known,
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


async def test_the_ttls_of_its_misses_count_from_the_asking(world: World, client: Client) -> None:
    await seen_once(world, client, b"a")
    client.send(b"MGET", b"a", b"x")
    await world.settle()
    world.now += 0.2
    tracked(world).take()
    tracked(world).reply(OK + b":250\r\n" + b"*2\r\n" + bulk(b"A") + NIL)
    await world.settle()
    client.took()

    world.now += 0.049
    assert await near(world, client, b"a")
    world.now += 0.002
    assert not await near(world, client, b"a")


async def test_mgets_of_a_pipeline_are_read_at_once_and_in_order(
    world: World, client: Client
) -> None:
    await cached(world, client, b"a", bulk(b"A"))
    well_known(client, b"MGET")

    client.raw(
        encode([b"MGET", b"a", b"a"]) + encode([b"MGET", b"x", b"a"]) + encode([b"MGET", b"y"])
        + encode([b"GET", b"z"]) + encode([b"GET", b"a"])
    )  # fmt: skip
    await world.settle()
    wire = tracked(world)
    wire.expect(b"MGET", b"x")
    wire.expect(b"MGET", b"y")
    wire.expect(b"GET", b"z")
    assert client.took() == b"*2\r\n" + 2 * bulk(b"A")
    wire.reply(b"*1\r\n" + bulk(b"X") + b"*1\r\n" + NIL + bulk(b"Z"))
    await world.settle()

    assert client.took() == (
        b"*2\r\n" + bulk(b"X") + bulk(b"A") + b"*1\r\n$-1\r\n" + bulk(b"Z") + bulk(b"A")
    )
    assert client.session.last == LAST_GET


async def test_an_mget_of_what_is_over_fills_again(world: World, client: Client) -> None:
    await cached(world, client, b"a", bulk(b"A"), pttl=100)
    await cached(world, client, b"b", bulk(b"B"))
    world.now += 1

    client.send(b"MGET", b"b", b"a")
    await world.settle()
    wire = tracked(world)
    wire.expect(*CACHING)
    wire.expect(b"PTTL", b"a")
    wire.expect(b"MGET", b"a")
    wire.reply(OK + b":-1\r\n*1\r\n" + bulk(b"new"))
    await world.settle()

    assert client.took() == b"*2\r\n" + bulk(b"B") + bulk(b"new")
    assert await near(world, client, b"a") == bulk(b"new")


async def test_what_is_there_of_an_mget_saves_nothing_where_the_rest_is_asked_for(
    world: World, client: Client
) -> None:
    await cached(world, client, b"a", bulk(b"A"))
    space = client.session.near.space
    assert space is not None
    hits = space.hits

    client.send(b"MGET", b"a", b"a")
    assert (space.hits - hits, space.vain) == (2, 0)
    client.send(b"MGET", b"a", b"x", b"a")
    assert (space.hits - hits, space.vain) == (4, 2)


async def test_mgets_that_are_never_whole_spend_the_credit(world: World, client: Client) -> None:
    await cached(world, client, b"a", bulk(b"A"))
    well_known(client, b"MGET")
    space = client.session.near.space
    assert space is not None
    space.worth.credit = 40
    wire = tracked(world)

    for number in range(50):
        space.worth.next_look = 0
        client.send(b"MGET", b"a", b"a", b"a", b"x%d" % number)
        await world.settle()
        if not space.worth.pays:
            break
        wire.written = b""
        wire.reply(b"*1\r\n" + NIL)
        await world.settle()
        client.took()

    assert space.worth.why == "misses"
    plain(world).expect(b"MGET", b"a", b"a", b"a", b"x%d" % number)


async def test_an_mget_behind_a_write_is_answered_by_the_server(
    world: World, client: Client
) -> None:
    await cached(world, client, b"a", bulk(b"A"))

    client.send(b"SET", b"b", b"1")
    client.send(b"MGET", b"a", b"b")
    await world.settle()

    plain(world).expect(b"SET", b"b", b"1")
    plain(world).expect(b"MGET", b"a", b"b")
    assert client.took() == b""


# --- What is asked as it is


async def test_without_a_key_it_is_the_servers_to_refuse(world: World, client: Client) -> None:
    await cached(world, client)

    client.send(b"MGET")
    await world.settle()

    plain(world).expect(b"MGET")
    assert tracked(world).quiet


async def test_more_keys_than_the_bound_are_asked_as_they_are(world: World, client: Client) -> None:
    await cached(world, client)
    keys = [b"k"] * (MANY_MAX + 1)

    client.send(b"MGET", *keys)
    await world.settle()

    plain(world).expect(b"MGET", *keys)


async def test_more_than_the_window_of_values_is_asked_as_it_is(
    world: World, client: Client
) -> None:
    await cached(world, client, b"k", bulk(bytes(10_000)))
    keys = [b"k"] * (WINDOW_BYTES // 10_000 + 1)

    client.send(b"MGET", *keys)
    await world.settle()

    plain(world).expect(b"MGET", *keys)
    assert client.took() == b""


async def test_no_more_than_so_many_of_its_misses_are_kept(world: World, client: Client) -> None:
    keys = [b"k%d" % at for at in range(2 * FILLS_MAX)]
    client.send(b"MGET", *keys)
    await world.settle()
    tracked(world).take()
    tracked(world).reply(b"*%d\r\n" % len(keys) + NIL * len(keys))
    await world.settle()
    client.took()

    client.send(b"MGET", *keys)
    await world.settle()

    assert tracked(world).take().count(b"PTTL") == FILLS_MAX


# --- In which pieces its reply comes


async def _asked_twice(world: World, client: Client) -> Upstream:
    """Of a, there, b; there is: the server's end that is to answer the other two."""
    await cached(world, client, b"there", bulk(b"T"))
    for key in (b"a", b"b"):
        await seen_once(world, client, key)
    client.send(b"MGET", b"a", b"there", b"b")
    await world.settle()
    wire = tracked(world)
    wire.take()
    wire.reply((OK + b":-1\r\n") * 2)
    return wire


async def test_an_error_stands_for_all(world: World, client: Client) -> None:
    error = b"-NOPERM no permissions\r\n"
    wire = await _asked_twice(world, client)

    wire.reply(error[:2], error[2:])
    await world.settle()

    assert client.took() == error
    space = client.session.near.space
    assert space is not None
    assert not space.tickets


async def test_a_reply_in_any_pieces_is_the_same_reply() -> None:
    reply = b"*2\r\n" + bulk(b"A" * 20) + bulk(b"B" * 20)
    expected = b"*3\r\n" + bulk(b"A" * 20) + bulk(b"T") + bulk(b"B" * 20)
    for cut in range(1, len(reply)):
        world = World(near=NearCache(1 << 20))
        client = await joined(world)
        wire = await _asked_twice(world, client)

        wire.reply(reply[:cut], reply[cut:])
        await world.settle()

        assert client.took() == expected, cut
        assert await near(world, client, b"a") == bulk(b"A" * 20), cut
        await world.close()


async def test_a_value_too_large_to_keep_is_passed_on_as_it_comes(
    world: World, client: Client
) -> None:
    assert world.near is not None
    world.near.value_max = 100
    wire = await _asked_twice(world, client)
    large = bulk(bytes(1000))

    wire.reply(b"*2\r\n" + large[:500])
    await world.settle()
    assert client.took() == b"*3\r\n" + large[:500]
    wire.reply(large[500:600], large[600:] + bulk(b"B"))
    await world.settle()

    assert client.took() == large[500:] + bulk(b"T") + bulk(b"B")
    assert not world.near.filling  # or its key could not be filled any more
    assert await near(world, client, b"a") == b""
    assert await near(world, client, b"b") == bulk(b"B")


async def test_a_lane_that_is_lost_before_the_reply_is_an_error(
    world: World, client: Client
) -> None:
    wire = await _asked_twice(world, client)

    wire.lose()
    await world.settle()

    assert client.took().startswith(b"-UPSTREAM connection to the server lost")
    assert not client.wire.end


async def test_a_lane_that_is_lost_in_the_reply_cuts_the_client(
    world: World, client: Client
) -> None:
    wire = await _asked_twice(world, client)

    wire.reply(b"*2\r\n" + bulk(b"A"))
    wire.lose()
    await world.settle()

    assert client.took().startswith(b"*3\r\n" + bulk(b"A"))
    assert client.wire.end == "aborted"


# --- Runs of GETs -----------------------------------------------------------------------------


def _ask(client: Client, *keys: bytes) -> None:
    client.session.data_received(gets(*keys))


async def _mixed(world: World, client: Client) -> Upstream:
    """GETs of x, which was not seen, a, which is there, k, which is to be kept, and a again."""
    await cached(world, client, b"a", bulk(b"A"))
    await seen_once(world, client, b"k")
    _ask(client, b"x", b"a", b"k", b"a")
    await world.settle()
    wire = tracked(world)
    wire.expect(*CACHING)
    wire.expect(b"PTTL", b"k")
    wire.expect(b"GET", b"x")
    wire.expect(b"GET", b"k")
    assert wire.quiet
    return wire


@pytest.mark.parametrize("resp", [2, 3])
async def test_of_a_run_of_gets_the_misses_are_asked_for_in_one_piece(
    world: World, client: Client, resp: int
) -> None:
    wire = await _mixed(world, client)
    client.session.berth.rekey(client.session.berth.lane_key.with_resp(resp))

    wire.reply(OK + b":-1\r\n" + NIL + bulk(b"K"))
    await world.settle()

    nil = b"$-1\r\n"  # as the client spoke when it asked
    assert client.took() == nil + bulk(b"A") + bulk(b"K") + bulk(b"A")
    assert await near(world, client, b"k") == bulk(b"K")
    assert client.session.owed == 0


async def test_hits_before_the_first_miss_are_answered_at_once(
    world: World, client: Client
) -> None:
    await cached(world, client, b"a", bulk(b"A"))

    _ask(client, b"a", b"x", b"a")
    await world.settle()

    assert client.took() == bulk(b"A")
    tracked(world).expect(b"GET", b"x")
    tracked(world).reply(bulk(b"X"))
    await world.settle()
    assert client.took() == bulk(b"X") + bulk(b"A")


async def test_each_of_a_run_is_counted(world: World, client: Client) -> None:
    turn = client.session.turn
    wire = await _mixed(world, client)
    hits, misses = turn.hits, turn.misses

    wire.reply(OK + b":-1\r\n" + NIL + bulk(b"K"))
    await world.settle()

    assert (turn.hits - hits, turn.misses - misses) == (1, 1)  # those near were counted before


async def test_replies_to_a_run_in_any_pieces_are_the_same_replies() -> None:
    reply = OK + b":-1\r\n" + bulk(b"X" * 20) + bulk(b"K" * 20)
    expected = bulk(b"X" * 20) + bulk(b"A") + bulk(b"K" * 20) + bulk(b"A")
    for cut in range(1, len(reply)):
        world = World(near=NearCache(1 << 20))
        client = await joined(world)
        wire = await _mixed(world, client)

        wire.reply(reply[:cut], reply[cut:])
        await world.settle()

        assert client.took() == expected, cut
        assert await near(world, client, b"k") == bulk(b"K" * 20), cut
        await world.close()


async def test_an_error_in_a_run_is_the_answer_to_its_get_alone(
    world: World, client: Client
) -> None:
    wire = await _mixed(world, client)

    wire.reply(OK + b":-1\r\n" + bulk(b"X") + b"-WRONGTYPE of a kind\r\n")
    await world.settle()

    assert client.took() == bulk(b"X") + bulk(b"A") + b"-WRONGTYPE of a kind\r\n" + bulk(b"A")
    assert not world.near or not world.near.filling
    assert await near(world, client, b"k") == b""  # nor is it kept


async def test_what_was_written_meanwhile_of_a_run_is_not_kept(
    world: World, client: Client
) -> None:
    wire = await _mixed(world, client)

    wire.reply(push(b"k") + OK + b":-1\r\n" + NIL + bulk(b"K"))
    await world.settle()

    assert client.took().endswith(bulk(b"K") + bulk(b"A"))
    assert await near(world, client, b"k") == b""


@pytest.mark.parametrize(
    ("came", "told"),
    [(b"", b""), (OK, b""), (OK + b":-1\r\n$1\r\nX", b""), (OK + b":-1\r\n" + bulk(b"X"), b"x")],
)
async def test_a_lane_that_is_lost_fails_what_has_not_come_of_a_run(
    world: World, client: Client, came: bytes, told: bytes
) -> None:
    wire = await _mixed(world, client)
    if came:
        wire.reply(came)
        await world.settle()

    wire.lose()
    await world.settle()

    first, a, second, again = _replies(client.took())
    assert (a, again) == (bulk(b"A"), bulk(b"A"))
    assert first == bulk(b"X") if told else first.startswith(b"-UPSTREAM")
    assert second.startswith(b"-UPSTREAM")
    assert not client.wire.end
    assert client.session.owed == 0


async def test_a_large_value_of_a_run_is_passed_on_and_a_lane_lost_in_it_cuts_the_client(
    world: World, client: Client
) -> None:
    assert world.near is not None
    wire = await _mixed(world, client)
    world.near.value_max = client.session.near.space.cache.value_max
    large = bulk(bytes(world.near.value_max + 1000))

    wire.reply(OK + b":-1\r\n" + large[:-10])
    await world.settle()
    assert client.took() == large[:-10]
    wire.lose()
    await world.settle()

    assert client.wire.end == "aborted"


async def test_no_more_than_so_many_of_a_run_are_kept(world: World, client: Client) -> None:
    # More than that: two keys may have one place among the sights.
    keys = [b"%d" % number for number in range(FILLS_MAX + 72)]
    for _ in range(2):
        _ask(client, *keys)
        await world.settle()
        wire = tracked(world)
        fills = wire.written.count(encode(CACHING))
        wire.written = b""
        wire.reply((OK + b":-1\r\n") * fills + bulk(b"v") * len(keys))
        await world.settle()
        assert client.took() == bulk(b"v") * len(keys)

    assert fills == FILLS_MAX


def _replies(data: bytes) -> list[bytes]:
    cutter, pos, found = Cutter(), 0, list[bytes]()
    while pos < len(data):
        end = cutter.cut(data, pos, 1)
        found.append(data[pos:end])
        pos = end
    return found
