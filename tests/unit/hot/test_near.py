"""From when on a session may read near: what it was told elsewhere is never unlearnt."""

from __future__ import annotations

from typing import Any

import pytest
from nearhit.proxy.hot.lane import LaneCore, LaneState
from nearhit.proxy.hot.near import PENDING, NearReading
from nearhit.proxy.hot.session import SessionCore
from nearhit.proxy.near.cache import NearCache
from nearhit.proxy.resp.modes import Mode
from nearhit.proxy.resp.requests import encode

from tests.fakes import World


def lane() -> LaneCore:
    """A tracked lane that stands, and has answered all that was sent."""
    core = LaneCore(lambda call: None)
    core.state = LaneState.READY
    core.tracking = True
    core.sent = core.done = 5
    return core


def reading() -> NearReading:
    near = NearReading(NearCache(1 << 20))
    assert near.cache is not None
    near.space = near.cache.space(0, None)
    near.moved(lane())
    return near


def test_without_a_lane_nothing_is_fresh() -> None:
    near = NearReading(None)

    assert not near.fresh
    assert repr(near) == "<NearReading None fresh=False>"


def test_a_client_that_was_told_nothing_reads_near_at_once() -> None:
    assert reading().fresh


def test_what_goes_elsewhere_makes_nothing_fresh_until_it_is_answered() -> None:
    near = reading()

    near.elsewhere()

    assert near.fresh_after == PENDING
    assert not near.fresh


def test_another_lane_must_have_answered_something_sent_later() -> None:
    near, other = reading(), lane()
    other.sent, other.done = 9, 8

    near.moved(other)
    assert not near.fresh
    other.done = 9
    assert not near.fresh
    other.done = 10

    assert near.fresh


def test_what_is_still_unanswered_elsewhere_is_not_forgotten_when_the_lane_changes() -> None:
    near, other = reading(), lane()
    near.elsewhere()

    near.moved(other)
    other.sent = other.done = 7  # others ask on it, and are answered

    assert not near.fresh


def test_the_same_lane_once_more_changes_nothing() -> None:
    near = reading()
    same: Any = near.lane

    near.moved(same)

    assert near.fresh_after == -1
    assert near.fresh


# What only SessionCore asks is seen through a session.


@pytest.fixture
async def world() -> Any:
    world = World(near=NearCache(1 << 20))
    yield world
    await world.close()


async def test_only_a_lane_that_stands_is_heard_and_open_is_read_by(world: World) -> None:
    client = world.client()
    await world.settle()
    near = client.session.near
    assert near.lane is not None
    assert near.space is not None
    assert client.session.reads_near()

    near.lane.paused = True
    assert not client.session.reads_near()
    near.lane.paused = False
    space, near.space = near.space, None
    assert not client.session.reads_near()
    near.space = space
    assert client.session.reads_near()
    near.lane.tracking = False

    assert not client.session.reads_near()


async def test_once_all_is_answered_the_lane_must_answer_something_later(world: World) -> None:
    client = world.client()
    client.send(b"STRLEN", b"k")
    await world.settle()
    assert not client.session.reads_near()
    (wire,) = [wire for wire in world.dial.wires if wire.written]

    wire.reply(b":1\r\n")
    await world.settle()
    near = client.session.near
    assert near.lane is not None
    assert near.fresh_after == near.lane.sent
    assert not near.fresh
    client.raw(encode([b"GET", b"k"]))
    await world.settle()
    (wire,) = [wire for wire in world.dial.wires if wire.written.endswith(b"GET\r\n$1\r\nk\r\n")]
    wire.reply(b"_\r\n")
    await world.settle()

    assert near.fresh
    assert isinstance(client.session, SessionCore)
    assert client.session.mode == Mode.NEAR
