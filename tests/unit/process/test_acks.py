"""Whether replicas have heard of what was just written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from nearhit.lua import script
from nearhit.proxy.errors import OddReply, ServerError, UpstreamDown, UpstreamLost
from nearhit.proxy.process import acks as acks_module
from nearhit.proxy.process.acks import Acks
from nearhit.proxy.upstream.lane_key import LaneKey
from nearhit.proxy.upstream.lanes import Lanes

from tests.fakes import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.close()


KEYS = (b"lock:{r}", b"fence:{r}", b"fence:{r}:grant")
RENEW = script("lock_renew")


def acks(world: World) -> Acks:
    def pool(key: bytes) -> Lanes:
        assert key == b"lock:{r}"
        return world.lanes

    return Acks(pool, LaneKey(db=2))


async def ask(world: World, count: int = 1, ms: int = 300) -> bool:
    return await acks(world)(RENEW, KEYS, (b"t",), count, ms)


def answering(world: World, wait: bytes, written: bytes = b":1\r\n") -> None:
    world.dial.answer = lambda words: wait if words[0] == b"WAIT" else written


@pytest.mark.parametrize(
    ("told", "done"), [(b":1\r\n", False), (b":2\r\n", True), (b":3\r\n", True)]
)
async def test_it_waits_behind_a_write_of_its_own(world: World, told: bytes, done: bool) -> None:
    answering(world, told)

    assert await ask(world, 2) is done

    assert world.dial.seen == [
        [b"EVAL", RENEW.text, b"3", *KEYS, b"t"],
        [b"WAIT", b"2", b"300"],
    ]
    assert "lent=0 warm=1" in repr(world.lanes), "clean, for others"
    assert repr(acks(world)) == "<Acks db=2>"


async def test_a_lock_that_is_not_there_any_more_is_not_confirmed(world: World) -> None:
    answering(world, b":9\r\n", written=b":0\r\n")

    assert not await ask(world)


async def test_what_the_server_says_against_it_is_told(world: World) -> None:
    answering(world, b"-NOPERM no WAIT for you\r\n")
    with pytest.raises(ServerError, match="NOPERM"):
        await ask(world)

    answering(world, b":1\r\n", written=b"-READONLY not here\r\n")
    with pytest.raises(ServerError, match="READONLY"):
        await ask(world)

    answering(world, b"+what\r\n")
    with pytest.raises(OddReply):
        await ask(world)


async def test_no_answer_is_no_in_time_and_the_lane_is_closed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acks_module, "MORE_S", 0.0)
    answering(world, b"")

    assert not await ask(world, ms=1)

    assert "lent=0 warm=0" in repr(world.lanes)


async def test_a_connection_that_is_lost_is_told(world: World) -> None:
    asking = asyncio.get_running_loop().create_task(ask(world))
    server = await world.upstream(0)
    server.expect(b"EVAL", RENEW.text, b"3", *KEYS, b"t")

    server.lose()

    with pytest.raises(UpstreamLost):
        await asking


async def test_a_server_that_is_away_is_told(world: World) -> None:
    world.lanes.down = UpstreamDown("away")

    with pytest.raises(UpstreamDown):
        await ask(world)
