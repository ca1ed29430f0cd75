"""The place of a read whose value may be stale."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from nearhit.proxy.errors import UpstreamLost
from nearhit.proxy.hot.own import GetOrSetSlot
from nearhit.proxy.session.acts.timed import UNKNOWN, WAITS_MAX, TimedPlace, Told

from tests.answering import Queue

VALUE = b"$5\r\nvalue\r\n"


class Read:
    """A GET behind its PTTL; stale below 10 ms, and waited for where ``soft``."""

    def __init__(self, soft: bool = False) -> None:
        self.soft = soft
        self.told = Told()
        self.queue = Queue()
        self.seen_ms: list[int] = []
        self.given: list[tuple[bytes, int]] = []
        self.missed = 0
        self.place = TimedPlace(self.queue, False, b"k", self.told, self, self._newest)
        self.queue.push_slot(self.place)
        self.slot = GetOrSetSlot(self.place, None, self._missed, self, b"k", "a command")

    def timed(self, key: bytes) -> bool:
        return True

    def softly(self, key: bytes, ttl_ms: int) -> bool:
        assert key == b"k"
        return self.soft and 0 <= ttl_ms < 10

    def seen(self, key: bytes, ttl_ms: int) -> None:
        self.seen_ms.append(ttl_ms)

    async def newest(self, key: bytes, value: bytes, ttl_ms: int) -> bytes | None:
        raise NotImplementedError

    async def newest_of(
        self, found: Mapping[bytes, tuple[bytes, int]]
    ) -> Mapping[bytes, bytes | None]:
        raise NotImplementedError

    def _newest(self, place: TimedPlace, value: bytes, ttl_ms: int) -> None:
        assert place is self.place
        self.given.append((value, ttl_ms))

    def _missed(self, slot: GetOrSetSlot) -> None:
        self.missed += 1
        if slot.why is not None:
            slot.place.fill(slot.why.line)

    def lasts(self, *chunks: bytes) -> None:
        for at, chunk in enumerate(chunks):
            self.told.want = int(at < len(chunks) - 1)
            self.told.feed(chunk)

    def feed(self, *chunks: bytes) -> None:
        for at, chunk in enumerate(chunks):
            self.slot.want = int(at < len(chunks) - 1)
            self.slot.feed(chunk)


@pytest.mark.parametrize("chunks", [(b":5\r\n",), (b":", b"5", b"\r\n")])
def test_a_value_is_told_with_how_long_it_lasts(chunks: tuple[bytes, ...]) -> None:
    read = Read()
    read.lasts(*chunks)
    read.feed(b"$5\r\n", b"val", b"ue\r\n")

    assert read.queue.took() == VALUE
    assert read.seen_ms == [5]
    assert not read.given


@pytest.mark.parametrize("reply", [b"-NOPERM x\r\n", b"+odd\r\n"])
def test_where_the_server_does_not_say_it_is_not_known(reply: bytes) -> None:
    read = Read(soft=True)
    read.lasts(reply)
    read.feed(VALUE)

    assert read.queue.took() == VALUE
    assert read.seen_ms == [UNKNOWN]


def test_an_error_is_no_value() -> None:
    read = Read(soft=True)
    read.lasts(b":5\r\n")
    read.feed(b"-WRONGTYPE", b" x\r\n")

    assert read.queue.took() == b"-WRONGTYPE x\r\n"
    assert not read.seen_ms


def test_nil_is_loaded_and_what_fills_the_place_is_no_stale_value() -> None:
    read = Read(soft=True)
    read.lasts(b":5\r\n")
    read.feed(b"$-1\r\n")
    assert read.missed == 1
    read.place.fill(VALUE)

    assert read.queue.took() == VALUE
    assert not read.seen_ms
    assert not read.given


def test_a_stale_value_may_wait_whole() -> None:
    read = Read(soft=True)
    read.lasts(b":5\r\n")
    read.feed(b"$5\r\n", b"val", b"ue\r\n")
    assert read.queue.took() == b""
    assert read.given == [(VALUE, 5)]
    read.place.fill(b"$3\r\nnew\r\n")

    assert read.queue.took() == b"$3\r\nnew\r\n"
    assert not read.seen_ms


def test_a_large_one_does_not_wait() -> None:
    read = Read(soft=True)
    read.lasts(b":5\r\n")
    head, tail = b"$%d\r\n" % (WAITS_MAX + 10), b"x" * WAITS_MAX
    read.feed(head, tail, b"y" * 10, b"\r\n")

    assert read.queue.took() == head + tail + b"y" * 10 + b"\r\n"
    assert read.seen_ms == [5]
    assert not read.given


def test_with_its_lane_it_is_lost() -> None:
    read, why = Read(), UpstreamLost("a test")
    read.told.fail(why, False)
    read.slot.fail(why, False)

    assert read.told.want == 0
    assert read.queue.took() == why.line
