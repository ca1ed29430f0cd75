"""What RESP2 clients get of RESP3 replies, in any split, and what is kept of hashes and others."""

from __future__ import annotations

import pytest
from nearhit.proxy.hot.anyreads import flat_for, words_of
from nearhit.proxy.near.cache import NearCache
from nearhit.proxy.resp.requests import encode

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
