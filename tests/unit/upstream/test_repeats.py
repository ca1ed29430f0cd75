"""What is asked again where a connection died before it answered, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from nearhit.proxy.errors import UpstreamLost
from nearhit.proxy.hot.answers import WINDOW_MAX, RunSlot
from nearhit.proxy.hot.anyreads import AnySlot
from nearhit.proxy.hot.fills import Fill
from nearhit.proxy.hot.lane import LaneCore, LaneState
from nearhit.proxy.hot.own import GetOrSetSlot, TaskSlot, run_of
from nearhit.proxy.near.cache import NearCache
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.upstream.ask import AskSlot, drop
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey, Use
from nearhit.proxy.upstream.repeats import reader_of, repeatable

from tests.answering import Queue
from tests.fakes import TABLE, Client, FakeDial, FakeHome, Tray, Upstream, World, settle
from tests.nearness import (
    NIL,
    OK,
    bulk,
    cached,
    expect_fill,
    filling,
    gets,
    joined,
    near,
    seen_once,
    tracked,
    well_known,
)

LOST = b"-UPSTREAM connection to the server lost"
READS = TABLE.repeatable


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.dial.reads = READS
    yield world
    await world.close()


@pytest.fixture
async def nearby() -> AsyncIterator[World]:
    """With a near cache."""
    world = World(near=NearCache(1 << 20))
    world.dial.reads = READS
    yield world
    await world.close()


async def lost(world: World) -> Upstream:
    """The newest connection dies, and another stands."""
    world.dial.wires[-1].lose(ConnectionResetError("reset by peer"))
    await world.settle()
    return world.dial.wires[-1]


async def sent(world: World, client: Client, *requests: Sequence[bytes]) -> None:
    """The requests have left, in one piece each."""
    well_known(client, *{words[0] for words in requests})
    client.session.window = WINDOW_MAX
    for words in requests:
        client.send(*words)
        await world.settle()


async def test_a_read_in_flight_is_asked_again_and_answered(world: World) -> None:
    client = world.client()
    await sent(world, client, [b"GET", b"k"])

    wire = await lost(world)
    wire.expect(b"GET", b"k")
    assert wire.quiet
    wire.reply(b"$1\r\nv\r\n")
    await world.settle()

    assert client.took() == b"$1\r\nv\r\n"
    assert (world.context.turn.hits, world.context.turn.misses) == (1, 0)


@pytest.mark.parametrize(
    "words",
    [
        [b"SET", b"k", b"v"],
        [b"INCR", b"k"],
        [b"GETEX", b"k", b"EX", b"1"],
        [b"GETDEL", b"k"],
        [b"TOUCH", b"k"],
        [b"PFCOUNT", b"k"],
        [b"PUBLISH", b"c", b"m"],
        [b"PING"],
        [b"EVAL_RO", b"return 1", b"0"],
    ],
    ids=lambda words: words[0].decode(),
)
async def test_what_is_no_mere_read_is_not(world: World, words: list[bytes]) -> None:
    client = world.client()
    client.send(*words)
    await world.settle()

    wire = await lost(world)

    assert client.took().startswith(LOST)
    assert wire.quiet


async def test_a_read_before_a_write_of_the_same_client_is_not_asked_again(world: World) -> None:
    client = world.client()
    await sent(world, client, [b"GET", b"k"], [b"SET", b"k", b"new"])

    wire = await lost(world)

    assert client.took().count(LOST) == 2
    assert wire.quiet


async def test_a_read_behind_a_write_is_and_those_of_other_clients_too(world: World) -> None:
    client, other = world.client(), world.client()
    await sent(world, other, [b"GET", b"a"])
    await sent(world, client, [b"SET", b"k", b"new"], [b"GET", b"k"])

    wire = await lost(world)
    wire.expect(b"GET", b"a")
    wire.expect(b"GET", b"k")
    assert wire.quiet
    wire.reply(b"$1\r\n1\r\n$3\r\nnew\r\n")
    await world.settle()

    assert other.took() == b"$1\r\n1\r\n"
    first, second = client.took().split(b"\r\n", 1)
    assert first.startswith(LOST)
    assert second == b"$3\r\nnew\r\n"


async def test_later_requests_do_not_overtake(world: World) -> None:
    client = world.client()
    await sent(world, client, [b"GET", b"k"])
    client.send(b"SET", b"unsent", b"v")  # in this turn: it has not left
    world.dial.wires[0].lose()
    client.send(b"SET", b"k", b"later")
    await world.settle()

    wire = world.dial.wires[1]
    wire.expect(b"GET", b"k")
    wire.expect(b"SET", b"unsent", b"v")
    wire.expect(b"SET", b"k", b"later")
    wire.reply(b"$1\r\n1\r\n+A\r\n+B\r\n")
    await world.settle()

    assert client.took() == b"$1\r\n1\r\n+A\r\n+B\r\n"


async def test_it_is_asked_again_once(world: World) -> None:
    client = world.client()
    await sent(world, client, [b"GET", b"k"])
    await lost(world)

    wire = await lost(world)

    assert client.took().startswith(LOST)
    assert wire.quiet
    await sent(world, client, [b"GET", b"k"])
    (await lost(world)).expect(b"GET", b"k")  # another


async def test_what_did_not_leave_a_second_time_is_still_to_be_asked(world: World) -> None:
    client = world.client()
    await sent(world, client, [b"GET", b"k"])
    lane = world.lanes.shared(client.session.berth.lane_key)
    world.dial.wires[0].lose()
    while lane.state is not LaneState.READY or not lane.out:
        await asyncio.sleep(0)
    world.dial.wires[1].lose()  # before the turn is over
    await world.settle()

    world.dial.wires[2].expect(b"GET", b"k")
    await lost(world)

    assert client.took().startswith(LOST)


async def test_of_a_run_only_what_was_not_answered_is_asked(world: World) -> None:
    client = world.client()
    well_known(client, b"GET", b"MGET", b"STRLEN")
    client.session.window = WINDOW_MAX
    client.raw(gets(b"a") + encode([b"STRLEN", b"b"]) + gets(b"c") + encode([b"MGET", b"d"]))
    await world.settle()
    world.dial.wires[0].reply(b"$1\r\na\r\n:1\r\n")

    wire = await lost(world)
    wire.expect(b"GET", b"c")
    wire.expect(b"MGET", b"d")
    assert wire.quiet
    wire.reply(b"$-1\r\n*1\r\n$1\r\nd\r\n")
    await world.settle()

    assert client.took() == b"$1\r\na\r\n:1\r\n$-1\r\n*1\r\n$1\r\nd\r\n"
    assert (world.context.turn.hits, world.context.turn.misses) == (2, 1)


async def test_a_reply_of_which_a_part_was_handed_on_ends_the_client(world: World) -> None:
    client, other = world.client(), world.client()
    await sent(world, client, [b"GET", b"a"])
    await sent(world, other, [b"GET", b"b"])
    world.dial.wires[0].reply(b"$100\r\nhalf")
    await world.settle()

    wire = await lost(world)

    assert client.took() == b"$100\r\nhalf"
    assert client.wire.end
    wire.expect(b"GET", b"b")
    assert wire.quiet


async def test_a_run_with_a_write_in_it_is_not_asked_again(world: World) -> None:
    client = world.client()
    well_known(client, b"GET", b"SET")
    client.session.window = WINDOW_MAX
    client.raw(gets(b"a") + encode([b"SET", b"b", b"1"]) + gets(b"c"))
    await world.settle()

    wire = await lost(world)

    assert client.took().count(LOST) == 3
    assert wire.quiet


async def test_nothing_is_asked_for_a_client_that_is_gone(world: World) -> None:
    client = world.client()
    await sent(world, client, [b"GET", b"k"])
    client.leave()

    world.dial.wires[0].lose()
    await world.settle()

    assert world.connections == 1


async def test_where_the_server_stays_away_it_fails_with_all_that_waits(world: World) -> None:
    client = world.client()
    await sent(world, client, [b"GET", b"k"])

    world.dial.refuse = 3
    world.dial.wires[0].lose()
    await world.settle()

    assert client.took().startswith(b"-UPSTREAM no connection to the server")
    await world.settle()
    client.send(b"SET", b"k", b"v")
    await world.settle()
    world.dial.wires[1].expect(b"SET", b"k", b"v")


async def test_without_a_table_of_reads_nothing_is_asked_again(world: World) -> None:
    world.dial.reads = None
    client = world.client()
    await sent(world, client, [b"GET", b"k"])

    wire = await lost(world)

    assert client.took().startswith(LOST)
    assert wire.quiet


# --- On the tracked lane


async def test_a_fill_is_asked_again_whole_and_not_kept(nearby: World) -> None:
    client = await joined(nearby)
    wire = await filling(nearby, client)
    wire.reply(OK + b":50")  # of how long it may be kept a part
    wire.lose()
    await nearby.settle()

    again = tracked(nearby)
    expect_fill(again, b"k")
    assert again.quiet
    again.reply(OK + b":500\r\n" + bulk(b"v"))
    await nearby.settle()

    assert client.took() == bulk(b"v")
    assert not await near(nearby, client)


async def test_a_fill_between_its_replies_is_asked_again(nearby: World) -> None:
    client = await joined(nearby)
    wire = await filling(nearby, client)
    wire.reply(OK + b":500\r\n")
    wire.lose()
    await nearby.settle()

    again = tracked(nearby)
    expect_fill(again, b"k")
    again.reply(OK + b":-2\r\n" + NIL)
    await nearby.settle()

    assert client.took() == b"$-1\r\n"  # as RESP2 has it


async def test_reads_that_were_not_to_be_kept_are_asked_again_there(nearby: World) -> None:
    client = await joined(nearby)
    client.raw(gets(b"x", b"y"))
    await nearby.settle()
    tracked(nearby).expect(b"GET", b"x")
    tracked(nearby).expect(b"GET", b"y")
    tracked(nearby).lose()
    await nearby.settle()

    again = tracked(nearby)
    again.expect(b"GET", b"x")
    again.expect(b"GET", b"y")
    again.reply(NIL + bulk(b"Y"))
    await nearby.settle()

    assert client.took() == b"$-1\r\n" + bulk(b"Y")


async def test_an_mget_that_is_near_in_part_is_asked_again(nearby: World) -> None:
    client = await joined(nearby)
    await cached(nearby, client, b"a", bulk(b"A"))
    await seen_once(nearby, client, b"x")
    client.send(b"MGET", b"x", b"a")
    await nearby.settle()
    asked = tracked(nearby).take()
    tracked(nearby).reply(OK)
    tracked(nearby).lose()
    await nearby.settle()

    again = tracked(nearby)
    assert again.take() == asked
    again.reply(OK + b":-1\r\n*1\r\n" + bulk(b"X"))
    await nearby.settle()

    assert client.took() == b"*2\r\n" + bulk(b"X") + bulk(b"A")
    assert not await near(nearby, client, b"x")


async def test_gets_that_are_near_in_part_are_asked_again_unless_some_are_told(
    nearby: World,
) -> None:
    client = await joined(nearby)
    await cached(nearby, client, b"a", bulk(b"A"))
    await seen_once(nearby, client, b"x")
    await seen_once(nearby, client, b"y")
    for told in (b"", OK + b":-1\r\n" + OK + b":-1\r\n" + bulk(b"X") + b"$1\r\n"):
        if not await near(nearby, client, b"a"):
            await cached(nearby, client, b"a", bulk(b"A"))
        client.raw(gets(b"x", b"a", b"y"))
        await nearby.settle()
        asked = tracked(nearby).take()
        assert asked.endswith(gets(b"x", b"y"))
        if told:
            tracked(nearby).reply(told)
        tracked(nearby).lose()
        await nearby.settle()
        if told:
            assert client.took().startswith(bulk(b"X") + bulk(b"A") + LOST)
            continue
        assert tracked(nearby).take() == asked
        tracked(nearby).reply(OK + b":-1\r\n" + OK + b":-1\r\n" + bulk(b"X") + NIL)
        await nearby.settle()
        assert client.took() == bulk(b"X") + bulk(b"A") + b"$-1\r\n"


# --- Slots by themselves


def piece(*words: bytes) -> bytes:
    return encode(words)


def test_getorsets_are_asked_again_and_theirs_that_are_to_be_kept() -> None:
    nobody: Any = None
    queue, lane = Queue(), LaneCore(lambda call: None)
    run = run_of(queue, lane, [b"a", b"b"], False, nobody)
    place = TaskSlot(queue, False)
    one = GetOrSetSlot(place, None, lambda slot: None, None, b"k", None)
    data = gets(b"a", b"b")

    found = repeatable([run, one], [data, gets(b"k")], READS, None)

    assert found == [(data, run), (gets(b"k"), one)]
    assert (reader_of(run), reader_of(one)) == (queue, queue)
    run.want = 1
    assert repeatable([run], [data], READS, None) == [(gets(b"b"), run)]
    assert repeatable([run], [data], READS, run) == []


def test_the_fill_before_such_a_slot_is_over_and_the_slot_asked_again() -> None:
    queue = Queue()
    space = NearCache(1 << 20).space(0, None)
    ticket = space.reserve(b"k")
    assert ticket is not None
    fill = Fill(space, ticket, 100.0)
    fill.got = b"+OK\r\n"  # of its two replies
    slot = AnySlot(queue, [b"HLEN", b"k"], fill, True)
    queue.push_slot(slot)

    found = repeatable([fill, slot], [b"", piece(b"HLEN", b"k")], READS, None)
    slot.want = 0
    slot.feed(b":3\r\n")

    assert found == [(piece(b"HLEN", b"k"), slot)]
    assert queue.took() == b":3\r\n"
    assert not ticket.valid


def test_the_proxys_own_questions_are_not_and_hold_nobody_back() -> None:
    queue = Queue()
    run, ask = RunSlot(queue, 1), AskSlot(drop)

    assert reader_of(ask) is None
    assert repeatable([run, ask], [gets(b"k"), gets(b"k")], READS, None) == [(gets(b"k"), run)]


# --- In time


class Timed:
    """A lane with a command_timeout, whose clock is the test's."""

    def __init__(self) -> None:
        self.dial = FakeDial()
        self.dial.reads = READS
        self.home = FakeHome()
        self.lane = Slow(
            1, LaneKey(), self.dial, self.home, offline_max=1000, timeout_s=30, most_s=5
        )
        self.queue = Queue()
        self.slot = RunSlot(self.queue, 1)
        self.queue.push_slot(self.slot)

    async def ask(self) -> None:
        self.lane.open()
        await settle()
        self.lane.send(gets(b"k"), self.slot)
        await settle()


