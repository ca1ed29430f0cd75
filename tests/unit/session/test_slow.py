"""A slow command is told of with its client."""

from __future__ import annotations

from nearhit.proxy.session.slow import noted, own_noted
from nearhit.proxy.stats.slowlog import SlowLog

from tests.fakes import Client, World


async def test_with_a_command_goes_who_sent_it(world: World, client: Client) -> None:
    world.context.slow = SlowLog(lambda: 1000.5)
    client.session.identity.name = b"caf\xc3\xa9"

    noted(client.session, "GET k", 0.5, queue=0.2, upstream=0.3)

    (one,) = world.context.slow.slowest
    assert (one.at, one.seconds, one.queue, one.upstream, one.load) == (1000.5, 0.5, 0.2, 0.3, 0.0)
    assert (one.command, one.db, one.client) == ("GET k", 0, client.session.identity.id)
    assert (one.peer, one.name) == ("10.0.0.1:5000", "caf\u00e9")


async def test_what_one_of_our_own_did_not_load_it_waited_for_the_server(
    world: World, client: Client
) -> None:
    own_noted(client.session, [b"GET", b"k"], 0.5, 0.4)
    own_noted(client.session, [b"GET", b"k"], 0.4, 9.0)  # loads side by side

    first, second = world.context.slow.slowest
    assert (round(first.upstream, 3), first.load, first.command) == (0.1, 0.4, "GET k")
    assert (second.upstream, second.load) == (0.0, 0.4)
