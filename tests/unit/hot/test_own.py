"""The places of our own commands, and the read that most of them are."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import UpstreamLost
from nearhit.proxy.hot.answers import RunSlot
from nearhit.proxy.hot.fills import Fill
from nearhit.proxy.hot.own import GetOrSetSlot, TaskSlot
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
        self.missed.append(slot.key)

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
