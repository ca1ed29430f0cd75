"""What the scripts of tags return, and what they leave behind, on both servers."""

from __future__ import annotations

from typing import Any

import pytest
from nearhit.lua import script
from redis import Redis
from redis.exceptions import ResponseError

TAG, EPOCH, NAMES = b"tag:{t}", b"tagepoch:{t}", b"tagclosed:{t}"
DAY_MS = 24 * 3_600_000


def run(redis: Redis, name: str, keys: list[bytes], *args: object) -> Any:
    return redis.eval(script(name).text, len(keys), *keys, *args)


def add(redis: Redis, *keys: str, end: tuple[str, object] = ("", ""), tidy: str = "") -> Any:
    ends = [word for key in keys for word in (key, *end)]
    return run(redis, "tag_add", [TAG, EPOCH], 1000, tidy, *ends)


def close(redis: Redis, part: bytes = b"tagclosed:{t}:1") -> Any:
    return run(redis, "tag_close", [TAG, EPOCH, NAMES, part], DAY_MS)


def now_ms(redis: Redis) -> int:
    seconds, micros = redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


# --- tag_add


def test_a_tag_that_was_never_invalidated_has_no_epoch(redis: Redis) -> None:
    assert add(redis, "a", "b") == [b"", -1]
    assert redis.zrange(TAG, 0, -1) == [b"a", b"b"]
    assert redis.pttl(TAG) == -1


@pytest.mark.parametrize("option", ["EX", "PX", "EXAT", "PXAT"])
def test_a_key_is_under_its_tag_for_as_long_as_it_lasts_and_the_way_there(
    redis: Redis, option: str
) -> None:
    number = 60 if option.startswith("EX") else 60_000
    if option.endswith("AT"):
        number += now_ms(redis) // (1000 if option == "EXAT" else 1)

    add(redis, "a", end=(option, number))

    left = redis.zscore(TAG, "a") - now_ms(redis)
    assert 58_900 < left <= 61_000
    assert 58_900 < redis.pttl(TAG) <= 61_000


def test_a_tag_lasts_as_long_as_its_longest_key(redis: Redis) -> None:
    add(redis, "a", end=("EX", 60))
    add(redis, "b", end=("EX", 600))
    add(redis, "c", end=("EX", 6))
    assert 590_000 < redis.pttl(TAG) <= 601_000

    add(redis, "d")
    add(redis, "e", end=("EX", 6))
    assert redis.pttl(TAG) == -1


def test_keys_that_are_attached_together_end_by_themselves(redis: Redis) -> None:
    words = ("a", "EX", 6, "b", "", "", "c", "EX", 60)

    run(redis, "tag_add", [TAG, EPOCH], 1000, "", *words)

    left = [score - now_ms(redis) for _, score in redis.zrange(TAG, 0, 1, withscores=True)]
    assert [5_000 < left[0] <= 7_000, 59_000 < left[1] <= 61_000] == [True, True]
    assert redis.zscore(TAG, "b") == float("inf")
    assert redis.pttl(TAG) == -1


def test_a_key_that_is_there_stays_under_its_tag_for_the_longer_time(redis: Redis) -> None:
    add(redis, "a", end=("EX", 600))
    before = redis.zscore(TAG, "a")

    add(redis, "a", end=("EX", 6))

    assert redis.zscore(TAG, "a") == before


def test_the_last_time_there_is_is_no_error(redis: Redis) -> None:
    add(redis, "a", end=("PX", 2**63 - 1 - 2**42))
    add(redis, "b", end=("PXAT", 2**63 - 1))

    assert redis.zscore(TAG, "a") == redis.zscore(TAG, "b") == 2**52


def test_what_has_ended_is_forgotten_when_it_is_asked_for(redis: Redis) -> None:
    redis.zadd(TAG, {"old": 1.0})
    add(redis, "a", end=("EX", 60))
    assert redis.zcard(TAG) == 2

    add(redis, "a", end=("EX", 60), tidy="1")
    assert redis.zrange(TAG, 0, -1) == [b"a"]


def test_the_epoch_comes_with_its_age(redis: Redis) -> None:
    close(redis)

    epoch, age = add(redis, "a")

    assert epoch == redis.get(EPOCH)
    assert 0 <= age < 5000
    redis.set(EPOCH, (now_ms(redis) - 60_000) * 1000)
    assert 60_000 <= add(redis, "a")[1] < 65_000


def test_an_epoch_of_the_future_is_no_age_below_none(redis: Redis) -> None:
    redis.set(EPOCH, (now_ms(redis) + 60_000) * 1000)

    assert add(redis, "a")[1] == 0


# --- tag_close


def test_the_keys_of_a_tag_are_set_apart_with_their_time(redis: Redis) -> None:
    add(redis, "a", end=("EX", 60))

    assert close(redis) == [b"tagclosed:{t}:1"]

    assert redis.exists(TAG) == 0
    assert redis.zrange("tagclosed:{t}:1", 0, -1) == [b"a"]
    for name in ("tagclosed:{t}:1", NAMES):
        assert 58_000 < redis.pttl(name) <= 61_000


def test_a_tag_without_keys_leaves_nothing_but_its_epoch(redis: Redis) -> None:
    assert close(redis) == []

    assert redis.keys() == [EPOCH]
    assert DAY_MS - 5000 < redis.pttl(EPOCH) <= DAY_MS


