"""Answers leave in the order of asking, whatever order they come in."""

from __future__ import annotations

from nearhit.proxy.cluster.replies import Replies
from nearhit.proxy.errors import UpstreamLost


class Reader:
    def __init__(self) -> None:
        self.ready = 0
        self.why = ""
        self.replies = Replies(self, self._ready, self._broken)

    def _ready(self) -> None:
        self.ready += 1

    def _broken(self, why: str) -> None:
        self.why = why


def test_answers_leave_in_the_order_of_asking() -> None:
    replies = Reader().replies
    first, second = replies.place(), replies.place()

    second.fill(b"2")
    assert replies.take() == b""
    replies.say(b"3")
    first.fill(b"1")

    assert replies.take() == b"123"
    assert not replies.owing


def test_the_front_is_handed_out_in_pieces() -> None:
    reader = Reader()
    place = reader.replies.place()

    place.feed(b"a")
    assert reader.replies.take() == b"a"
    assert reader.replies.owing
    place.want = 0
    place.feed(b"b")

    assert reader.replies.take() == b"b"
    assert reader.ready == 2


def test_a_push_never_stands_inside_an_answer() -> None:
    replies = Reader().replies
    first, second = replies.place(), replies.place()

    replies.push(b"<0>")
    first.feed(b"a")
    replies.push(b"<1>")
    second.fill(b"2")
    first.want = 0
    first.feed(b"b")

    assert replies.take() == b"<0>ab<1>2"


def test_a_half_answer_that_was_handed_out_ends_the_connection() -> None:
    reader = Reader()
    place, later = reader.replies.place(), reader.replies.place()
    later.feed(b"half")
    later.fail(UpstreamLost("x"), True)
    place.feed(b"half")
    assert reader.why == ""

    place.fail(UpstreamLost("x"), True)

    assert "middle of a reply" in reader.why


def test_a_half_answer_that_waited_is_replaced_by_the_error() -> None:
    replies = Reader().replies
    first, second = replies.place(), replies.place()
    second.feed(b"half")
    second.fail(UpstreamLost("x"), True)
    first.fill(b"1")

    assert replies.take() == b"1" + UpstreamLost("x").line
