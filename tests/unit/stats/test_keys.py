"""Which keys are read most: estimated, of lately, and in bounded memory."""

from __future__ import annotations

import pytest
from nearhit.proxy.stats.keys import (
    BIG,
    HOT,
    LARGE,
    MINUTE,
    MOST,
    NAME_MOST,
    PREFIX,
    SHOWN,
    Keys,
    prefix_of,
    seen_of,
)


def names(keys: Keys, view: str = HOT) -> list[tuple[bytes, int]]:
    return [(one.name, round(one.reads)) for one in keys.top(view)]


def test_a_sample_stands_for_many_reads_of_a_key_and_of_its_prefix() -> None:
    keys = Keys()

    keys.read(0, b"user:1", 64)
    keys.read(0, b"user:2", 64)
    keys.read(0, b"user:2", 128)

    assert names(keys) == [(b"user:2", 192), (b"user:1", 64)]
    assert names(keys, PREFIX) == [(b"user:", 256)]
    assert keys.top(PREFIX)[0].example == b"user:2"
    assert repr(keys) == "<Keys hotkeys=2 bigkeys=0 prefixes=1>"


def test_hits_and_misses_are_of_all_reads_as_of_those_whose_replies_were_seen() -> None:
    keys = Keys()
    keys.read(0, b"k", 1000)
    assert keys.top(HOT)[0].found == (None, None)

    for _ in range(3):
        keys.got(0, b"k", 30, hit=True)
    keys.got(0, b"k", 5, hit=False)

    (one,) = keys.top(HOT)
    assert one.found == (750, 250)
    assert one.size == 30


def test_of_a_prefix_the_size_is_an_average() -> None:
    keys = Keys()
    keys.got(0, b"p:1", 100, hit=True)
    keys.got(0, b"p:2", 200, hit=True)

    assert keys.top(PREFIX)[0].size == 150


def test_large_values_are_kept_until_they_are_small() -> None:
    keys = Keys()
    keys.wrote(0, b"small", BIG - 1)
    keys.wrote(0, b"large", BIG)
    keys.got(0, b"larger", 5 * BIG, hit=True)
    assert [one.name for one in keys.top(LARGE)] == [b"larger", b"large"]

    keys.got(0, b"larger", 10, hit=True, whole=False)  # a field of it
    keys.got(0, b"large", 2 * BIG, hit=True, whole=False)
    keys.got(0, b"large", BIG, hit=True, whole=False)
    assert [(one.name, one.size) for one in keys.top(LARGE)] == [
        (b"larger", 5 * BIG),
        (b"large", 2 * BIG),
    ]

    keys.wrote(0, b"larger", 1)
    assert [one.name for one in keys.top(LARGE)] == [b"large"]


def test_each_minute_numbers_weigh_half_and_what_is_not_seen_is_forgotten() -> None:
    keys = Keys()
    keys.read(0, b"k", 64)
    keys.wrote(0, b"large", BIG)
    keys.tick(100.0)
    keys.tick(100.0 + MINUTE - 1)
    assert names(keys) == [(b"k", 64)]

    keys.tick(100.0 + MINUTE)
    assert names(keys) == [(b"k", 32)]

    for minute in range(2, 63):
        keys.tick(100.0 + minute * MINUTE)
    assert names(keys) == names(keys, PREFIX) == []
    assert keys.top(LARGE) == []


def test_memory_is_bounded_and_the_hot_ones_stay() -> None:
    keys = Keys()
    for n in range(10):
        keys.read(0, b"hot:%d" % n, 1000 + n)
    for n in range(5 * MOST):
        keys.read(0, b"cold%d" % n, 1)
        assert len(keys._views[HOT]) <= MOST
    keys.read(0, b"k" * (NAME_MOST + 1), 10**6)
    keys.got(0, b"k" * (NAME_MOST + 1), 10**6, hit=True)
    keys.wrote(0, b"k" * (NAME_MOST + 1), 10**6)

    top = names(keys)

    assert top[:10] == [(b"hot:%d" % n, 1000 + n) for n in reversed(range(10))]
    assert len(top) == SHOWN


def test_what_one_process_has_seen_another_can_add() -> None:
    keys = Keys()
    keys.read(3, b"\xff:k", 64)
    keys.got(3, b"\xff:k", 9, hit=True)
    (one,) = keys.top(HOT)

    other = seen_of(one.record())
    other.add(one)

    assert (other.db, other.name, other.reads, other.hits) == (3, b"\xff:k", 128, 2)
    keys.reset()
    assert keys.top(HOT) == []


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        (b"user:42:name", b"user:"),
        (b"app:users:42", b"app:users:"),
        (b"session:abcdef", b"session:"),
        (b"plain", b""),
        (b"", b""),
        (b"42:x", b""),
        (b"a:", b"a:"),
    ],
)
def test_a_prefix_ends_before_what_tells_keys_apart(key: bytes, prefix: bytes) -> None:
    assert prefix_of(key) == prefix
