"""What the lock scripts return, and what they leave behind, on both servers."""

from __future__ import annotations

import time

import pytest
from nearhit.lua import script
from redis import Redis
from redis.exceptions import ResponseError

from tests.servers import HOST

LOCK, FENCE, GRANT = b"lock:{r}", b"fence:{r}", b"fence:{r}:grant"
# What each is given; lock_info all that is left.
KEYS = {
    "lock_acquire": (LOCK, FENCE, GRANT),
    "lock_extend": (LOCK, FENCE, GRANT),
    "lock_renew": (LOCK, FENCE, GRANT),
    "lock_release": (LOCK, GRANT),
    "lock_info": (LOCK, FENCE),
    "lock_fence": (LOCK, FENCE, GRANT),
}
DAY = 86_400_000


def run(redis: Redis, name: str, *args: object) -> object:
    keys = KEYS[name]
    return redis.eval(script(name).text, len(keys), *keys, *args)


def acquire(
    redis: Redis, token: bytes, ms: int = 10_000, mine: str = "", nonce: bytes = b""
) -> list[int]:
    reply = run(redis, "lock_acquire", token, ms, DAY, mine, nonce)
    assert isinstance(reply, list)
    return [reply[0], int(reply[1]), *reply[2:]]


# --- lock_acquire


def test_a_free_lock_is_taken_and_its_fence_is_the_servers_time(redis: Redis) -> None:
    before = redis.time()

    taken, fence, new = acquire(redis, b"t")

    assert (taken, new) == (1, 1)
    assert fence >= before[0] * 1_000_000 + before[1]
    assert redis.get(LOCK) == b"t"
    assert 9_000 < redis.pttl(LOCK) <= 10_000
    assert redis.get(FENCE) == b"%d" % fence
    assert DAY - 1_000 < redis.pttl(FENCE) <= DAY


def test_a_lock_that_another_holds_returns_the_time_it_has_left(redis: Redis) -> None:
    acquire(redis, b"t")

    taken, ms = acquire(redis, b"other")

    assert taken == 0
    assert 9_000 < ms <= 10_000
    assert redis.get(LOCK) == b"t"


def test_a_strangers_lock_without_an_end_returns_minus_one(redis: Redis) -> None:
    redis.set(LOCK, "stranger")

    assert acquire(redis, b"t") == [0, -1]


@pytest.mark.parametrize("mine", ["", "mine"])
def test_the_token_that_holds_it_gets_the_same_fence_and_new_time(redis: Redis, mine: str) -> None:
    _, fence, _ = acquire(redis, b"t", 5_000)
    redis.pexpire(FENCE, 1_000)

    assert acquire(redis, b"t", 60_000, mine) == [1, fence, 0]

    assert 59_000 < redis.pttl(LOCK) <= 60_000
    assert redis.pttl(FENCE) > 1_000


def test_the_token_that_holds_it_gets_a_greater_fence_when_the_old_one_is_lost(
    redis: Redis,
) -> None:
    _, fence, _ = acquire(redis, b"t")
    redis.delete(FENCE)

    taken, again, new = acquire(redis, b"t")

    assert (taken, new) == (1, 0)
    assert again > fence
    assert redis.get(FENCE) == b"%d" % again


def test_mine_takes_no_free_lock(redis: Redis) -> None:
    assert acquire(redis, b"t", mine="mine") == [0, -2]
    assert redis.exists(LOCK, FENCE) == 0


def test_the_fence_grows_with_each_grant_also_when_its_key_is_lost(redis: Redis) -> None:
    fences = []
    for turn in range(20):
        fences.append(acquire(redis, b"t%d" % turn)[1])
        redis.delete(LOCK)
        if turn % 3 == 0:
            redis.delete(FENCE)

    assert fences == sorted(set(fences))


def test_the_fence_grows_also_where_the_servers_clock_has_gone_back(redis: Redis) -> None:
    ahead = (int(time.time()) + 3600) * 1_000_000
    redis.set(FENCE, ahead)

    assert acquire(redis, b"t") == [1, ahead + 1, 1]

    assert redis.get(FENCE) == b"%d" % (ahead + 1)
    assert redis.pttl(FENCE) > 0