def test_what_others_have_set_apart_is_told_too(redis: Redis) -> None:
    add(redis, "a", end=("EX", 600))
    close(redis)
    assert close(redis, b"tagclosed:{t}:2") == [b"tagclosed:{t}:1"]
    add(redis, "b", end=("EX", 60))

    parts = close(redis, b"tagclosed:{t}:3")

    assert sorted(parts) == [b"tagclosed:{t}:1", b"tagclosed:{t}:3"]
    assert 590_000 < redis.pttl(NAMES) <= 601_000  # as the longest


def test_the_names_last_for_ever_where_a_part_does(redis: Redis) -> None:
    add(redis, "a", end=("EX", 60))
    close(redis)
    add(redis, "b")
    close(redis, b"tagclosed:{t}:2")
    assert redis.pttl(NAMES) == -1

    add(redis, "c", end=("EX", 60))
    close(redis, b"tagclosed:{t}:3")
    assert redis.pttl(NAMES) == -1


@pytest.mark.parametrize("name", ["tag_close", "tag_soft"])
def test_an_epoch_only_grows_whatever_the_clock_says(redis: Redis, name: str) -> None:
    ahead = (now_ms(redis) + 60_000) * 1000
    redis.set(EPOCH, ahead)
    keys = [TAG, EPOCH, NAMES, b"tagclosed:{t}:1"] if name == "tag_close" else [EPOCH]

    run(redis, name, keys, DAY_MS)
    run(redis, name, keys, DAY_MS)

    assert redis.get(EPOCH) == b"%d" % (ahead + 2)


def test_what_is_no_tag_is_refused_before_anything_has_changed(redis: Redis) -> None:
    redis.set(TAG, "a client's")

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        close(redis)

    assert redis.keys() == [TAG]


@pytest.mark.parametrize("name", ["tag_close", "tag_soft"])
def test_a_full_server_lets_go(redis: Redis, name: str) -> None:
    add(redis, "a")
    keys = [TAG, EPOCH, NAMES, b"tagclosed:{t}:1"] if name == "tag_close" else [EPOCH]
    redis.config_set("maxmemory", "1")
    try:
        run(redis, name, keys, DAY_MS)
    finally:
        redis.config_set("maxmemory", "0")

    assert redis.exists(EPOCH) == 1
    assert redis.exists("tagclosed:{t}:1") == (name == "tag_close")


# --- tag_soft, tag_read


def test_a_soft_invalidation_leaves_the_keys_and_changes_the_epoch(redis: Redis) -> None:
    add(redis, "a")
    before = now_ms(redis) * 1000

    epoch = run(redis, "tag_soft", [EPOCH], DAY_MS)

    assert int(epoch) >= before
    assert epoch == redis.get(EPOCH)
    assert redis.zrange(TAG, 0, -1) == [b"a"]


def test_the_epoch_is_read_as_it_is(redis: Redis) -> None:
    assert run(redis, "tag_read", [EPOCH]) == b""
    redis.set(EPOCH, 7)
    assert run(redis, "tag_read", [EPOCH]) == b"7"


# --- soften


@pytest.mark.parametrize(("ttl", "made"), [(None, 1), (60_000, 1), (2_000, 0)])
def test_a_value_stays_for_its_grace_at_most(redis: Redis, ttl: int | None, made: int) -> None:
    redis.set("k", "v", px=ttl)
    redis.set("lease:{k}", "t1")

    assert run(redis, "soften", [b"k", b"lease:{k}"], 5000) == made

    assert redis.get("k") == b"v"
    assert 0 < redis.pttl("k") <= min(ttl or 5000, 5000)
    assert redis.exists("lease:{k}") == 0


def test_where_no_value_is_only_the_lease_goes(redis: Redis) -> None:
    redis.set("lease:{k}", "t1")

    assert run(redis, "soften", [b"k", b"lease:{k}"], 5000) == 0
    assert redis.keys() == []


# --- give


def give(redis: Redis, *args: object) -> Any:
    return run(redis, "give", [b"k", b"lease:{k}"], *args)


@pytest.mark.parametrize(("px", "low", "high"), [("", -1, -1), (5000, 1, 5000)])
def test_a_given_value_is_stored_under_its_lease(
    redis: Redis, px: object, low: int, high: int
) -> None:
    redis.set("lease:{k}", "t1")

    assert give(redis, "t1", "v", px, "NX") == 1

    assert redis.get("k") == b"v"
    assert low <= redis.pttl("k") <= high
    assert redis.exists("lease:{k}") == 0


@pytest.mark.parametrize(("how", "stands", "said"), [("NX", b"old", 0), ("", b"v", 1)])
def test_what_stands_is_left_unless_it_is_to_be_written_over(
    redis: Redis, how: str, stands: bytes, said: int
) -> None:
    redis.set("k", "old")
    redis.set("lease:{k}", "t1")

    assert give(redis, "t1", "v", "", how) == said
    assert redis.get("k") == stands
    assert redis.exists("lease:{k}") == 0


@pytest.mark.parametrize("lease", [None, "t2"])
def test_nothing_is_given_without_the_lease(redis: Redis, lease: str | None) -> None:
    if lease is not None:
        redis.set("lease:{k}", lease)

    assert give(redis, "t1", "v", "", "") == -1
    assert redis.exists("k") == 0
    assert redis.get("lease:{k}") == (lease and lease.encode())


# --- fill, of a key that is under tags


@pytest.mark.parametrize(("left", "stored"), [(5000, 1), (20_000, 0)])
def test_a_fill_that_is_late_is_refused(redis: Redis, left: int, stored: int) -> None:
    redis.set("lease:{k}", "t1", px=10_000)
    keys = [b"k", b"lease:{k}"]

    assert run(redis, "fill", keys, "t1", "v", "PX", 60_000, "", left) == stored

    assert redis.exists("k") == stored
    assert redis.exists("lease:{k}") == 0
