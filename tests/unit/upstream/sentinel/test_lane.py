"""A lane to a master that becomes a replica: nothing is lost, and nothing done twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from nearhit.proxy.errors import ProxyError, UpstreamLost
from nearhit.proxy.hot.answers import RunSlot
from nearhit.proxy.hot.lane import LaneState
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.upstream.ask import Reply
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey, Use
from nearhit.proxy.upstream.sentinel.lane import MasterLane, requests_in

from tests.answering import Queue
from tests.fakes import TABLE, FakeDial, FakeHome, Tray, Upstream, settle

NO = b"-READONLY You can't write against a read only replica.\r\n"
GET = encode([b"GET", b"k"])
INCR = encode([b"INCR", b"n"])
EVAL = encode([b"EVAL", b"return redis.error_reply('READONLY no')", b"0"])
PUBLISH = encode([b"PUBLISH", b"c", b"m"])


class Owner:
    """Whoever a lane was lent to."""

    def __init__(self) -> None:
        self.lost: list[ProxyError] = []

    def lane_ends(self, lane: Lane) -> None: ...

    def lane_lost(self, lane: Lane, why: ProxyError) -> None:
        self.lost.append(why)


class Bench:
    def __init__(self) -> None:
        self.home = FakeHome()
        self.dial = FakeDial()
        self.owner = Owner()
        self.lanes: list[MasterLane] = []

    async def ready(self, *, lent: bool = False, use: Use = Use.REQUESTS) -> MasterLane:
        lane = MasterLane(
            1,
            LaneKey(use=use),
            self.dial,
            self.home,
            offline_max=10_000,
            timeout_s=4,
            owner=self.owner if lent else None,
        )
        self.lanes.append(lane)
        lane.users = 1
        lane.open()
        await settle()
        assert lane.state is LaneState.READY
        return lane

    @property
    def wire(self) -> Upstream:
        return self.dial.wires[-1]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    for lane in bench.lanes:
        lane.close()
    await bench.home.tasks.stop()


async def sent(lane: MasterLane, *requests: bytes, want: int = 1) -> list[Tray]:
    trays = [Tray(want) for _ in requests]
    for request, tray in zip(requests, trays, strict=True):
        lane.send(request, tray)
    await settle()
    return trays


async def test_what_is_refused_waits_for_the_next_connection(bench: Bench) -> None:
    lane = await bench.ready()
    read, write, later = await sent(lane, GET, INCR, GET)

    bench.wire.reply(b"+1\r\n" + NO + b"+old\r\n")
    await settle()

    assert read.got == b"+1\r\n"
    assert len(bench.dial.wires) == 2
    assert bench.wire.take() == INCR + GET
    bench.wire.reply(b":1\r\n+new\r\n")
    assert (write.got, later.got) == (b":1\r\n", b"+new\r\n")


async def test_of_a_run_the_part_behind_the_answers_is_asked_again(bench: Bench) -> None:
    lane = await bench.ready()
    (run,) = await sent(lane, GET + INCR + GET, want=3)

    bench.wire.reply(b"+1\r\n" + NO)
    await settle()

    assert bench.wire.take() == INCR + GET
    bench.wire.reply(b":1\r\n+2\r\n")
    assert run.got == b"+1\r\n:1\r\n+2\r\n"


async def test_what_had_not_left_comes_behind_it(bench: Bench) -> None:
    lane = await bench.ready()
    await sent(lane, INCR)
    later = Tray(1)
    lane.send(GET, later)

    bench.wire.reply(NO)
    await settle()

    assert bench.wire.take() == INCR + GET
    assert not later.filled


@pytest.mark.parametrize("at", range(1, 10))
async def test_a_refusal_in_two_pieces_is_one(bench: Bench, at: int) -> None:
    lane = await bench.ready()
    read, write = await sent(lane, GET, INCR)

    bench.wire.reply(b"+1\r\n" + NO[:at], NO[at:])
    await settle()

    assert read.got == b"+1\r\n"
    assert not write.got
    assert bench.wire.take() == INCR


async def test_a_value_that_looks_like_a_refusal_is_a_value(bench: Bench) -> None:
    lane = await bench.ready()
    reply = b"$%d\r\n%b\r\n" % (len(NO), NO)
    first, second, third = await sent(lane, GET, GET, GET)

    bench.wire.reply(reply, b"*1\r\n" + NO, b"$3\r\na-R\r\n")

    assert (first.got, second.got, third.got) == (reply, b"*1\r\n" + NO, b"$3\r\na-R\r\n")
    assert len(bench.dial.wires) == 1


@pytest.mark.parametrize("request_", [EVAL, encode([b"EXEC"]), encode([b"fcall", b"f", b"0"])])
async def test_a_script_may_say_what_it_likes(bench: Bench, request_: bytes) -> None:
    lane = await bench.ready()
    script, write = await sent(lane, request_, INCR)

    bench.wire.reply(NO, b":1\r\n")

    assert (script.got, write.got) == (NO, b":1\r\n")
    await settle()
    assert bench.wire.take().endswith(encode([b"ROLE"]))
    bench.wire.reply(b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n")
    assert len(bench.dial.wires) == 1


async def test_where_the_server_says_so_too_the_lane_is_lost(bench: Bench) -> None:
    lane = await bench.ready()
    script, other, later = await sent(lane, EVAL, EVAL, GET)
    bench.wire.reply(NO + NO)
    await settle()
    assert bench.wire.take().endswith(GET + encode([b"ROLE"]))

    bench.wire.reply(b"+1\r\n*5\r\n$5\r\nslave\r\n")
    bench.wire.reply(b"$1\r\nh\r\n:1\r\n$1\r\nx\r\n:0\r\n")
    await settle()

    assert (script.got, other.got, later.got) == (NO, NO, b"+1\r\n")
    assert len(bench.dial.wires) == 2


async def test_a_script_of_our_own_is_asked_again(bench: Bench) -> None:
    lane = await bench.ready()
    replies: list[Reply] = []
    lane.ask(replies.append, b"EVALSHA", b"sha", b"0")
    await settle()
    bench.wire.take()

    bench.wire.reply(NO)
    await settle()

    bench.wire.expect(b"EVALSHA", b"sha", b"0")
    bench.wire.reply(b":1\r\n")
    assert replies == [b":1\r\n"]


async def test_on_the_tracked_lane_what_such_a_script_reads_is_remembered_again(
    bench: Bench,
) -> None:
    lane = await bench.ready(use=Use.TRACKED)
    replies: list[Reply] = []
    lane.ask(replies.append, b"CLIENT", b"CACHING", b"YES")
    lane.ask(replies.append, b"EVALSHA", b"sha", b"0")
    await settle()
    bench.wire.take()

    bench.wire.reply(b"+OK\r\n" + NO)
    await settle()

    bench.wire.expect(b"CLIENT", b"CACHING", b"YES")
    bench.wire.expect(b"EVALSHA", b"sha", b"0")
    bench.wire.reply(b"+OK\r\n:1\r\n")
    assert replies == [b"+OK\r\n", b":1\r\n"]


async def test_what_a_replica_has_done_too_is_not_done_twice(bench: Bench) -> None:
    lane = await bench.ready()
    write, publish, later = await sent(lane, INCR, PUBLISH, GET)

    bench.wire.reply(NO)
    await settle()

    assert bench.wire.take() == INCR + GET
    assert b"the server has become a replica" in publish.error
    assert not write.filled
    assert not later.filled


async def test_the_rest_of_a_transaction_is_not_run_alone(bench: Bench) -> None:
    lane = await bench.ready()
    multi, end = encode([b"MULTI"]), encode([b"EXEC"])
    whole, other = Tray(4), Tray(4)
    lane.send(multi + INCR + GET + end, whole)
    lane.send(multi + INCR + GET + end, other)
    await settle()
    bench.wire.take()

    bench.wire.reply(b"+OK\r\n" + NO + b"+QUEUED\r\n-EXECABORT no\r\n")
    await settle()

    assert whole.got == b"+OK\r\n"
    assert whole.error.count(b"the server has become a replica") == 1
    assert bench.wire.take() == multi + INCR + GET + end  # the other one, which is whole
    assert not other.filled


async def test_behind_a_transaction_that_is_over_all_is_asked_again(bench: Bench) -> None:
    lane = await bench.ready()
    over = encode([b"MULTI"]) + GET + encode([b"EXEC"])
    (run,) = await sent(lane, over + INCR, want=4)
    bench.wire.take()

    bench.wire.reply(b"+OK\r\n+QUEUED\r\n*1\r\n$1\r\nv\r\n" + NO)
    await settle()

    assert bench.wire.take() == INCR
    assert not run.error


async def test_a_lent_lane_is_over(bench: Bench) -> None:
    lane = await bench.ready(lent=True)
    write, later = await sent(lane, INCR, GET)

    bench.wire.reply(NO)
    await settle()

    assert lane.state is LaneState.CLOSED
    assert b"the server has become a replica" in write.error
    assert later.filled == 1
    assert len(bench.owner.lost) == 1
    assert len(bench.dial.wires) == 1


async def test_what_is_answered_is_not_kept(bench: Bench) -> None:
    lane = await bench.ready()
    for _ in range(3):
        await sent(lane, INCR, INCR)
        bench.wire.reply(b":1\r\n:2\r\n")

    assert not lane._sent


async def test_behind_a_slot_that_closes_the_lane_nothing_is_heard(bench: Bench) -> None:
    lane = await bench.ready()
    lane.ask(lambda _: lane.close(), b"PING")
    (write,) = await sent(lane, INCR)

    bench.wire.reply(b"+PONG\r\n" + NO)

    assert write.filled == 1
    assert len(bench.dial.wires) == 1


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (GET + INCR, [(0, b"GET"), (len(GET), b"INCR")]),
        (encode([b"incr", b"n"]), [(0, b"INCR")]),
        (GET[:-1], None),
        (b"*1\r\n:1\r\n", None),
        (b"", []),
    ],
)
def test_requests_are_told_apart(data: bytes, found: Sequence[tuple[int, bytes]] | None) -> None:
    assert requests_in(data) == found


async def test_a_read_in_flight_is_asked_of_the_new_master(bench: Bench) -> None:
    bench.dial.reads = TABLE.repeatable
    lane = await bench.ready()
    queue = Queue()
    slot = RunSlot(queue, 1)
    queue.push_slot(slot)
    write = Tray()
    lane.send(INCR, write)
    lane.send(GET, slot)
    await settle()

    lane.cut(UpstreamLost("the master is another"))
    await settle()

    assert write.error
    wire = bench.dial.wires[-1]
    assert wire.take() == GET
    wire.reply(b"$1\r\nv\r\n")
    assert queue.took() == b"$1\r\nv\r\n"
