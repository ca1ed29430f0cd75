"""What lanes owe clients for long is told of, once, with where the time went."""

from __future__ import annotations

import pytest
from nearhit.proxy.process.slow import LEAST_S, MOST_S, PER_LANE, SlowWatch, pause, sent_as
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.stats.slowlog import Slow, SlowLog

from tests.asking import OK
from tests.fakes import Client, World
from tests.worlds import client as client
from tests.worlds import world as world


class Watch:
    """The watch, by a clock of the test's own."""

    def __init__(self, world: World, slow: float = 0.1) -> None:
        self.world = world
        world.context.slow = SlowLog(lambda: 1000.0, lambda: world.now, slow)
        self.watch = SlowWatch(lambda: [world.lanes], world.context, lambda: world.now)

    def after(self, seconds: float) -> None:
        self.world.now += seconds
        self.watch.look(self.world.now)

    @property
    def told(self) -> list[Slow]:
        return self.world.context.slow.slowest


@pytest.fixture
def watch(world: World) -> Watch:
    return Watch(world)


def ms(one: Slow) -> tuple[int, int, int]:
    return tuple(round(1000 * s) for s in (one.seconds, one.queue, one.upstream))  # type: ignore[return-value]  # of three


async def test_a_request_that_takes_long_is_told_of_when_it_is_answered(
    world: World, client: Client, watch: Watch
) -> None:
    client.send(b"SET", b"key", b"secret")
    wire = await world.upstream(0)
    watch.after(0)
    watch.after(0.06)
    watch.after(0.06)
    watch.after(0.06)
    assert not watch.told

    wire.reply(OK)
    await world.settle()
    watch.after(0.02)

    (one,) = watch.told
    assert ms(one) == (200, 0, 200)
    assert one.command == "SET key ... (1 more argument)"
    assert (one.peer, one.client, one.db, one.at) == ("10.0.0.1:5000", 1, 0, 1000.0)
    watch.after(1)
    assert len(watch.told) == 1
    assert repr(watch.watch) == "<SlowWatch lanes=0 followed=0>"


async def test_a_request_that_is_answered_in_time_is_not(
    world: World, client: Client, watch: Watch
) -> None:
    client.send(b"GET", b"key")
    wire = await world.upstream(0)
    watch.after(0)
    watch.after(0.09)
    wire.reply(b"$-1\r\n")
    await world.settle()

    watch.after(5)

    assert not watch.told


async def test_what_waits_behind_another_of_its_lane_was_in_the_queue(
    world: World, client: Client, watch: Watch
) -> None:
    client.send(b"GET", b"first")
    other = world.client()
    other.send(b"GET", b"second")
    wire = await world.upstream(0)
    watch.after(0)
    watch.after(0.2)
    wire.reply(b"$-1\r\n")
    await world.settle()
    watch.after(0)
    watch.after(0.05)
    wire.reply(b"$-1\r\n")
    await world.settle()
    watch.after(0)

    assert sorted((one.command, *ms(one)) for one in watch.told) == [
        ("GET first", 200, 0, 200),
        ("GET second", 250, 200, 50),
    ]


async def test_of_a_pipeline_the_request_is_named_that_stands_at_its_head(
    world: World, client: Client, watch: Watch
) -> None:
    client.raw(b"".join(encode([b"GET", b"k%d" % n]) for n in range(3)))
    wire = await world.upstream(0)
    wire.reply(b"$-1\r\n")
    await world.settle()
    watch.after(0)
    watch.after(0.2)
    wire.reply(b"$-1\r\n$-1\r\n")
    await world.settle()
    watch.after(0)

    assert [one.command for one in watch.told] == ["GET k1"]


async def test_what_waits_for_a_connection_is_in_the_queue(world: World, watch: Watch) -> None:
    world.dial.mute = True
    client = world.client()
    client.send(b"GET", b"key")
    await world.settle()
    watch.after(0)
    watch.after(0.2)
    world.dial.wires[0]._shake()
    await world.settle()
    watch.after(0)
    world.dial.wires[0].reply(b"$-1\r\n")
    await world.settle()
    watch.after(0.01)

    assert [ms(one) for one in watch.told] == [(210, 200, 10)]


async def test_what_blocks_is_not_watched(world: World, client: Client, watch: Watch) -> None:
    client.send(b"BLPOP", b"q", b"0")
    wire = await world.upstream(0)
    watch.after(0)
    watch.after(9)
    wire.reply(b"*-1\r\n")
    await world.settle()
    watch.after(0)

    assert not watch.told


async def test_the_questions_of_the_proxy_itself_are_nobodys(world: World, watch: Watch) -> None:
    lane = world.lanes.shared(world.lanes.primary_key)
    lane.ask(lambda reply: None, b"PING")
    await world.settle()
    watch.after(0)
    watch.after(9)

    assert repr(watch.watch) == "<SlowWatch lanes=1 followed=0>"


async def test_who_has_left_is_told_of_and_let_go(
    world: World, client: Client, watch: Watch
) -> None:
    client.send(b"GET", b"key")
    await world.upstream(0)
    watch.after(0)
    watch.after(0.2)
    client.wire.lose()
    await world.settle()
    watch.after(0.1)

    assert [one.command for one in watch.told] == ["GET key"]


async def test_of_one_lane_so_many_are_followed_at_once(
    world: World, client: Client, watch: Watch
) -> None:
    for n in range(PER_LANE + 5):
        world.client().send(b"GET", b"k%d" % n)
    await world.settle()
    watch.after(0)
    watch.after(0.2)

    assert repr(watch.watch) == f"<SlowWatch lanes=1 followed={PER_LANE}>"


async def test_the_bytes_of_what_is_not_kept_are_not_known(world: World, client: Client) -> None:
    client.send(b"GET", b"key")
    await world.upstream(0)
    lane = world.lanes.shared(world.lanes.primary_key)
    assert sent_as(lane, 0) == encode([b"GET", b"key"])

    lane.forget_kept()

    assert sent_as(lane, 0) is None


@pytest.mark.parametrize(
    ("slow", "seconds"), [(float("inf"), MOST_S), (60.0, MOST_S), (0.1, 0.025), (0.01, LEAST_S)]
)
def test_it_looks_four_times_in_that_time(slow: float, seconds: float) -> None:
    assert pause(slow) == seconds
