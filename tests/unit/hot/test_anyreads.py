"""What RESP2 clients get of RESP3 replies, in any split, and what is kept of hashes and others."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import UpstreamLost
from nearhit.proxy.hot.anyreads import AnySlot, flat_for, words_of
from nearhit.proxy.hot.fills import Fill
from nearhit.proxy.near.cache import NearCache, Space
from nearhit.proxy.near.index import request_name
from nearhit.proxy.resp.requests import encode

from tests.answering import Queue

PAIRS = b"*2\r\n*2\r\n$1\r\na\r\n,1.5\r\n*2\r\n$4\r\n\r\n*2\r\n,inf\r\n"
CASES = [
    ("HGETALL h", b"%1\r\n$1\r\nf\r\n$2\r\n%1\r\n", b"*2\r\n$1\r\nf\r\n$2\r\n%1\r\n"),
    ("SMEMBERS s", b"~1\r\n$1\r\n_\r\n", b"*1\r\n$1\r\n_\r\n"),
    ("HGET h f", b"_\r\n", b"$-1\r\n"),
    ("hmget h f g", b"*2\r\n_\r\n$3\r\n_\r\n\r\n", b"*2\r\n$-1\r\n$3\r\n_\r\n\r\n"),
    ("ZSCORE z m", b",-1.5\r\n", b"$4\r\n-1.5\r\n"),
    (
        "ZRANGE z 0 -1 withscores",
        PAIRS,
        b"*4\r\n$1\r\na\r\n$3\r\n1.5\r\n$4\r\n\r\n*2\r\n$3\r\ninf\r\n",
    ),
    ("HGETALL s", b"-WRONGTYPE no\r\n", b"-WRONGTYPE no\r\n"),
]


@pytest.mark.parametrize(("text", "resp3", "resp2"), CASES, ids=[case[0] for case in CASES])
def test_resp3_is_resp2_in_any_split(text: str, resp3: bytes, resp2: bytes) -> None:
    words = words_of(encode(text.encode().split()))

    for at in range(len(resp3) + 1):
        flat = flat_for(words)
        assert flat is not None
        assert flat.feed(resp3[:at]) + flat.feed(resp3[at:]) == resp2


@pytest.mark.parametrize("text", ["HLEN h", "LRANGE l 0 -1", "ZRANGE withscores 0 -1", "TYPE k"])
def test_others_are_the_same_in_both(text: str) -> None:
    assert flat_for(words_of(encode(text.encode().split()))) is None


def test_a_change_of_a_key_drops_what_all_requests_were_told_of_it() -> None:
    cache = NearCache(1 << 20)
    space = cache.space(0, None)
    other = space.other()
    names = [b"2" + encode([b"HGET", key, field]) for key in (b"h", b"i") for field in (b"f", b"g")]
    for name in names:
        ticket = other.reserve(name)
        assert ticket is not None
        assert other.fill(ticket, b"$1\r\n1\r\n", -1, 0.0)
    late = other.reserve(b"2" + encode([b"HLEN", b"h"]))
    assert late is not None

    cache.invalidate(b"h")

    assert [other.get(name, 1.0) is not None for name in names] == [False, False, True, True]
    assert not other.fill(late, b":2\r\n", -1, 0.0)
    assert other.requests is not None
    assert list(other.requests) == [b"i"]


def test_what_goes_for_room_leaves_nothing_behind() -> None:
    cache = NearCache(64_000)
    space = cache.space(0, None)
    other = space.other()
    for number in range(1000):
        ticket = other.reserve(b"3" + encode([b"HGET", b"h%d" % number, b"f"]))
        assert ticket is not None
        other.fill(ticket, b"$1\r\n1\r\n", -1, 0.0)

    assert other.requests is not None
    assert len(other.requests) == len(other.entries) == cache.entries > 0
    assert cache.used <= cache.budget
    space.flush()
    assert not space.holds()
    assert not other.requests


def test_a_key_that_looks_like_a_request_is_another() -> None:
    space = NearCache(1 << 20).space(0, None)
    name = b"2" + encode([b"HGET", b"h", b"f"])
    ticket = space.other().reserve(name)
    assert ticket is not None
    space.other().fill(ticket, b"$1\r\n1\r\n", -1, 0.0)

    assert space.get(name, 0.0) is None


def test_what_they_save_is_on_the_account_of_their_space() -> None:
    space = NearCache(1 << 20).space(0, None)
    space.other().get(b"2" + encode([b"HLEN", b"h"]), 0.0)

    space.tally()

    assert (space.hits, space.misses) == (0, 1)
    assert space.other().misses == 0


# --- AnySlot

WHY = UpstreamLost("a test")


@pytest.fixture
def space() -> Space:
    return NearCache(1 << 20, value_max=100).space(0, None).other()


def asked(
    queue: Queue, space: Space | None, text: str, *, ttl_ms: int = -1, flat: bool = True
) -> tuple[AnySlot, bytes]:
    """The slot of a read whose PTTL was answered so, and by what name its reply is kept."""
    request = encode(text.encode().split())
    name = request_name(request, flat)
    ticket = space.reserve(name) if space is not None else None
    fill = None
    if space is not None and ticket is not None:
        fill = Fill(space, ticket, 100.0)
        fill.want, fill.ttl_ms = 0, ttl_ms
    slot = AnySlot(queue, words_of(request), fill, flat)
    queue.push_slot(slot)
    return slot, name


def feed(slot: AnySlot, *chunks: bytes) -> None:
    for at, chunk in enumerate(chunks):
        slot.want = int(at < len(chunks) - 1)
        slot.feed(chunk)


def kept(space: Space, name: bytes, now: float = 100.5) -> bytes | None:
    entry = space.get(name, now)
    return None if entry is None else entry.reply


def test_what_is_kept_is_what_was_handed_out(space: Space) -> None:
    queue = Queue()
    slot, name = asked(queue, space, "ZSCORE z m")

    feed(slot, b",-1", b".5\r\n")

    assert queue.took() == b"$4\r\n-1.5\r\n"
    assert kept(space, name) == b"$4\r\n-1.5\r\n"


def test_resp3_is_kept_as_it_came(space: Space) -> None:
    queue = Queue()
    slot, name = asked(queue, space, "SMEMBERS s", flat=False)

    feed(slot, b"~1\r\n$1\r\na\r\n")

    assert queue.took() == kept(space, name) == b"~1\r\n$1\r\na\r\n"


@pytest.mark.parametrize("ttl_ms", [-1, 60_000])
def test_what_hashes_say_is_kept_for_a_second(space: Space, ttl_ms: int) -> None:
    slot, name = asked(Queue(), space, "HGET h f", ttl_ms=ttl_ms)

    feed(slot, b"$1\r\n1\r\n")

    assert kept(space, name, 100.9) == b"$1\r\n1\r\n"
    assert kept(space, name, 101.1) is None


@pytest.mark.parametrize(
    ("text", "reply", "stays"),
    [
        ("HLEN h", b":0\r\n", True),
        ("HMGET h f g", b"*2\r\n_\r\n_\r\n", True),
        ("TYPE k", b"+none\r\n", True),
        ("HLEN h", b":1\r\n", False),  # it came between PTTL and this
        ("HMGET h f g", b"*2\r\n_\r\n$1\r\n1\r\n", False),
    ],
)
def test_of_a_key_that_is_not_there_only_that_is_kept(
    space: Space, text: str, reply: bytes, stays: bool
) -> None:
    slot, name = asked(Queue(), space, text, ttl_ms=-2, flat=False)

    feed(slot, reply)

    assert kept(space, name) == (reply if stays else None)
    assert not space.tickets


def test_an_error_is_handed_on_and_not_kept(space: Space) -> None:
    queue = Queue()
    slot, name = asked(queue, space, "HGET h f")

    feed(slot, b"-WRONGTYPE no\r\n")

    assert queue.took() == b"-WRONGTYPE no\r\n"
    assert kept(space, name) is None
    assert not space.tickets


def test_a_large_reply_is_passed_on_as_it_comes_and_not_kept(space: Space) -> None:
    queue = Queue()
    slot, name = asked(queue, space, "HGETALL h")
    slot.want = 1
    slot.feed(b"%1\r\n$1\r\nf\r\n$200\r\n" + b"x" * 50)
    assert queue.took() == b""

    slot.feed(b"x" * 100)
    assert queue.took() == b"*2\r\n$1\r\nf\r\n$200\r\n" + b"x" * 150
    feed(slot, b"x" * 50 + b"\r\n")

    assert queue.took() == b"x" * 50 + b"\r\n"
    assert kept(space, name) is None


def test_without_a_fill_it_is_made_resp2_as_it_comes() -> None:
    queue = Queue()
    slot, _ = asked(queue, None, "HGET h f")

    feed(slot, b"_", b"\r\n")

    assert queue.took() == b"$-1\r\n"


def test_a_lost_reply_is_an_error_and_leaves_its_key_to_others(space: Space) -> None:
    queue = Queue()
    slot, _ = asked(queue, space, "HGET h f")
    slot.want = 1
    slot.feed(b"$5\r\nab")

    slot.fail(WHY, True)

    assert not queue.aborted  # nothing of it has been handed on
    assert queue.took() == WHY.line
    assert not space.tickets


def test_a_reply_that_breaks_off_ends_its_client() -> None:
    queue = Queue()
    slot, _ = asked(queue, None, "LRANGE l 0 -1")
    slot.want = 1
    slot.feed(b"*1\r\n$5\r\nab")

    slot.fail(WHY, True)

    assert queue.aborted
