"""Changes of who may what, as they pass through."""

from __future__ import annotations

import pytest
from nearhit.proxy.resp.modes import Mode
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.session.acts.permits import newcomers_changed
from nearhit.proxy.upstream.lane_key import LaneKey, User

from tests.asking import OK, shared
from tests.fakes import Client, Upstream, World

NOAUTH = b"-NOAUTH HELLO must be called with the client already authenticated\r\n"
SET = (b"config", b"set", b"maxmemory", b"0", b"RequirePass", b"x")


async def sent(world: World, client: Client, *words: bytes) -> None:
    """The request is answered with OK; whatever else it costs is not."""
    world.dial.permits = False
    wire = await shared(world, client)
    client.send(*words)
    await world.settle()
    wire.expect(*words)
    wire.reply(OK)
    await world.settle()


async def probed(world: World) -> Upstream:
    await world.settle()
    wire = world.dial.wires[1]
    assert wire.take() == encode([b"RESET"]) + encode([b"HELLO"])
    return wire


@pytest.mark.parametrize(
    "words",
    [SET, (b"ACL", b"SETUSER", b"x"), (b"ACL", b"DELUSER", b"x"), (b"acl", b"load")],
)
async def test_it_is_answered_when_newcomers_would_be_asked(
    world: World, client: Client, words: tuple[bytes, ...]
) -> None:
    world.lanes.newcomers.changed = lambda: newcomers_changed(world.context)
    await sent(world, client, *words)
    assert client.took() == b""

    (await probed(world)).reply(b"+RESET\r\n", NOAUTH)
    await world.settle()

    assert client.took() == OK
    assert client.session.mode == Mode.FAR
    assert world.lanes.newcomer_key == LaneKey(era=1)


@pytest.mark.parametrize(
    "words",
    [
        (b"ACL", b"LIST"),
        (b"ACL",),
        (b"CONFIG",),
        (b"CONFIG", b"GET", b"requirepass"),
        (b"CONFIG", b"SET", b"maxmemory", b"0"),
    ],
)
async def test_what_changes_no_right_costs_nothing_more(
    world: World, client: Client, words: tuple[bytes, ...]
) -> None:
    await sent(world, client, *words)

    assert client.took() == OK
    assert world.connections == 1


@pytest.mark.parametrize("user", [None, User(b"alice", b"pw")])
async def test_what_was_read_for_those_who_may_have_lost_the_right_is_dropped_first(
    near_world: World, user: User | None
) -> None:
    assert near_world.near is not None
    space = near_world.near.space(0, user)
    ticket = space.reserve(b"k")
    assert ticket is not None
    assert space.fill(ticket, b"$1\r\nv\r\n", -1, near_world.now)
    answers = {b"RESET": b"+RESET\r\n", b"HELLO": b"*0\r\n"}
    near_world.dial.permits = False
    near_world.dial.answer = lambda words: answers.get(words[0], OK)
    client = near_world.client()
    await near_world.settle()
    assert space.entries

    client.send(b"ACL", b"SETUSER", b"alice", b"-get")
    await near_world.settle()

    assert client.took() == OK
    assert not space.entries


async def test_what_follows_waits_for_it(world: World, client: Client) -> None:
    wire = await shared(world, client)
    client.raw(encode(SET) + encode([b"PING"]))
    await world.settle()
    wire.expect(*SET)
    wire.reply(OK)
    await world.settle()
    assert wire.quiet

    (await probed(world)).reply(b"+RESET\r\n", NOAUTH)
    await world.settle()
    wire.expect(b"PING")
    wire.reply(b"+PONG\r\n")
    await world.settle()
    assert client.took() == OK + b"+PONG\r\n"


async def test_a_client_that_was_let_in_meanwhile_is_of_the_next_era(world: World) -> None:
    newcomers = world.lanes.newcomers
    newcomers.changed = lambda: newcomers_changed(world.context)
    newcomers.take(True)
    late = Client(world.context)
    late.session.berth.rekey(world.lanes.newcomer_key)
    assert late.session.mode == Mode.LOCKED

    newcomers.take(False)
    assert late.session.mode == Mode.FAR
    newcomers.take(True)

    assert late.session.mode == Mode.LOCKED
    assert late.session.berth.lane_key == LaneKey(era=2)
