"""The places of our own commands, and the read that most of them are."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import ProxyError, UpstreamLost
from nearhit.proxy.hot.answers import Answers, RunSlot
from nearhit.proxy.hot.fills import Fill
from nearhit.proxy.hot.lane import LaneCore
from nearhit.proxy.hot.own import GetOrSetRun, GetOrSetSlot, TaskSlot, run_of
from nearhit.proxy.near.cache import NearCache, Space

from tests.answering import Queue

WHY = UpstreamLost("a test")
VALUE = b"$5\r\nvalue\r\n"


class Asked:
    """A GETORSET whose read is on its way."""

    def __init__(self, space: Space | None = None, muted: bool = False) -> None:
        self.queue = Queue()
        self.place = TaskSlot(self.queue, muted)
        self.queue.push_slot(self.place)
        self.missed: list[bytes] = []
        self.fill = None
        if space is not None:
            ticket = space.reserve(b"k")
            assert ticket is not None
            self.fill = Fill(space, ticket, 100.0)
            self.fill.ttl_ms = -1
        self.slot = GetOrSetSlot(self.place, self.fill, self._missed, self, b"k", "a command")

    def _missed(self, slot: GetOrSetSlot) -> None:
        assert (slot.place, slot.asker, slot.command) == (self.place, self, "a command")
        if slot.why is None:
            self.missed.append(slot.key)
        else:
            slot.place.fill(slot.why.line)

    def feed(self, *chunks: bytes) -> None:
        for at, chunk in enumerate(chunks):
            self.slot.want = int(at < len(chunks) - 1)
            self.slot.feed(chunk)

    @property
    def counted(self) -> tuple[int, int]:
        return self.queue.turn.hits, self.queue.turn.misses


@pytest.fixture
def space() -> Space:
    return NearCache(1 << 20).space(0, None)


def test_a_place_is_filled_in_one_piece_or_as_it_comes() -> None:
    queue = Queue()
    whole, parts, behind = TaskSlot(queue, False), TaskSlot(queue, False), RunSlot(queue, 1)
    for slot in (whole, parts, behind):
        queue.push_slot(slot)

    whole.fill(b"+1\r\n")
    parts.pass_on(b"+", 1)
    assert queue.took() == b"+1\r\n+"
    parts.pass_on(b"2\r\n", 0)

    assert queue.took() == b"2\r\n"
    assert queue.head is behind


def test_a_muted_place_is_filled_with_nothing() -> None:
    asked = Asked(muted=True)

    asked.feed(VALUE)

    assert asked.queue.took() == b""
    assert asked.queue.head is None
    assert asked.counted == (1, 0)


@pytest.mark.parametrize("cut", range(1, len(VALUE)))
def test_a_value_is_passed_on_and_kept(space: Space, cut: int) -> None:
    asked = Asked(space)

    asked.feed(VALUE[:cut], VALUE[cut:])

    assert asked.queue.took() == VALUE
    assert asked.counted == (1, 0)
    assert asked.missed == []
    entry = space.entries.get(b"k")
    assert entry is not None
    assert entry.reply == VALUE


@pytest.mark.parametrize("reply", [(b"$-1\r\n",), (b"$", b"-1\r\n"), (b"_", b"\r", b"\n")])
def test_nil_is_for_whoever_loads_it(space: Space, reply: tuple[bytes, ...]) -> None:
    asked = Asked(space)

    asked.feed(*reply)

    assert asked.missed == [b"k"]
    assert asked.queue.took() == b""
    assert asked.queue.head is asked.place
    assert asked.counted == (0, 1)
    assert not space.tickets


def test_an_error_is_passed_on_and_nothing_kept(space: Space) -> None:
    asked = Asked(space)

    asked.feed(b"-WRONG", b"TYPE no\r\n")

    assert asked.queue.took() == b"-WRONGTYPE no\r\n"
    assert asked.counted == (0, 0)
    assert not space.tickets
    assert not space.entries


@pytest.mark.parametrize(
    ("part", "cut"),
    [(b"", False), (b"$", False), (b"$-", False), (b"$5\r\n", True), (b"-E", True)],
)
@pytest.mark.parametrize("fills", [False, True])
def test_with_its_lane_a_read_is_lost(space: Space, part: bytes, cut: bool, fills: bool) -> None:
    asked = Asked(space if fills else None)
    if part:
        asked.slot.feed(part)

    asked.slot.fail(WHY, bool(part))

    assert bool(asked.queue.aborted) is cut
    assert asked.queue.took() == (part if cut else b"") + WHY.line
    assert asked.slot.want == 0
    assert not space.tickets


# --- A slice of them


class Asker:
    """Who fills the places of what is not there, when the test says so."""

    def __init__(self) -> None:
        self.missed_keys: list[bytes] = []
        self.lost_keys: list[bytes] = []
        self.places: list[TaskSlot] = []

    def used(self, session: Answers) -> None:
        raise NotImplementedError

    def reads_through(self, session: Answers, key: bytes) -> bool:
        raise NotImplementedError

    def timed(self, session: Answers, key: bytes) -> bool:
        raise NotImplementedError

    def away(self, session: Answers) -> bool:
        raise NotImplementedError

    def fill(self, session: Answers, key: bytes, fill: Fill | None) -> None:
        raise NotImplementedError

    def missed(self, session: Answers, place: TaskSlot, key: bytes, why: ProxyError | None) -> None:
        if why is not None:
            self.lost_keys.append(key)
            place.fill(why.line)
            return
        self.missed_keys.append(key)
        self.places.append(place)


def give(lane: LaneCore, run: GetOrSetRun, data: bytes) -> None:
    """As a lane does."""
    assert lane.cutter.cut(data, 0, run.want) == len(data)
    run.want -= lane.cutter.done
    run.feed(data)


class Sliced:
    """GETORSETs whose reads are on their way in one piece, and what is asked behind them."""

    def __init__(self, *keys: bytes, muted: bool = False) -> None:
        self.queue = Queue()
        self.asker = Asker()
        self.lane = LaneCore(self.queue.later.append)
        self.run = run_of(self.queue, self.lane, [*keys], muted, self.asker)
        self.queue.push_slot(self.run.place)
        self.behind = RunSlot(self.queue, 1)
        self.queue.push_slot(self.behind)

    def feed(self, data: bytes) -> None:
        give(self.lane, self.run, data)

    def end(self) -> bytes:
        """All that the client has got when what is behind is answered too."""
        self.behind.want = 0
        self.behind.feed(b"+behind\r\n")
        assert self.queue.head is None
        assert self.queue.tail is None
        assert self.queue.owed == 0
        return self.queue.took()

    @property
    def counted(self) -> tuple[int, int]:
        return self.queue.turn.hits, self.queue.turn.misses


REPLIES = VALUE + b"_\r\n" + b"-WRONGTYPE no\r\n" + b"$-1\r\n" + b"$0\r\n\r\n"
SLICED = VALUE + b"+1\r\n" + b"-WRONGTYPE no\r\n" + b"+2\r\n" + b"$0\r\n\r\n"


@pytest.mark.parametrize("cut", range(len(REPLIES)))
def test_of_a_slice_what_is_nil_is_loaded_in_its_place(cut: int) -> None:
    asked = Sliced(b"a", b"b", b"c", b"d", b"e")

    for part in (REPLIES[:cut], REPLIES[cut:]):
        if part:
            asked.feed(part)
    assert asked.asker.missed_keys == [b"b", b"d"]
    assert asked.queue.took() == VALUE
    first, second = asked.asker.places
    second.fill(b"+2\r\n")
    first.fill(b"+1\r\n")

    assert asked.end() == SLICED[len(VALUE) :] + b"+behind\r\n"
    assert asked.counted == (2, 2)


def test_a_slice_byte_by_byte() -> None:
    asked = Sliced(b"a", b"b", b"c", b"d", b"e")

    for at in range(len(REPLIES)):
        asked.feed(REPLIES[at : at + 1])
        for place in asked.asker.places:
            place.fill(b"+%d\r\n" % len(asked.asker.missed_keys))
        asked.asker.places.clear()

    assert asked.end() == SLICED + b"+behind\r\n"
    assert asked.counted == (2, 2)


def test_a_slice_of_nothing_but_nil_is_loaded_each_in_its_place() -> None:
    asked = Sliced(b"a", b"b", b"c")

    asked.feed(b"_\r\n_\r\n_\r\n")
    assert asked.asker.missed_keys == [b"a", b"b", b"c"]
    for place in reversed(asked.asker.places):
        place.fill(b":%d\r\n" % asked.asker.places.index(place))

    assert asked.end() == b":0\r\n:1\r\n:2\r\n+behind\r\n"


def test_behind_others_a_slice_waits_for_its_turn() -> None:
    asked = Sliced(b"a")
    run = run_of(asked.queue, asked.lane, [b"x", b"y", b"z"], False, asked.asker)
    asked.queue.push_slot(run.place)

    give(asked.lane, run, VALUE + b"_\r\n" + VALUE)
    assert asked.queue.took() == b""
    asked.feed(VALUE)
    asked.asker.places[0].fill(b"+y\r\n")
    asked.behind.want = 0
    asked.behind.feed(b"+behind\r\n")

    assert asked.queue.took() == VALUE + b"+behind\r\n" + VALUE + b"+y\r\n" + VALUE
    assert asked.queue.owed == 0
    assert asked.queue.tail is None


def test_a_muted_slice_is_loaded_and_not_answered() -> None:
    asked = Sliced(b"a", b"b", b"c", muted=True)

    asked.feed(VALUE + b"_\r\n" + VALUE)
    asked.asker.places[0].fill(b"+1\r\n")

    assert asked.end() == b"+behind\r\n"
    assert asked.asker.missed_keys == [b"b"]


@pytest.mark.parametrize(
    ("part", "got", "cut"),
    [
        (b"", b"", False),
        (VALUE, VALUE, False),
        (VALUE + b"$", VALUE, False),
        (VALUE + b"$-", VALUE, False),
        (VALUE + b"_", VALUE, False),
        (VALUE + b"$5\r", VALUE + b"$5\r", True),
    ],
)
def test_with_its_lane_the_rest_of_a_slice_is_lost(part: bytes, got: bytes, cut: bool) -> None:
    asked = Sliced(b"a", b"b", b"c")
    if part:
        asked.feed(part)
    left = asked.run.want

    asked.run.fail(WHY, asked.lane.cutter.inside)

    assert bool(asked.queue.aborted) is cut
    assert asked.end() == got + WHY.line * left + b"+behind\r\n"
    assert asked.run.want == 0
    assert asked.asker.lost_keys == ([] if cut else [b"a", b"b", b"c"][3 - left :])


def test_behind_what_is_loaded_the_rest_of_a_slice_is_lost() -> None:
    asked = Sliced(b"a", b"b", b"c")
    asked.feed(b"_\r\n")

    asked.run.fail(WHY, False)
    asked.asker.places[0].fill(b"+1\r\n")

    assert asked.end() == b"+1\r\n" + WHY.line * 2 + b"+behind\r\n"


DOWN = b"-CLUSTERDOWN Hash slot not served\r\n"


def test_of_a_slice_what_no_node_answers_for_is_lost_in_its_place() -> None:
    asked = Sliced(b"a", b"b", b"c", b"d")

    asked.feed(VALUE + DOWN + b"_\r\n" + VALUE)
    assert (asked.asker.lost_keys, asked.asker.missed_keys) == ([b"b"], [b"c"])
    asked.asker.places[0].fill(b"+3\r\n")

    assert asked.end() == VALUE + DOWN + b"+3\r\n" + VALUE + b"+behind\r\n"