def test_what_is_no_lock_is_told_in_the_servers_words(redis: Redis) -> None:
    redis.rpush(LOCK, 1)
    wrong = "^WRONGTYPE Operation against a key holding the wrong kind of value$"

    for name, args in [
        ("lock_acquire", ("t", 1, 1, "", "")),
        ("lock_acquire", ("t", 1, 1, "mine", "")),
        ("lock_release", ("t", "")),
        ("lock_extend", ("t", 1, 1)),
        ("lock_info", ()),
    ]:
        with pytest.raises(ResponseError) as caught:
            run(redis, name, *args)
        # redis-py takes the code off where it knows it.
        assert str(caught.value) in wrong

    assert redis.lrange(LOCK, 0, -1) == [b"1"]


@pytest.mark.parametrize("last", [2**53 - 1, 2**53, 2**53 + 1, 2**62, 2**63 - 3])
def test_the_fence_grows_also_above_what_a_double_holds(redis: Redis, last: int) -> None:
    redis.set(FENCE, last)

    _, fence, _ = acquire(redis, b"t")
    assert fence == last + 1
    assert DAY - 1_000 < redis.pttl(FENCE) <= DAY
    assert acquire(redis, b"t") == [1, fence, 0]
    redis.delete(LOCK)

    assert acquire(redis, b"t2")[1] == last + 2
    assert redis.get(FENCE) == b"%d" % (last + 2)


def test_a_fence_that_cannot_grow_is_an_error_and_nobody_gets_the_lock(redis: Redis) -> None:
    redis.set(FENCE, 2**63 - 1)

    with pytest.raises(ResponseError, match="would overflow"):
        acquire(redis, b"t")

    assert redis.exists(LOCK) == 0


@pytest.mark.parametrize("last", ["-5", "0"])
def test_a_fence_that_others_set_back_is_the_servers_time_again(redis: Redis, last: str) -> None:
    _, fence, _ = acquire(redis, b"t")
    redis.set(FENCE, last)

    assert acquire(redis, b"t")[1] > fence


def test_no_lock_is_left_behind_where_the_fence_is_no_number(redis: Redis) -> None:
    redis.rpush(FENCE, 1)

    with pytest.raises(ResponseError, match=r"wrong kind of value$"):
        acquire(redis, b"t")

    assert redis.exists(LOCK) == 0


def test_a_fence_that_somebody_made_a_word_is_an_error_for_its_holder_too(redis: Redis) -> None:
    acquire(redis, b"t")
    redis.set(FENCE, "word")

    with pytest.raises(ResponseError, match=r"not an integer or out of range$"):
        acquire(redis, b"t")


def test_no_lock_is_left_behind_where_the_server_has_no_memory(redis: Redis) -> None:
    redis.config_set("maxmemory", 1)

    with pytest.raises(ResponseError, match="used memory > 'maxmemory'"):
        acquire(redis, b"t")

    assert redis.exists(LOCK, FENCE) == 0


# --- lock_release


def test_release_frees_what_the_token_holds_and_keeps_the_fence(redis: Redis) -> None:
    acquire(redis, b"t")

    assert run(redis, "lock_release", b"t", b"") == 1

    assert redis.exists(LOCK) == 0
    assert redis.exists(FENCE) == 1


@pytest.mark.parametrize("holder", [b"other", None])
def test_release_leaves_what_the_token_does_not_hold(redis: Redis, holder: bytes | None) -> None:
    if holder:
        acquire(redis, holder)

    assert run(redis, "lock_release", b"t", b"") == 0

    assert redis.get(LOCK) == holder


def test_a_call_gives_back_its_grant_and_leaves_nothing(redis: Redis) -> None:
    assert acquire(redis, b"t", nonce=b"n1")[2] == 1
    assert 9_000 < redis.pttl(GRANT) <= 10_000

    assert run(redis, "lock_release", b"t", b"n1") == 1

    assert redis.exists(LOCK, GRANT) == 0


@pytest.mark.parametrize("mine", ["", "mine"])
def test_a_call_cannot_give_back_what_its_token_has_asked_for_since(
    redis: Redis, mine: str
) -> None:
    _, fence, _ = acquire(redis, b"t", nonce=b"n1")
    assert acquire(redis, b"t", mine=mine, nonce=b"n2") == [1, fence, 0]

    assert run(redis, "lock_release", b"t", b"n1") == 0
    assert run(redis, "lock_release", b"t", b"n2") == 0

    assert redis.get(LOCK) == b"t"
    assert redis.exists(GRANT) == 0
    assert run(redis, "lock_release", b"t", b"") == 1  # its client may


