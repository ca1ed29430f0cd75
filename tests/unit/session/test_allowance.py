"""What the server keeps for a client is bounded: subscriptions, and what MULTI queues."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import MULTI_FULL
from nearhit.proxy.hot.sending import QUEUED_LOOK
from nearhit.proxy.near.cache import NearCache
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.session import allowance as module
from nearhit.proxy.session.allowance import Allowance
from nearhit.proxy.upstream.subscriptions import Channels

from tests.asking import OK, asked
from tests.fakes import Client, Upstream, World

BIG = b"v" * QUEUED_LOOK
QUEUED = b"+QUEUED\r\n"
MISTAKE = b"-ERR unknown command\r\n"


def subscribed(*names: bytes) -> Channels:
    framing = Channels()
    framing.names[0].update(names)
    framing.size = sum(map(len, names))
    return framing


@pytest.mark.parametrize(
    ("had", "names", "may"),
    [
        (None, [b"a", b"b", b"c"], True),
        (None, [b"a", b"b", b"c", b"d"], False),
        (subscribed(b"a", b"b"), [b"c"], True),
        (subscribed(b"a", b"b"), [b"c", b"d"], False),
    ],
)
def test_subscriptions_are_counted(had: Channels | None, names: list[bytes], may: bool) -> None:
    assert Allowance(subscriptions=3).may_subscribe(had, names) is may


def test_their_names_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMES_MAX", 10)

    assert Allowance().may_subscribe(subscribed(b"12345"), [b"67890"])
    assert not Allowance().may_subscribe(subscribed(b"12345"), [b"678901"])


async def full(world: World, client: Client) -> Upstream:
    """A client that has queued all that it may; its lane."""
    world.context.allowance.multi = QUEUED_LOOK
    client.send(b"MULTI")
    wire = await world.upstream(0)
    wire.expect(b"MULTI")
    wire.reply(OK)
    await world.settle()
    client.took()
    assert await asked(world, client, b"APPEND", b"k", BIG, reply=QUEUED) == QUEUED
    return wire


async def test_what_is_too_much_in_multi_is_refused_and_exec_aborts(
    world: World, client: Client
) -> None:
    wire = await full(world, client)

    client.raw(encode([b"APPEND", b"k", b"v"]) * 3)
    await world.settle()
    wire.expect(b"NEARHIT.MULTI")
    assert wire.quiet, "only the first is made a mistake"
    wire.reply(MISTAKE)
    await world.settle()

    assert client.took() == MULTI_FULL * 3
    assert await asked(world, client, b"EXEC", reply=b"-EXECABORT\r\n") == b"-EXECABORT\r\n"
    assert not client.session.transaction.full


async def test_the_next_transaction_has_all_of_it_again(world: World, client: Client) -> None:
    await full(world, client)
    await asked(world, client, b"DISCARD", reply=OK)

    await full(world, client)

    assert client.session.queued == 1


@pytest.mark.parametrize(
    "words", [[b"CLIENT", b"GETNAME"], [b"SELECT", b"1"], [b"SUBSCRIBE", b"c"]]
)
async def test_what_the_proxy_looks_at_is_refused_too(
    world: World, client: Client, words: list[bytes]
) -> None:
    wire = await full(world, client)
    client.send(b"PING")
    await world.settle()
    wire.expect(b"NEARHIT.MULTI")
    wire.reply(MISTAKE)

    client.send(*words)
    await world.settle()

    assert wire.quiet
    assert client.took() == MULTI_FULL * 2
    assert client.session.transaction.patches == []


async def test_a_large_request_ends_the_client_that_may_queue_no_more(
    world: World, client: Client
) -> None:
    wire = await full(world, client)

    client.raw(b"*2\r\n$4\r\nECHO\r\n$9000000\r\n" + b"x" * 100_000)
    await world.settle()

    assert wire.quiet
    assert client.took() == MULTI_FULL
    assert client.wire.end == "closed"


async def test_what_streams_is_counted_as_it_comes(world: World, client: Client) -> None:
    client.send(b"MULTI")
    wire = await world.upstream(0)
    wire.reply(OK)
    await world.settle()
    begin = b"*2\r\n$4\r\nECHO\r\n$2000000\r\n"

    client.raw(begin + b"x" * 100_000)
    client.raw(b"x" * 1_900_000 + b"\r\n")
    await world.settle()

    assert client.session.queued_bytes == len(begin) + 2_000_002


async def test_a_write_beside_the_near_cache_is_refused_as_well() -> None:
    world = World(near=NearCache(1 << 20))
    client = world.client()
    world.context.allowance.multi = QUEUED_LOOK
    world.dial.answer = lambda words: {b"MULTI": OK, b"NEARHIT.MULTI": MISTAKE}.get(
        words[0], QUEUED
    )
    client.send(b"MULTI")
    await world.settle()
    client.send(b"SET", b"k", BIG)
    await world.settle()
    client.took()

    client.send(b"SET", b"k", b"v")
    client.send(b"EVALSHA", b"s", b"1", b"k")
    await world.settle()

    assert client.took() == MULTI_FULL * 2
    assert client.session.queued == 1
    await world.close()
