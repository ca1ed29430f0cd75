"""Globs against a real server's KEYS, and the time that hostile ones take."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nearhit.proxy.keys.glob import closed, compile_glob, literal_prefix
from nearhit.proxy.keys.ours import lease_glob, lease_key, leased_key

from tests.servers import server_binary, upstream

MATCHES = [
    (b"", [b""], [b"a"]),
    (b"*", [b"", b"a", b"\n", b"a\nb\xff"], []),
    (b"**", [b"a", b"ab"], [b""]),
    (b"a*", [b"a", b"ab", b"a\n"], [b"", b"b"]),
    (b"*a", [b"a", b"ba", b"aba"], [b"ab"]),
    (b"a*b*c", [b"abc", b"abbc", b"axbxc"], [b"acb", b"ac"]),
    (b"*ab*ab", [b"abab", b"xabxab"], [b"ab", b"xab", b"aab"]),
    (b"?", [b"a", b"\n", b"\x00", b"\xff"], [b"", b"ab"]),
    (b"h[ae]llo", [b"hallo", b"hello"], [b"hillo", b"h[ae]llo"]),
    (b"h[^e]llo", [b"hallo", b"h\nllo"], [b"hello", b"hllo"]),
    (b"[a-c]", [b"a", b"b", b"c"], [b"d", b"-"]),
    (b"[c-a]", [b"a", b"b", b"c"], [b"d"]),
    (b"[a\\-c]", [b"a", b"-", b"c"], [b"b", b"\\"]),
    (b"[\\]]", [b"]"], [b"\\"]),
    (b"[]", [], [b"", b"]", b"[]"]),
    (b"[]a]", [], [b"a", b"]", b"a]"]),
    (b"[^]", [b"x", b"]"], [b"", b"xx"]),
    (b"[^]a]", [b"xa]"], [b"x", b"a"]),
    (b"[a-]", [b"a", b"]", b"^"], [b"-", b"b"]),  # from a down to ], and never closed
    (b"[abc", [b"a", b"c"], [b"[abc", b"d"]),
    (b"[", [], [b"["]),
    (b"[^", [b"x"], [b"", b"[^"]),
    (b"a\\", [b"a\\"], [b"a"]),
    (b"\\*\\?\\[", [b"*?["], [b"abc"]),
    (b"\\a", [b"a"], [b"\\a"]),
    (b"a+b.c", [b"a+b.c"], [b"aab.c", b"a+bxc"]),
    (b"{a}$^|()", [b"{a}$^|()"], [b"a"]),
    (b"A", [b"A"], [b"a"]),
]


@pytest.mark.parametrize(("glob", "found", "missed"), MATCHES)
def test_a_glob_finds_what_redis_documents(
    glob: bytes, found: list[bytes], missed: list[bytes]
) -> None:
    pattern = compile_glob(glob)

    assert [key for key in found if not pattern.fullmatch(key)] == []
    assert [key for key in missed if pattern.search(key)] == []


@pytest.fixture(scope="module")
def server() -> Iterator[redis.Redis]:
    kind = "redis" if server_binary("redis") else "valkey"
    with upstream(kind) as process, redis.Redis(port=process.port) as client:
        yield client


# What globs are made of, and little else, so that they meet; bytes above 127 stand in no range
# with one below, which depends on the machine.
LETTERS = st.sampled_from([b"a", b"b", b"c", b"\n", b"\xfe", b"{", b"}"])
SIGNS = st.sampled_from([b"*", b"?", b"[", b"]", b"^", b"\\", b"[a-c", b"[^", b"c-a", b"**"])
GLOBS = st.lists(LETTERS | SIGNS, max_size=10).map(b"".join)
# Never the empty key: only ``*`` itself finds it, and that is in the table.
KEYS = st.lists(LETTERS | st.sampled_from([b"]", b"[", b"^", b"\\", b"-"]), min_size=1, max_size=6)


@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(glob=GLOBS, keys=st.sets(KEYS.map(b"".join), min_size=1, max_size=20))
def test_a_glob_finds_what_the_server_finds(
    glob: bytes, keys: set[bytes], server: redis.Redis
) -> None:
    ours = {key for key in keys if compile_glob(glob).fullmatch(key)}

    with server.pipeline(transaction=False) as pipe:
        pipe.flushall().mset(dict.fromkeys(keys, b"")).keys(glob).keys(closed(glob))
        pipe.flushall().mset({lease_key(key): b"" for key in keys}).keys(lease_glob(glob))
        _, _, found, found_closed, _, _, leases = pipe.execute()

    assert set(found) == ours
    assert set(found_closed) == ours
    # It may find others', for which the caller looks; it misses none.
    assert {name for name in leases if leased_key(name) in ours} == set(map(lease_key, ours))


@pytest.mark.parametrize(
    "glob", [b"a*" * 60 + b"b", b"*a" * 60 + b"*b", b"*[ab]" * 60 + b"*b*c", b"*" * 200 + b"b"]
)
def test_no_glob_makes_the_time_explode(glob: bytes) -> None:
    pattern, key = compile_glob(glob), b"a" * 100_000

    began = time.process_time()
    found = pattern.fullmatch(key)

    assert found is None
    assert time.process_time() - began < 1  # with backtracking: longer than the universe


def test_a_long_glob_takes_time_by_its_length_times_that_of_the_key() -> None:
    pattern, key = compile_glob(b"*" + b"a" * 1000 + b"b"), b"a" * 10_000

    began = time.process_time()

    assert pattern.fullmatch(key) is None
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("glob", "prefix"),
    [
        (b"", b""),
        (b"user:*", b"user:"),
        (b"user:1", b"user:1"),
        (b"*", b""),
        (b"l\\ock:{?", b"lock:{"),
        (b"lock:[{]*", b"lock:"),
    ],
)
def test_the_literal_prefix_ends_before_the_first_wildcard(glob: bytes, prefix: bytes) -> None:
    assert literal_prefix(glob) == prefix
