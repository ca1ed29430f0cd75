"""One request at the owner of a slot: how often, how long, and where to."""

from __future__ import annotations

import asyncio

from nearhit.proxy.cluster.errand import Errand
from nearhit.proxy.cluster.loan import Loan
from nearhit.proxy.errors import ProxyError
from nearhit.proxy.resp.requests import encode

from .nodes import PATIENCE, World, clustered, key

GET = encode([b"GET", b"k"])


class Sent:
    def __init__(self, world: World, slot: int | None = 100) -> None:
        self.replies: list[bytes] = []
        self.loan: Loan | None = None
        self.lost: list[ProxyError] = []
        self.errand = Errand(world.cluster, key(), slot, lambda: GET, self._done, self.lost.append)
        self.errand.begin()

    def _done(self, reply: bytes, loan: Loan | None) -> None:
        self.replies.append(reply)
        self.loan = loan


@clustered
async def test_whose_errand_it_is_keeps_the_loan_and_hears_of_its_end(world: World) -> None:
    sent = Sent(world)
    await asyncio.sleep(0.1)
    assert sent.replies == [b"+OK\r\n"]
    assert sent.loan is not None
    world.nodes[0].lose()
    await asyncio.sleep(0.1)

    assert len(sent.lost) == 1
    assert sent.replies == [b"+OK\r\n"]


@clustered
async def test_a_redirection_tells_a_slot_that_was_not_known(world: World) -> None:
    for node in world.nodes:
        node.say(b"GET", b"-MOVED 6000 n:2\r\n")
    world.nodes[1].say(b"GET", b"$1\r\nv\r\n")
    sent = Sent(world, None)
    await asyncio.sleep(0.5)

    assert sent.replies == [b"$1\r\nv\r\n"]


@clustered
async def test_two_nodes_that_send_it_to_each_other_are_given_up(world: World) -> None:
    world.nodes[0].say(b"GET", b"-MOVED 100 n:2\r\n")
    world.nodes[1].say(b"GET", b"-MOVED 100 n:1\r\n")
    sent = Sent(world)
    await asyncio.sleep(PATIENCE + 1)

    assert len(sent.replies) == 1
    assert sent.replies[0].startswith(b"-TRYAGAIN")
    assert len(world.nodes[0].seen) < 100


@clustered
async def test_a_slot_that_nobody_has_is_waited_for(world: World) -> None:
    sent = Sent(world)
    sent.errand.end()
    topology = world.cluster.topology
    world.cluster.watch.topology = None
    world.cluster._primaries = []  # pyright: ignore[reportPrivateUsage]
    waiting = Sent(world)
    await asyncio.sleep(0.5)
    assert waiting.replies == []
    world.cluster.watch.topology = topology
    await asyncio.sleep(0.5)

    assert waiting.replies == [b"+OK\r\n"]
    assert sent.replies == []


@clustered
async def test_nobody_who_ended_it_hears_of_it(world: World) -> None:
    world.nodes[0].say(b"GET", b"-CLUSTERDOWN x\r\n")
    sent = Sent(world)
    await asyncio.sleep(0.12)
    sent.errand.end()
    asked = len(world.nodes[0].seen)
    await asyncio.sleep(1)

    assert sent.replies == []
    assert len(world.nodes[0].seen) == asked


@clustered
async def test_who_is_not_let_in_is_told_at_once(world: World) -> None:
    world.nodes[0].dial.handshake[b"SELECT"] = b"-ERR DB index is out of range\r\n"
    replies: list[bytes] = []
    in_db = key().with_db(9)
    Errand(
        world.cluster, in_db, 100, lambda: GET, lambda told, _: replies.append(told), print
    ).begin()
    await asyncio.sleep(0.1)

    assert replies == [b"-ERR DB index is out of range\r\n"]