def test_a_call_cannot_give_back_what_its_token_has_extended_since(redis: Redis) -> None:
    acquire(redis, b"t", nonce=b"n1")
    run(redis, "lock_extend", b"t", 60_000, DAY)

    assert run(redis, "lock_release", b"t", b"n1") == 0

    assert redis.get(LOCK) == b"t"


def test_a_call_cannot_give_back_a_later_grant_to_its_token(redis: Redis) -> None:
    acquire(redis, b"t", nonce=b"n1")
    run(redis, "lock_release", b"t", b"")
    acquire(redis, b"t", nonce=b"n2")

    assert run(redis, "lock_release", b"t", b"n1") == 0

    assert redis.get(LOCK) == b"t"


def test_a_second_attempt_of_one_call_is_told_that_the_grant_is_its_own(redis: Redis) -> None:
    _, fence, _ = acquire(redis, b"t", 5_000, nonce=b"n1")

    assert acquire(redis, b"t", 60_000, nonce=b"n1") == [1, fence, 1]

    assert redis.pttl(GRANT) > 50_000
    assert run(redis, "lock_release", b"t", b"n1") == 1


def test_whatever_stands_at_the_grants_key_gives_no_lock_back(redis: Redis) -> None:
    acquire(redis, b"t", nonce=b"n1")
    redis.delete(GRANT)
    redis.rpush(GRANT, b"n1")

    assert run(redis, "lock_release", b"t", b"n1") == 0
    assert acquire(redis, b"t", nonce=b"n1")[2] == 0

    assert redis.get(LOCK) == b"t"


# --- lock_extend


def test_extend_begins_the_time_anew_and_keeps_the_fence_longer(redis: Redis) -> None:
    acquire(redis, b"t", 5_000)

    assert run(redis, "lock_extend", b"t", 60_000, 2 * DAY) == 1

    assert 59_000 < redis.pttl(LOCK) <= 60_000
    assert redis.pttl(FENCE) > DAY


@pytest.mark.parametrize("holder", [b"other", None])
def test_extend_revives_nothing_and_lengthens_nobody_elses(
    redis: Redis, holder: bytes | None
) -> None:
    if holder:
        acquire(redis, holder, 5_000)

    assert run(redis, "lock_extend", b"t", 60_000, 2 * DAY) == 0

    assert redis.pttl(LOCK) <= 5_000
    assert redis.pttl(FENCE) <= DAY


# --- lock_info


def test_info_of_a_held_lock(redis: Redis) -> None:
    _, fence, _ = acquire(redis, b"t")

    held, ms, last = run(redis, "lock_info")  # type: ignore[misc]

    assert (held, last) == (1, b"%d" % fence)
    assert 9_000 < ms <= 10_000


def test_info_of_a_free_lock_has_the_last_fence(redis: Redis) -> None:
    _, fence, _ = acquire(redis, b"t")
    redis.delete(LOCK)

    assert run(redis, "lock_info") == [0, -2, b"%d" % fence]


def test_info_of_a_lock_that_never_was(redis: Redis) -> None:
    assert run(redis, "lock_info") == [0, -2, None]


# --- What the waiters live by


@pytest.mark.parametrize("how", ["lock_release", "lock_extend", "DEL", "expiry"])
@pytest.mark.parametrize("holder", ["self", "other"])
def test_a_connection_that_asked_is_told_of_the_end(redis: Redis, holder: str, how: str) -> None:
    told = [b"invalidate", [LOCK]]
    with Redis(host=HOST, port=redis.get_connection_kwargs()["port"], protocol=3) as asking:
        pushes: list[object] = []
        link = asking.connection_pool.get_connection()
        try:
            link._parser.set_invalidation_push_handler(pushes.append)
            send(link, b"CLIENT", b"TRACKING", b"ON")
            ms = b"60" if how == "expiry" else b"10000"
            if holder == "other":
                acquire(redis, b"t", int(ms))
            words = b"t" if holder == "self" else b"loser", ms, b"%d" % DAY, b"", b"n"
            keys = KEYS["lock_acquire"]
            send(link, b"EVAL", script("lock_acquire").text, b"3", *keys, *words)
            assert pushes == []  # its own change is no news to it

            if how == "lock_release":
                run(redis, how, b"t", b"")
            elif how == "lock_extend":
                run(redis, how, b"t", 20_000, DAY)
            elif how == "DEL":
                redis.delete(LOCK)

            deadline = time.monotonic() + 5
            while told not in pushes and time.monotonic() < deadline:
                send(link, b"PING")
            assert pushes.count(told) == 1
        finally:
            link.disconnect()
            asking.connection_pool.release(link)


