"""``near_reads = "all"``: what stands in the near cache of hashes, sets, sorted sets and lists is
what the server would say, byte for byte, and goes when that changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest

from tests.servers import HOST, Kind, nearhit, server_binary, upstream, wait_for

from .frames import children, payload
from .link import Control, Link, command

KEYS: list[tuple[object, ...]] = [
    ("SET", "s", "hello"),
    ("HSET", "h", "f", "1", "g", "2", "bin", b"a\r\n%2\r\n"),
    ("SADD", "set", "only"),
    ("ZADD", "z", "1.5", "a", "-3", "b", "1e300", "c", "inf", "d", "0.1", "e\r\n*2"),
    ("RPUSH", "l", "x", "", "z"),
]
READS: list[tuple[object, ...]] = [
    ("HGET", "h", "f"),
    ("HGET", "h", "none"),
    ("HMGET", "h", "f", "none", "bin"),
    ("HGETALL", "h"),
    ("HLEN", "h"),
    ("HEXISTS", "h", "f"),
    ("HEXISTS", "h", "none"),
    ("SMEMBERS", "set"),
    ("SISMEMBER", "set", "only"),
    ("SISMEMBER", "set", "none"),
    ("SCARD", "set"),
    ("ZSCORE", "z", "a"),
    ("ZSCORE", "z", "d"),
    ("ZSCORE", "z", "e\r\n*2"),
    ("ZSCORE", "z", "none"),
    ("ZRANGE", "z", "0", "-1"),
    ("ZRANGE", "z", "0", "-1", "WITHSCORES"),
    ("ZRANGE", "z", "0", "1", "REV", "withscores"),
    ("ZRANGE", "z", "-inf", "+inf", "BYSCORE", "LIMIT", "1", "2", "WITHSCORES"),
    ("ZRANGE", "z", "5", "6", "WITHSCORES"),
    ("ZCARD", "z"),
    ("LRANGE", "l", "0", "-1"),
    ("LRANGE", "l", "5", "9"),
    ("LLEN", "l"),
    ("EXISTS", "h"),
    ("STRLEN", "s"),
    *(("TYPE", key) for key in ("s", "h", "set", "z", "l")),
]
ABSENT: list[tuple[object, ...]] = [
    (name, "absent", *rest)
    for name, *rest in (
        ("HGET", "f"), ("HMGET", "f", "g"), ("HGETALL",), ("HLEN",), ("HEXISTS", "f"),
        ("SMEMBERS",), ("SISMEMBER", "m"), ("SCARD",), ("ZSCORE", "m"), ("ZRANGE", "0", "-1"),
        ("ZRANGE", "0", "-1", "WITHSCORES"), ("ZCARD",), ("LRANGE", "0", "-1"), ("LLEN",),
        ("EXISTS",), ("STRLEN",), ("TYPE",),
    )
]  # fmt: skip
WRONG: list[tuple[object, ...]] = [
    ("HGETALL", "s"),
    ("SMEMBERS", "s"),
    ("ZRANGE", "h", "0", "-1", "WITHSCORES"),
    ("STRLEN", "h"),
    ("HGET", "h"),
    ("ZRANGE", "z", "x", "y"),
]


@dataclass
class Ends:
    """A client of the proxy, and one of the server behind it."""

    kind: Kind
    near: Link
    direct: Link
    port: int

    def hits(self) -> int:
        _, parts = children(self.near.ask("STATS"))
        found = dict(zip(map(payload, parts[::2]), parts[1::2], strict=True))
        return int(payload(found[b"near_hits"]))

    def ask(self, *words: object) -> bytes:
        return self.near.ask(*words)  # type: ignore[arg-type]  # of words that Link takes

    def truth(self, *words: object) -> bytes:
        return self.direct.ask(*words)  # type: ignore[arg-type]  # the same

    def warm(self, *words: object) -> bytes:
        """What the near cache says; the first reads fill it."""

        def there() -> bool:
            nonlocal reply
            before = self.hits()
            reply = self.ask(*words)
            return self.hits() > before

        reply = b""
        wait_for(there, 5, f"{words} from the near cache")
        return reply


@pytest.fixture(scope="module", params=["redis", "valkey"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[Kind, int, int]]:
    kind: Kind = request.param
    if server_binary(kind) is None:
        pytest.skip(f"no {kind} server binary on this machine")
    with ExitStack() as stack:
        port = stack.enter_context(upstream(kind)).port
        door = stack.enter_context(
            nearhit(f"redis://{HOST}:{port}", "--stats-key", "off", "--near-reads", "all")
        ).port
        yield kind, port, door


@pytest.fixture
def ends(served: tuple[Kind, int, int], resp: int) -> Iterator[Ends]:
    kind, port, door = served
    with closing(Control(port)) as control, closing(Link(door)) as near:
        control.reset()
        with closing(Link(port)) as direct:
            for link in (near, direct):
                link.ask("HELLO", resp)
            for words in KEYS:
                direct.ask(*words)  # type: ignore[arg-type]  # of words that Link takes
            yield Ends(kind, near, direct, door)


@pytest.mark.parametrize("words", READS + ABSENT, ids=lambda words: " ".join(map(str, words)))
def test_what_is_near_is_what_the_server_says(ends: Ends, words: tuple[object, ...]) -> None:
    truth = ends.truth(*words)

    for _ in range(4):  # asked, filled, from the near cache
        assert ends.ask(*words) == truth
    assert ends.warm(*words) == truth


@pytest.mark.parametrize("words", WRONG, ids=lambda words: " ".join(map(str, words)))
def test_an_error_is_never_kept(ends: Ends, words: tuple[object, ...]) -> None:
    before = ends.hits()

    for _ in range(5):
        assert ends.ask(*words) == ends.truth(*words)
    assert ends.hits() == before


def test_exists_of_several_keys_is_the_servers(ends: Ends) -> None:
    before = ends.hits()

    assert [ends.ask("EXISTS", "s", "h", "none") for _ in range(5)] == [b":2\r\n"] * 5
    assert ends.hits() == before


def test_a_pipeline_of_all_of_them_is_answered_in_order(ends: Ends) -> None:
    reads = [words for words in READS + WRONG + ABSENT for _ in range(2)]
    reads += [("GET", "s"), ("EXISTS", "s", "h"), ("MGET", "s", "none"), ("PING",)] * 3
    data = b"".join(command(*words) for words in reads)  # type: ignore[arg-type]  # as above
    truth = [ends.truth(*words) for words in reads]

    for _ in range(6):
        ends.near.send(data)
        assert ends.near.read(len(reads)) == truth


CHANGED: list[tuple[tuple[object, ...], tuple[object, ...]]] = [
    (("HSET", "h", "f", "new"), ("HGET", "h", "f")),
    (("HSET", "h", "f", "new"), ("HGETALL", "h")),
    (("HDEL", "h", "g"), ("HLEN", "h")),
    (("HINCRBY", "h", "f", "5"), ("HMGET", "h", "g", "f")),
    (("DEL", "h"), ("EXISTS", "h")),
    (("SADD", "set", "more"), ("SCARD", "set")),
    (("SREM", "set", "only"), ("SMEMBERS", "set")),
    (("ZADD", "z", "7", "a"), ("ZRANGE", "z", "0", "-1", "WITHSCORES")),
    (("ZADD", "z", "7", "none"), ("ZSCORE", "z", "none")),
    (("RPOPLPUSH", "l", "absent"), ("LRANGE", "absent", "0", "-1")),
    (("RENAME", "l", "s"), ("TYPE", "s")),
    (("APPEND", "s", "more"), ("STRLEN", "s")),
    (("FLUSHALL",), ("HGETALL", "h")),
    (("EVAL", "return redis.call('HSET', KEYS[1], 'f', '9')", "1", "h"), ("HGET", "h", "f")),
]


@pytest.mark.parametrize(("write", "read"), CHANGED, ids=lambda words: " ".join(map(str, words)))
def test_an_own_write_shows_at_once(
    ends: Ends, write: tuple[object, ...], read: tuple[object, ...]
) -> None:
    old = ends.warm(*read)

    ends.ask(*write)
    new = ends.ask(*read)

    assert new == ends.truth(*read) != old
    assert ends.warm(*read) == new


@pytest.mark.parametrize(("write", "read"), CHANGED, ids=lambda words: " ".join(map(str, words)))
def test_a_write_by_others_shows_when_the_server_tells(
    ends: Ends, write: tuple[object, ...], read: tuple[object, ...]
) -> None:
    old = ends.warm(*read)

    ends.truth(*write)
    new = ends.truth(*read)

    assert new != old
    wait_for(lambda: ends.ask(*read) == new, 2, "the new value")


def test_it_goes_with_the_ttl_of_its_key(ends: Ends) -> None:
    ends.truth("PEXPIRE", "h", "300")
    ends.warm("HGETALL", "h")

    wait_for(lambda: ends.truth("EXISTS", "h") == b":0\r\n", 2, "the end of the key")
    assert ends.ask("HGETALL", "h") == ends.truth("HGETALL", "h")


def test_a_field_that_expires_is_told_of_for_a_second_at_most(ends: Ends) -> None:
    if ends.kind == "redis":
        pytest.skip("fields do not expire there")
    assert ends.truth("DEBUG", "SET-ACTIVE-EXPIRE", "0") == b"+OK\r\n"
    ends.warm("HGET", "h", "f")
    ends.truth("HPEXPIRE", "h", "1200", "FIELDS", "1", "f")
    value = ends.truth("HGET", "h", "f")
    assert ends.warm("HGET", "h", "f") == value

    nil = ends.truth("HGET", "h", "none")
    wait_for(lambda: ends.truth("HGET", "h", "f") == nil, 3, "the end of the field")
    wait_for(lambda: ends.ask("HGET", "h", "f") == nil, 1.2, "the end of what is near")
    ends.truth("DEBUG", "SET-ACTIVE-EXPIRE", "1")


def test_who_may_get_and_not_hget_is_refused(ends: Ends) -> None:
    ends.truth("ACL", "SETUSER", "narrow", "reset", "on", ">pw", "~*", "+@all", "-hget")
    ends.warm("HGET", "h", "f")
    with closing(Link(ends.port)) as link:
        link.ask("AUTH", "narrow", "pw")
        for _ in range(5):
            assert link.ask("GET", "s") == b"$5\r\nhello\r\n"
            assert link.ask("HGET", "h", "f").startswith(b"-NOPERM ")


def test_inside_a_transaction_the_server_is_asked(ends: Ends) -> None:
    ends.warm("HGET", "h", "f")
    before = ends.hits()

    assert ends.ask("WATCH", "h") == b"+OK\r\n"
    assert ends.ask("HGET", "h", "f") == b"$1\r\n1\r\n"
    assert ends.ask("MULTI") == b"+OK\r\n"
    assert ends.ask("HGET", "h", "f") == b"+QUEUED\r\n"
    assert ends.ask("EXEC") == b"*1\r\n$1\r\n1\r\n"
    assert ends.hits() == before


def test_what_is_too_large_is_passed_on_and_not_kept(ends: Ends) -> None:
    big = b"x" * 300_000
    for score in range(5):
        ends.truth("ZADD", "big", score, b"%d" % score + big)
        ends.truth("HSET", "bigger", score, big)
    reads = [
        ("ZRANGE", "big", "0", "-1", "WITHSCORES"),
        ("HGETALL", "bigger"),
        ("HMGET", "bigger", "0", "9", "3", "1", "2"),
    ]
    before = ends.hits()

    for words in reads:
        for _ in range(4):
            assert ends.ask(*words) == ends.truth(*words)
    assert ends.hits() == before
