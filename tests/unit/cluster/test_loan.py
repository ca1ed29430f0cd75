"""A real lane that is one connection's own for a while."""

from __future__ import annotations

import asyncio

from nearhit.proxy.cluster.loan import Loan
from nearhit.proxy.errors import ProxyError, UpstreamDown
from nearhit.proxy.upstream.lane import Lane

from .nodes import World, clustered, key


class Taker:
    def __init__(self, world: World) -> None:
        self.lanes: list[Lane] = []
        self.refused: list[ProxyError] = []
        self.lost: list[ProxyError] = []
        self.pushed: list[bytes] = []
        self.pool = world.cluster.pool("n", 1)
        self.loan = Loan(self.pool, key(), self.lost.append, self.pushed.append)

    async def take(self) -> None:
        self.loan.take(self.lanes.append, self.refused.append)
        await asyncio.sleep(0.01)


@clustered
async def test_a_clean_lane_goes_back_for_others(world: World) -> None:
    taker = Taker(world)
    await taker.take()
    taker.loan.give_back(clean=True)
    taker.loan.give_back(clean=True)

    assert len(taker.lanes) == 1
    assert "lent=0 warm=1" in repr(taker.pool)


@clustered
async def test_a_lane_with_state_is_closed(world: World) -> None:
    taker = Taker(world)
    await taker.take()
    taker.loan.give_back(clean=False)

    assert "lent=0 warm=0" in repr(taker.pool)


@clustered
async def test_who_finds_no_place_gets_the_next_one(world: World) -> None:
    first, second = Taker(world), Taker(world)
    first.pool.pinned_max = 1
    await first.take()
    await second.take()
    assert second.lanes == []

    first.loan.give_back(clean=True)
    await asyncio.sleep(0.01)

    assert second.lanes == first.lanes


@clustered
async def test_who_waits_no_more_gets_none(world: World) -> None:
    first, second = Taker(world), Taker(world)
    first.pool.pinned_max = 1
    await first.take()
    await second.take()

    second.loan.give_back(clean=True)
    first.loan.give_back(clean=True)
    await asyncio.sleep(0.01)

    assert second.lanes == []
    assert "warm=1" in repr(first.pool)


@clustered
async def test_a_node_that_is_away_refuses(world: World) -> None:
    taker = Taker(world)
    taker.pool.down = UpstreamDown("x")
    await taker.take()

    assert taker.refused == [taker.pool.down]


@clustered
async def test_pushes_and_the_end_are_told(world: World) -> None:
    taker = Taker(world)
    await taker.take()
    world.nodes[0].push(b">1\r\n$1\r\nx\r\n")
    world.nodes[0].lose()
    await asyncio.sleep(0.01)

    assert taker.pushed == [b">1\r\n$1\r\nx\r\n"]
    assert len(taker.lost) == 1
    assert taker.loan.lane is None


@clustered
async def test_only_a_lane_that_is_lost_says_that_the_map_may_be_old(world: World) -> None:
    taker = Taker(world)
    for clean in (False, True):
        await taker.take()
        taker.loan.give_back(clean=clean)
    assert world.trouble == []

    await taker.take()
    world.nodes[0].lose()
    await asyncio.sleep(0.01)

    assert world.trouble == [taker.pool]
