"""Which locks a db and user has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from nearhit.proxy.bounds import WaitingRoom
from nearhit.proxy.errors import LockBusy
from nearhit.proxy.process.lock_maker import LockMaker
from nearhit.proxy.settings.address import Upstream
from nearhit.proxy.stats.counters import Stats
from nearhit.proxy.upstream.lane_key import LaneKey
from nearhit.proxy.upstream.tracked import TrackedLane

from tests.fakes import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.close()


def maker(world: World, stats: Stats, *hosts: str) -> LockMaker:
    return LockMaker(
        world.lanes,
        [Upstream(host=host) for host in hosts],
        (world.tasks.start, world.tasks.start),
        asyncio.get_running_loop().time,
        stats,
        WaitingRoom(10, "locks", LockBusy),
    )


async def test_locks_are_in_the_upstream_each_db_s_and_user_s_own(world: World) -> None:
    made = maker(world, Stats())
    tracked = TrackedLane(world.lanes, LaneKey())

    assert made.of(tracked) is not made.of(tracked)

    assert made.servers is None
    assert not made.listed(0)
    assert repr(made) == "<LockMaker None>"


async def test_replicas_are_asked_for_on_the_lanes_of_the_upstream(world: World) -> None:
    replies = {b"EVAL": b":1\r\n", b"WAIT": b":1\r\n"}
    world.dial.answer = lambda words: replies.get(words[0], b"+OK\r\n")
    world.dial.handshake[b"CLIENT"] = b"+OK\r\n"
    grant = b"*3\r\n:1\r\n$1\r\n7\r\n:1\r\n"
    replies[b"EVALSHA"] = grant
    locks = maker(world, Stats()).of(TrackedLane(world.lanes, LaneKey()))

    granted = await locks.acquire(b"r", 1_000, 0, None, 1)

    assert granted is not None
    assert [b"WAIT", b"1", b"333"] in world.dial.seen


async def test_locks_are_a_vote_of_lock_servers_and_a_db_s_whoever_asks(world: World) -> None:
    stats = Stats()
    made = maker(world, stats, "a", "b", "c")
    tracked = TrackedLane(world.lanes, LaneKey(db=1))

    assert made.of(tracked) is made.of(tracked)

    assert len(made.listed(1)) == 3
    assert stats.own()["lock_servers_up"] == 0
    assert repr(made) == "<LockMaker <LockServers 0/3 dbs=1>>"
