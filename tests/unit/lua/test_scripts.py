"""What the scripts of loads return, and what they leave behind, on both servers."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from nearhit.lua import script
from redis import Redis
from redis.exceptions import ResponseError

from tests.servers import HOST

KEY, LEASE = b"k", b"lease:{k}"
TOKEN, OTHER = b"t1", b"t2"


def run(redis: Redis, name: str, *args: object) -> Any:
    keys = [KEY] if name == "undo" else [KEY, LEASE]
    return redis.eval(script(name).text, len(keys), *keys, *args)


def take(redis: Redis, token: bytes = TOKEN, how: str = "", quiet: str = "") -> Any:
    return run(redis, "take", token, 10_000, how, quiet)


def digest(value: bytes) -> bytes:
    return hashlib.sha1(value).hexdigest().encode()


def leases(redis: Redis) -> list[bytes]:
    return sorted(redis.keys("lease:*"))


def in_ms(redis: Redis, key: bytes, low: int, high: int) -> bool:
    return low < redis.pttl(key) <= high


# --- take


def test_take_of_a_value_returns_it_and_takes_no_lease(redis: Redis) -> None:
    redis.set(KEY, b"\x00v")

    assert take(redis) == [1, b"\x00v"]
    assert take(redis, how="mine") == [1, b"\x00v"]
    assert take(redis, quiet="quiet") == [1, None]
    assert leases(redis) == []


def test_take_of_an_empty_value_is_a_hit(redis: Redis) -> None:
    redis.set(KEY, b"")

    assert take(redis) == [1, b""]


def test_take_of_nothing_gives_the_lease_with_its_time(redis: Redis) -> None:
    assert take(redis) == [2, b""]
    assert redis.get(LEASE) == TOKEN
    assert in_ms(redis, LEASE, 9_000, 10_000)


def test_take_fresh_gives_the_lease_and_the_digest_of_what_stands(redis: Redis) -> None:
    redis.set(KEY, b"old")

    assert take(redis, how="fresh") == [2, digest(b"old")]
    assert redis.get(LEASE) == TOKEN


@pytest.mark.parametrize("how", ["", "mine", "fresh"])
def test_take_of_what_another_holds_returns_how_long(redis: Redis, how: str) -> None:
    take(redis)

    number, ms = take(redis, OTHER, how)

    assert number == 3
    assert 9_000 < ms <= 10_000
    assert redis.get(LEASE) == TOKEN


def test_take_beside_a_strangers_lease_is_held_without_an_end(redis: Redis) -> None:
    redis.set(LEASE, b"stranger")

    assert take(redis) == [3, -1]


def test_take_of_what_is_known_not_to_exist_says_so(redis: Redis) -> None:
    redis.set(LEASE, b"n", px=500)

    assert take(redis) == [4]
    assert redis.get(LEASE) == b"n"


def test_take_of_what_has_failed_lately_returns_the_error(redis: Redis) -> None:
    redis.set(LEASE, b"eLOADERR loader 'x': why", px=500)

    assert take(redis) == [5, b"LOADERR loader 'x': why"]


def behind(redis: Redis, ms: int, token: bytes = TOKEN) -> Any:
    return run(redis, "take", token, 10_000, "", "quiet", ms)


def test_take_behind_readers_gives_the_lease_on_a_value_that_lasts_no_longer(redis: Redis) -> None:
    redis.set(KEY, b"old", px=5000)

    assert behind(redis, 5000) == [2, digest(b"old")]
    assert redis.get(LEASE) == TOKEN
    assert behind(redis, 5000, OTHER)[0] == 3


@pytest.mark.parametrize("px", [None, 60_000])
def test_take_behind_readers_leaves_a_value_alone_that_lasts_longer(
    redis: Redis, px: int | None
) -> None:
    redis.set(KEY, b"new", px=px)

    assert behind(redis, 5000) == [1, None]
    assert not leases(redis)


def test_take_behind_readers_loads_nothing_that_is_gone(redis: Redis) -> None:
    assert behind(redis, 5000) == [1, None]
    assert not leases(redis)


@pytest.mark.parametrize(
    ("memory", "said"), [(b"n", [4]), (b"eLOADERR x", [5, b"LOADERR x"])], ids=str
)
def test_take_behind_readers_knows_of_failures(redis: Redis, memory: bytes, said: Any) -> None:
    redis.set(KEY, b"old", px=5000)
    redis.set(LEASE, memory, px=1000)

    assert behind(redis, 5000) == said


@pytest.mark.parametrize("memory", [b"n", b"eLOADERR why"])
@pytest.mark.parametrize("how", ["mine", "fresh"])
def test_take_beyond_a_memory_gives_the_lease(redis: Redis, memory: bytes, how: str) -> None:
    redis.set(LEASE, memory, px=500)

    assert take(redis, how=how) == [2, b""]
    assert redis.get(LEASE) == TOKEN
    assert in_ms(redis, LEASE, 9_000, 10_000)


@pytest.mark.parametrize("how", ["", "mine", "fresh"])
def test_take_of_another_type_is_refused_and_takes_nothing(redis: Redis, how: str) -> None:
    redis.rpush(KEY, "x")

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        take(redis, how=how)

    assert leases(redis) == []


# --- fill


def fill(
    redis: Redis, token: bytes, option: str = "", number: object = "", was: bytes = b""
) -> Any:
    return run(redis, "fill", token, b"new", option, number, was)


def test_fill_under_its_lease_stores_and_gives_the_lease_up(redis: Redis) -> None:
    take(redis)

    assert fill(redis, TOKEN) == 1
    assert redis.get(KEY) == b"new"
    assert redis.pttl(KEY) == -1
    assert leases(redis) == []


@pytest.mark.parametrize(("option", "number"), [("EX", 100), ("PX", 100_000)])
def test_fill_stores_with_the_time_given(redis: Redis, option: str, number: int) -> None:
    take(redis)

    assert fill(redis, TOKEN, option, number) == 1
    assert in_ms(redis, KEY, 99_000, 100_000)


@pytest.mark.parametrize(("option", "unit"), [("EXAT", 1), ("PXAT", 1000)])
def test_fill_stores_until_the_time_given(redis: Redis, option: str, unit: int) -> None:
    take(redis)

    assert fill(redis, TOKEN, option, (redis.time()[0] + 100) * unit) == 1
    assert in_ms(redis, KEY, 98_000, 100_000)


def test_fill_without_the_lease_is_refused(redis: Redis) -> None:
    assert fill(redis, TOKEN) == 0
    assert redis.get(KEY) is None


def test_fill_under_anothers_lease_is_refused_and_leaves_it(redis: Redis) -> None:
    take(redis, OTHER)

    assert fill(redis, TOKEN) == 0
    assert redis.get(KEY) is None
    assert redis.get(LEASE) == OTHER


def test_fill_over_what_was_written_since_is_refused_and_ends_the_lease(redis: Redis) -> None:
    take(redis)
    redis.set(KEY, b"written")

    assert fill(redis, TOKEN) == 0
    assert redis.get(KEY) == b"written"
    assert leases(redis) == []


def test_fill_over_another_type_is_refused_and_ends_the_lease(redis: Redis) -> None:
    take(redis)
    redis.rpush(KEY, "x")

    assert fill(redis, TOKEN) == 0
    assert redis.lrange(KEY, 0, -1) == [b"x"]
    assert leases(redis) == []


def test_fill_over_the_value_that_stood_replaces_it(redis: Redis) -> None:
    redis.set(KEY, b"old")
    _, was = take(redis, how="fresh")

    assert fill(redis, TOKEN, was=was) == 1
    assert redis.get(KEY) == b"new"


def test_fill_where_the_value_that_stood_has_gone_is_refused(redis: Redis) -> None:
    redis.set(KEY, b"old")
    _, was = take(redis, how="fresh")
    redis.delete(KEY)

    assert fill(redis, TOKEN, was=was) == 0
    assert redis.get(KEY) is None


# --- settle


def settle(redis: Redis, token: bytes, mark: bytes = b"", ms: int = 0, was: bytes = b"") -> Any:
    return run(redis, "settle", token, mark, ms, was)


def test_settle_gives_the_lease_up(redis: Redis) -> None:
    take(redis)

    assert settle(redis, TOKEN) == 1
    assert redis.keys() == []


@pytest.mark.parametrize("mark", [b"n", b"eLOADERR why"])
def test_settle_remembers_for_a_while_what_came_of_it(redis: Redis, mark: bytes) -> None:
    take(redis)

    assert settle(redis, TOKEN, mark, 500) == 1
    assert redis.get(LEASE) == mark
    assert in_ms(redis, LEASE, 0, 500)


@pytest.mark.parametrize("mark", [b"", b"n", b"eLOADERR why"])
def test_settle_of_anothers_lease_changes_nothing(redis: Redis, mark: bytes) -> None:
    take(redis, OTHER)

    assert settle(redis, TOKEN, mark, 500) == 0
    assert redis.get(LEASE) == OTHER


def test_settle_of_a_lease_that_has_ended_changes_nothing(redis: Redis) -> None:
    assert settle(redis, TOKEN, b"n", 500) == 0
    assert redis.keys() == []


def test_settle_removes_the_value_that_turned_out_not_to_exist(redis: Redis) -> None:
    redis.set(KEY, b"old")
    _, was = take(redis, how="fresh")

    assert settle(redis, TOKEN, b"n", 500, was) == 1
    assert redis.get(KEY) is None


@pytest.mark.parametrize("mark", [b"n", b"eLOADERR why"])
def test_settle_leaves_what_was_written_since(redis: Redis, mark: bytes) -> None:
    redis.set(KEY, b"old")
    _, was = take(redis, how="fresh")
    redis.set(KEY, b"written")

    assert settle(redis, TOKEN, mark, 500, was) == 1
    assert redis.get(KEY) == b"written"


def test_settle_of_a_failure_leaves_the_value_that_stood(redis: Redis) -> None:
    redis.set(KEY, b"old")
    _, was = take(redis, how="fresh")

    assert settle(redis, TOKEN, b"eLOADERR why", 500, was) == 1
    assert redis.get(KEY) == b"old"


def test_settle_leaves_another_type_alone(redis: Redis) -> None:
    redis.set(KEY, b"old")
    _, was = take(redis, how="fresh")
    redis.delete(KEY)
    redis.rpush(KEY, "x")

    assert settle(redis, TOKEN, b"n", 500, was) == 1
    assert redis.lrange(KEY, 0, -1) == [b"x"]


# --- undo


def test_undo_removes_what_was_filled(redis: Redis) -> None:
    redis.set(KEY, b"filled")

    assert run(redis, "undo", b"filled") == 1
    assert redis.keys() == []


def test_undo_leaves_what_was_written_behind_the_fill(redis: Redis) -> None:
    redis.set(KEY, b"written")

    assert run(redis, "undo", b"filled") == 0
    assert redis.get(KEY) == b"written"


def test_undo_of_nothing_and_of_another_type_changes_nothing(redis: Redis) -> None:
    assert run(redis, "undo", b"filled") == 0
    redis.rpush(KEY, "filled")

    assert run(redis, "undo", b"filled") == 0
    assert redis.type(KEY) == b"list"


# --- getorset


def test_getorset_returns_what_stands_and_leaves_its_time(redis: Redis) -> None:
    redis.set(KEY, b"there", px=5_000)
    take(redis, how="fresh")

    assert run(redis, "getorset", b"given", "EX", 100) == [b"there", 1]
    assert in_ms(redis, KEY, 4_000, 5_000)
    assert redis.get(LEASE) == TOKEN  # nothing was written


@pytest.mark.parametrize(
    ("option", "number", "low", "high"),
    [("", "", -2, -1), ("EX", 100, 99_000, 100_000), ("PX", 5_000, 4_000, 5_000)],
)
def test_getorset_stores_what_is_given_and_ends_the_lease(
    redis: Redis, option: str, number: object, low: int, high: int
) -> None:
    take(redis)

    assert run(redis, "getorset", b"given", option, number) == [b"given", 0]
    assert redis.get(KEY) == b"given"
    assert in_ms(redis, KEY, low, high)
    assert leases(redis) == []


def test_getorset_until_a_time_that_is_over_returns_what_is_given(redis: Redis) -> None:
    assert run(redis, "getorset", b"given", "PXAT", 1) == [b"given", 0]
    assert redis.get(KEY) is None


def test_getorset_of_another_type_is_refused_and_keeps_the_lease(redis: Redis) -> None:
    take(redis)
    redis.rpush(KEY, "x")

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        run(redis, "getorset", b"given", "", "")

    assert redis.get(LEASE) == TOKEN
    assert redis.lrange(KEY, 0, -1) == [b"x"]


# --- may


def test_may_says_what_the_acl_would_say_and_runs_nothing(redis: Redis) -> None:
    redis.acl_setuser("teller", enabled=True, nopass=True, commands=["+eval", "+info"])
    teller = Redis(
        host=HOST, port=redis.connection_pool.connection_kwargs["port"], username="teller"
    )
    text = script("may").text
    with teller:
        answers = [teller.eval(text, 0, *words) for words in (["info"], ["config", "resetstat"])]

    assert answers == [1, 0]
    assert redis.eval(text, 0, "config", "resetstat") == 1
