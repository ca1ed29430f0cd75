"""CLIENT LIST's flags: each hold has one at most, and writes that a pause holds up have one too."""

from __future__ import annotations

import pytest
from nearhit.proxy.session import reasons
from nearhit.proxy.session.client_counts import counts
from nearhit.proxy.session.flags import flags_of

from tests.asking import OK, asked
from tests.fakes import Client, World

PAUSE = (b"CLIENT", b"PAUSE", b"60000", b"WRITE")


def test_each_hold_has_one_flag_at_most() -> None:
    holds = [value for name, value in vars(reasons).items() if name.startswith("HOLD_")]

    shown = [flags_of(hold) for hold in holds]

    assert all(len(flags) <= 1 for flags in shown)
    assert sorted("".join(shown)) == sorted("xbPtOS")


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (b"SET k v", "b"),
        (b"pfcount k", "b"),
        (b"PUBLISH a b", "b"),
        (b"EVAL return(1) 0", "b"),
        (b"GET k", "N"),
        (b"INFO", "N"),
        (b"NOPE", "N"),
    ],
)
async def test_while_writes_are_paused_who_waits_with_one_is_blocked(
    world: World, client: Client, words: bytes, flags: str
) -> None:
    await asked(world, client, *PAUSE, reply=OK)
    writer = world.client()

    writer.send(*words.split())
    await world.settle()

    assert writer.session.berth.flags == flags
    assert counts(world.context.clients, paused=True)[b"blocked_clients"] == (flags == "b")


async def test_who_is_answered_is_not_blocked(world: World, client: Client) -> None:
    await asked(world, client, *PAUSE, reply=OK)
    writer = world.client()
    writer.send(b"SET", b"k", b"v")
    await world.settle()

    world.dial.wires[-1].reply(OK)
    await world.settle()

    assert writer.session.berth.flags == "N"


async def test_without_a_pause_nobody_is(world: World, client: Client) -> None:
    client.send(b"SET", b"k", b"v")
    await world.settle()

    assert client.session.berth.flags == "N"
