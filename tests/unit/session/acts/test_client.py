"""CLIENT: replies that are switched off, names and kills of our own clients, tracking."""

from __future__ import annotations

from nearhit.proxy.resp.requests import encode

from tests.asking import GET, LOST, OK, asked
from tests.fakes import Client, World


async def test_a_push_comes_between_two_replies(world: World, client: Client) -> None:
    await asked(world, client, b"HELLO", b"3", reply=b"%1\r\n$5\r\nproto\r\n:3\r\n")
    push = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"
    client.send(b"CLIENT", b"TRACKING", b"ON")
    await world.settle()
    own = world.dial.wires[-1]
    own.reply(OK)
    client.raw(GET * 2)
    await world.settle()

    own.reply(b"+1\r\n" + push[:7], push[7:] + b"+2\r\n")
    await world.settle()

    assert client.took() == OK + b"+1\r\n" + push + b"+2\r\n"
    assert client.session.berth.flags == "t"


async def test_with_replies_off_nothing_comes_but_all_is_done(world: World, client: Client) -> None:
    client.send(b"CLIENT", b"REPLY", b"OFF")
    client.raw(GET * 2)
    client.send(b"CLIENT", b"SETNAME", b"me")
    wire = await world.upstream(0)
    wire.reply(b"+1\r\n$1\r\n", b"2\r\n")
    await world.settle()
    assert client.took() == b""

    client.send(b"CLIENT", b"REPLY", b"ON")
    client.raw(GET)
    await world.settle()
    wire.reply(b"+3\r\n")
    await world.settle()

    assert client.took() == OK + b"+3\r\n"
    assert client.session.identity.name == b"me"


async def test_skip_is_for_one_request(world: World, client: Client) -> None:
    client.raw(encode([b"CLIENT", b"REPLY", b"SKIP"]) + GET * 3)
    wire = await world.upstream(0)

    wire.reply(b"+1\r\n+2\r\n+3\r\n")
    await world.settle()

    assert client.took() == b"+2\r\n+3\r\n"


async def test_skip_reaches_local_answers_too(world: World, client: Client) -> None:
    client.send(b"CLIENT", b"REPLY", b"SKIP")
    client.send(b"CLIENT", b"SETNAME", b"me")
    client.send(b"CLIENT", b"SETNAME", b"you")
    await world.settle()

    assert client.took() == OK


async def test_what_is_muted_needs_no_cut_when_the_lane_dies(world: World, client: Client) -> None:
    client.send(b"CLIENT", b"REPLY", b"SKIP")
    client.raw(GET * 2)
    wire = await world.upstream(0)

    wire.reply(b"$5\r\nhe")
    wire.lose()
    await world.settle()

    assert client.took().count(LOST) == 1
    assert not client.wire.end


async def test_kill_cuts_another_client_and_says_how_many(world: World, client: Client) -> None:
    other = world.client()
    client.send(b"CLIENT", b"KILL", b"ID", b"2")
    wire = await world.upstream(0)
    wire.reply(b":0\r\n")
    await world.settle()

    assert client.took() == b":1\r\n"
    assert other.wire.end == "aborted"
    assert len(world.context.clients) == 1
