"""Which frames of a subscribed lane are replies, and what is subscribed after them."""

from __future__ import annotations

import pytest
from nearhit.proxy.upstream.subscriptions import Channels, Confirmed


class Head:
    """The slot of a SUBSCRIBE or its kin."""

    def __init__(self, word: bytes, names: int) -> None:
        self.word = word
        self.bare = not names
        self.want = max(1, names)


class Plain:
    """The slot of any other request."""

    want = 1


def frame(word: bytes, *rest: bytes | int, mark: bytes = b"*") -> bytes:
    parts = [
        b":%d\r\n" % part if isinstance(part, int) else b"$%d\r\n%b\r\n" % (len(part), part)
        for part in (word, *rest)
    ]
    return mark + b"%d\r\n" % len(parts) + b"".join(parts)


@pytest.fixture(params=[b"*", b">"], ids=["resp2", "resp3"])
def mark(request: pytest.FixtureRequest) -> bytes:
    return bytes(request.param)


def channels_of(mark: bytes) -> Channels:
    return Channels(3 if mark == b">" else 2)


def subscribed(*names: bytes, mark: bytes = b"*") -> Channels:
    channels = channels_of(mark)
    head = Head(b"subscribe", len(names))
    for name in names:
        assert not channels.unasked(frame(b"subscribe", name, 1, mark=mark), head)
    return channels


def test_a_head_is_recognised_by_what_it_has() -> None:
    assert isinstance(Head(b"subscribe", 1), Confirmed)
    assert not isinstance(Plain(), Confirmed)


def test_confirmations_are_replies_and_counted(mark: bytes) -> None:
    channels = channels_of(mark)

    for at, word in enumerate((b"subscribe", b"psubscribe", b"ssubscribe")):
        assert channels.empty is (at == 0)
        assert not channels.unasked(frame(word, b"a\r\nb", 1, mark=mark), Head(word, 1))

    assert channels.counts == (1, 1, 1)
    assert channels.names[0] == {b"a\r\nb"}


def test_the_same_name_twice_is_one_subscription(mark: bytes) -> None:
    assert subscribed(b"a", b"a", mark=mark).counts == (1, 0, 0)


def test_unsubscribing_from_the_last_leaves_nothing(mark: bytes) -> None:
    channels = subscribed(b"a", b"b", mark=mark)
    head = Head(b"unsubscribe", 2)

    for name in (b"a", b"b"):
        assert not channels.unasked(frame(b"unsubscribe", name, 0, mark=mark), head)

    assert channels.empty


def test_a_bare_unsubscribe_is_answered_once_for_each_name(mark: bytes) -> None:
    channels = subscribed(b"a", b"b", b"c", mark=mark)
    head = Head(b"unsubscribe", 0)

    assert not channels.unasked(frame(b"unsubscribe", b"b", 2, mark=mark), head)

    assert head.want == 3
    assert not channels.unasked(frame(b"unsubscribe", b"a", 1, mark=mark), head)
    assert head.want == 3


def test_a_bare_unsubscribe_from_nothing_is_answered_once(mark: bytes) -> None:
    channels = channels_of(mark)
    head = Head(b"unsubscribe", 0)

    assert not channels.unasked(mark + b"3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n", head)

    assert head.want == 1
    assert channels.empty


@pytest.mark.parametrize("word", [b"message", b"pmessage", b"smessage"])
@pytest.mark.parametrize("head", [None, Head(b"subscribe", 1), Plain()], ids=["none", "sub", "get"])
def test_a_message_is_nobodys_reply(word: bytes, head: object, mark: bytes) -> None:
    channels = subscribed(b"a", mark=mark)

    assert channels.unasked(frame(word, b"a", b"hello", mark=mark), head)


def test_a_value_that_reads_like_a_message_is_still_a_reply_in_resp3() -> None:
    # LRANGE of a list that begins with "message", while subscribed: only pushes are messages.
    channels = subscribed(b"a", mark=b">")

    assert not channels.unasked(frame(b"message", b"a", b"hello"), Plain())


@pytest.mark.parametrize(
    "reply",
    [b"+PONG\r\n", b"$-1\r\n", b"*0\r\n", frame(b"pong", b""), b"-ERR no\r\n", b":1\r\n"],
)
def test_other_replies_are_replies(reply: bytes, mark: bytes) -> None:
    assert not subscribed(b"a", mark=mark).unasked(reply, Plain())


def test_before_any_subscription_a_message_shaped_reply_is_a_reply() -> None:
    assert not Channels().unasked(frame(b"message", b"a", b"b"), Plain())


def test_an_invalidation_is_nobodys_reply() -> None:
    push = frame(b"invalidate", mark=b">")

    assert subscribed(b"a", mark=b">").unasked(push, Plain())


def test_a_forced_unsubscription_counts_and_is_nobodys_reply() -> None:
    # sunsubscribe comes by itself when a slot moves away.
    channels = Channels(3)
    channels.unasked(frame(b"ssubscribe", b"s", 1, mark=b">"), Head(b"ssubscribe", 1))

    assert channels.unasked(frame(b"sunsubscribe", b"s", 0, mark=b">"), None)
    assert channels.empty


def test_an_error_answers_all_the_names_at_once() -> None:
    channels, head = Channels(), Head(b"subscribe", 3)

    assert not channels.unasked(b"-NOPERM no\r\n", head)

    assert head.want == 1
    assert channels.empty


def test_the_subscriptions_are_shown_as_counts() -> None:
    channels = Channels(3)
    channels.names[0].add(b"a")

    assert repr(channels) == "<Channels 1 patterns=0 shards=0 resp=3>"
