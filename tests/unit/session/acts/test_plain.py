"""What most acts do: send the request on, or send it and wait for what its reply says."""

from __future__ import annotations

from nearhit.proxy.errors import UpstreamLost
from nearhit.proxy.session.acts.plain import ask, forgetting, forward
from nearhit.proxy.session.reasons import STALL_DRAIN, STALL_REPLY

from tests.asking import GET, LOST, shared
from tests.fakes import Client, World


async def test_reads_are_counted_and_others_are_not(world: World, client: Client) -> None:
    wire = await shared(world, client)

    assert forward(client.session, [b"get", b"k"])
    assert forward(client.session, [b"HGET", b"k", b"f"])
    await world.settle()
    wire.expect(b"get", b"k")
    wire.expect(b"HGET", b"k", b"f")
    wire.reply(b"$1\r\nv\r\n$-1\r\n")
    await world.settle()

    assert client.took() == b"$1\r\nv\r\n$-1\r\n"
    assert (world.context.turn.hits, world.context.turn.misses) == (1, 0)


async def test_nothing_is_forgotten_where_nobody_reads_near(world: World, client: Client) -> None:
    seen, lost = forgetting(client.session, [b"k"], bytes.upper, lambda why: b"gone")

    assert seen(b"ok") == b"OK"
    assert lost(UpstreamLost("a test")) == b"gone"


async def test_keys_are_forgotten_as_they_are_sent_and_as_they_are_answered(
    near_world: World,
) -> None:
    client = near_world.client()
    await near_world.settle()
    space = client.session.near.space
    assert space is not None

    def fill() -> None:
        ticket = space.reserve(b"k")
        assert ticket is not None
        assert space.fill(ticket, b"$1\r\nv\r\n", -1, near_world.now)

    fill()
    seen, lost = forgetting(client.session, [b"k"], bytes.upper)
    assert b"k" not in space.entries
    fill()
    assert seen(b"ok") == b"OK"
    assert b"k" not in space.entries
    fill()

    assert lost(UpstreamLost("a test")).startswith(LOST)
    assert b"k" not in space.entries


async def test_nothing_is_parsed_until_what_was_asked_is_answered(
    world: World, client: Client
) -> None:
    wire = await shared(world, client)

    ask(client.session, [b"PING"], bytes.lower)
    client.raw(GET)
    await world.settle()
    wire.expect(b"PING")
    assert wire.quiet
    assert client.session.stalls & STALL_REPLY
    wire.reply(b"+PONG\r\n")
    await world.settle()

    assert client.took() == b"+pong\r\n"
    assert not client.session.stalls & (STALL_REPLY | STALL_DRAIN)
    wire.expect(b"GET", b"k")


async def test_a_loss_is_an_answer_too(world: World, client: Client) -> None:
    wire = await shared(world, client)
    ask(client.session, [b"PING"], bytes.lower, None, lambda why: b"+gone\r\n")
    await world.settle()

    wire.lose()
    await world.settle()

    assert client.took() == b"+gone\r\n"
    assert client.session.stalls == 0