class Slow(Lane):
    clock = 100.0

    @property
    def now(self) -> float:
        return self.clock


@pytest.fixture
async def timed() -> AsyncIterator[Timed]:
    timed = Timed()
    yield timed
    timed.lane.close()
    await timed.home.tasks.stop()


async def test_beyond_the_deadline_it_is_not_asked_again(timed: Timed) -> None:
    await timed.ask()

    for _ in range(7):
        timed.lane.tick()
    await settle()

    assert timed.queue.took() == UpstreamLost("no answer in 5 s").line
    assert len(timed.dial.wires) == 2 or timed.lane.state is LaneState.IDLE


async def test_the_deadline_counts_from_the_first_asking(timed: Timed) -> None:
    await timed.ask()
    for _ in range(4):  # 3 s of silence
        timed.lane.tick()
    timed.dial.wires[0].lose()
    await settle()
    timed.lane.tick()
    assert not timed.queue.took()

    timed.lane.clock += 2.5
    timed.lane.tick()
    await settle()

    assert timed.queue.took() == UpstreamLost("no answer in 5 s").line


async def test_while_there_is_no_connection_it_counts_too(timed: Timed) -> None:
    await timed.ask()
    timed.dial.mute = True
    timed.home.silent = True
    timed.dial.wires[0].lose()
    await settle()
    other = Tray()
    timed.lane.send(piece(b"SET", b"k", b"v"), other)

    timed.lane.clock += 5.5
    timed.lane.tick()

    assert timed.queue.took() == UpstreamLost("no answer in 5 s").line
    assert not other.filled
    assert repr(timed.lane._repeats) == "<Repeats owed=0>"  # nothing more to fail


@pytest.mark.parametrize("use", [Use.SCRIPTS, Use.PROBE, Use.BULK])
async def test_only_lanes_of_requests_keep_what_they_send(use: Use) -> None:
    timed = Timed()
    lane = Lane(2, LaneKey(use=use), timed.dial, timed.home, offline_max=10, timeout_s=1)

    lane.tick()

    assert not lane.keeps
    timed.lane.tick()
    assert timed.lane.keeps


async def test_an_idle_lane_keeps_nothing(timed: Timed) -> None:
    await timed.ask()
    assert timed.lane.kept
    timed.dial.wires[0].reply(NIL)

    timed.lane.tick()

    assert not timed.lane.kept