def send(link: object, *words: bytes) -> object:
    link.send_command(*words)  # type: ignore[attr-defined]
    return link.read_response()  # type: ignore[attr-defined]


# --- lock_renew


def renew(redis: Redis, token: bytes, ms: int, nonce: bytes = b"", how: str = "") -> object:
    return run(redis, "lock_renew", token, ms, DAY, nonce, how)


def test_a_renewal_lets_the_time_begin_anew_for_the_token_alone(redis: Redis) -> None:
    acquire(redis, b"t", 1_000)

    assert renew(redis, b"x", 90_000) == 0
    assert redis.pttl(LOCK) <= 1_000
    assert renew(redis, b"t", 90_000) == 1
    assert 80_000 < redis.pttl(LOCK) <= 90_000
    redis.delete(LOCK)
    assert renew(redis, b"t", 90_000) == 0
    assert not redis.exists(LOCK)


def test_a_call_keeps_what_it_has_claimed_until_another_does(redis: Redis) -> None:
    acquire(redis, b"t", nonce=b"n")

    assert renew(redis, b"t", 90_000, b"1") == 0
    assert renew(redis, b"t", 90_000, b"1", "claim") == 1
    assert 80_000 < redis.pttl(GRANT) <= 90_000
    assert renew(redis, b"t", 90_000, b"1") == 1
    assert renew(redis, b"t", 90_000, b"2", "claim") == 1
    assert renew(redis, b"t", 90_000, b"1") == 0
    assert run(redis, "lock_release", b"t", b"1") == 0
    assert run(redis, "lock_release", b"t", b"2") == 1


def test_what_is_no_lock_is_not_renewed(redis: Redis) -> None:
    redis.rpush(LOCK, "x")

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        renew(redis, b"t", 1_000)


# --- lock_fence


def fence(redis: Redis, token: bytes, given: int, nonce: bytes = b"") -> object:
    return run(redis, "lock_fence", token, given, DAY, nonce)


def test_a_fence_is_raised_and_never_lowered_for_others(redis: Redis) -> None:
    assert fence(redis, b"t", 7) == 1
    assert redis.get(FENCE) == b"7"
    assert 0 < redis.pttl(FENCE) <= DAY
    assert fence(redis, b"t", 5) == 1
    assert redis.get(FENCE) == b"7"
    assert fence(redis, b"t", 10) == 1
    assert redis.get(FENCE) == b"10"
    redis.set(FENCE, 9_007_199_254_740_993)
    assert fence(redis, b"t", 9_007_199_254_740_992) == 1
    assert redis.get(FENCE) == b"9007199254740993", "of which a double holds only a part"


def test_the_holder_s_fence_becomes_the_agreed_one(redis: Redis) -> None:
    acquire(redis, b"t")
    assert fence(redis, b"t", 7) == 1
    assert redis.get(FENCE) == b"7"
    assert fence(redis, b"other", 5) == 1
    assert redis.get(FENCE) == b"7"


def test_the_fence_of_a_named_token_is_lowered_by_the_call_alone_that_it_was_granted_to(
    redis: Redis,
) -> None:
    acquire(redis, b"t", nonce=b"n")
    given = int(redis.get(FENCE))
    assert fence(redis, b"t", 7, b"other") == 1
    assert int(redis.get(FENCE)) == given
    assert fence(redis, b"t", 7, b"n") == 1
    assert redis.get(FENCE) == b"7"

    acquire(redis, b"t", nonce=b"another")  # it has been told of the 7
    assert fence(redis, b"t", 5, b"n") == 1
    assert redis.get(FENCE) == b"7"


@pytest.mark.parametrize("key", [LOCK, FENCE])
def test_what_is_no_string_has_no_fence(redis: Redis, key: bytes) -> None:
    redis.rpush(key, "x")

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        fence(redis, b"t", 1)
