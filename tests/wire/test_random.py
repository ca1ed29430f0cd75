"""Random pipelines, cut into random pieces: the same bytes to a server and through the proxy.

Only deterministic commands over a handful of keys; hypothesis is derandomized, so a failure
repeats. What shrinks out of a failure here belongs into scripts/ as a script of its own."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import Side, Twins
from .link import Link, command
from .masks import comparable

Words = tuple[str | bytes, ...]

KEYS = st.sampled_from(["a", "b", "c", "d"])
SMALL = st.integers(-2, 4).map(str)
VALUES = st.one_of(st.sampled_from(["", "x", "10", "3.5", "abc"]), st.binary(max_size=12))


def words(name: str, *arguments: st.SearchStrategy[str] | st.SearchStrategy[str | bytes]) -> (
    st.SearchStrategy[Words]
):  # fmt: skip
    return st.tuples(st.just(name), *arguments)


FIELDS = st.sampled_from(["f", "g", "h"])
MEMBERS = st.sampled_from(["1", "2", "7"])

ORDINARY = st.one_of(
    words("SET", KEYS, VALUES), words("GET", KEYS), words("get", KEYS), words("INCR", KEYS),
    words("APPEND", KEYS, VALUES), words("GETSET", KEYS, VALUES), words("GETDEL", KEYS),
    words("MGET", KEYS, KEYS), words("MSET", KEYS, VALUES, KEYS, VALUES), words("STRLEN", KEYS),
    words("SETRANGE", KEYS, SMALL, VALUES), words("GETRANGE", KEYS, SMALL, SMALL),
    words("SET", KEYS, VALUES, st.sampled_from(["NX", "XX", "GET", "KEEPTTL", "BOGUS"])),
    words("DEL", KEYS), words("UNLINK", KEYS, KEYS), words("EXISTS", KEYS, KEYS),
    words("TYPE", KEYS), words("RENAME", KEYS, KEYS), words("COPY", KEYS, KEYS),
    words("EXPIRE", KEYS, st.sampled_from(["1000", "-1", "x"])), words("PERSIST", KEYS),
    words("LPUSH", KEYS, VALUES), words("RPUSH", KEYS, VALUES, VALUES), words("LPOP", KEYS),
    words("RPOP", KEYS, SMALL), words("LRANGE", KEYS, SMALL, SMALL), words("LLEN", KEYS),
    words("LMOVE", KEYS, KEYS, st.just("LEFT"), st.just("RIGHT")),
    words("HSET", KEYS, FIELDS, VALUES), words("HGET", KEYS, FIELDS), words("HGETALL", KEYS),
    words("HDEL", KEYS, FIELDS), words("HINCRBY", KEYS, FIELDS, SMALL),
    words("HMGET", KEYS, FIELDS, FIELDS), words("SADD", KEYS, MEMBERS), words("SCARD", KEYS),
    words("SREM", KEYS, MEMBERS), words("SMEMBERS", KEYS), words("SISMEMBER", KEYS, MEMBERS),
    words("SUNION", KEYS, KEYS), words("ZADD", KEYS, SMALL, MEMBERS),
    words("ZSCORE", KEYS, MEMBERS), words("SMISMEMBER", KEYS, MEMBERS, MEMBERS),
    words("ZRANGE", KEYS, SMALL, SMALL, st.just("WITHSCORES")), words("ZPOPMIN", KEYS),
    words("ZINCRBY", KEYS, SMALL, MEMBERS), words("FLUSHDB"), words("DBSIZE"), words("KEYS", KEYS),
)  # fmt: skip

STRANGE = st.one_of(
    words("PING"), words("ECHO", VALUES), words("SELECT", st.sampled_from(["0", "1", "99", "x"])),
    words("GET"), words("SET", KEYS), words("NOSUCH", VALUES), words(""), words("CLIENT", VALUES),
    words("CLIENT", st.just("SETNAME"), st.sampled_from(["n", "a b", ""])),
    words("CLIENT", st.just("GETNAME")), words("HELLO", st.sampled_from(["2", "3", "9"])),
    words("EVAL", st.just("return redis.call('INCR', KEYS[1])"), st.just("1"), KEYS),
    words("BLPOP", KEYS, st.just("0.001")), words("OBJECT", st.just("ENCODING"), KEYS),
    words("WATCH", KEYS), words("UNWATCH"), words("EXEC"), words("DISCARD"), words("RESET"),
    words("CLIENT", st.just("REPLY"), st.just("ON")), words("PUBLISH", KEYS, VALUES),
)  # fmt: skip

BLOCK = st.tuples(
    st.lists(st.one_of(ORDINARY, STRANGE), max_size=4), st.sampled_from(["EXEC", "DISCARD"])
).map(lambda block: [("MULTI",), *block[0], (block[1],)])

PIPELINE = st.lists(
    st.one_of(ORDINARY.map(lambda one: [one]), STRANGE.map(lambda one: [one]), BLOCK),
    min_size=1,
    max_size=25,
).map(lambda groups: [one for group in groups for one in group])


def play(side: Side, resp: int, data: bytes, cuts: list[int], count: int) -> list[bytes]:
    """Send the bytes in pieces on a fresh connection and read as many replies as commands."""
    with closing(Link(side.port)) as link:
        if resp == 3:
            link.ask("HELLO", 3)
        edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
        for start, end in pairwise(edges):
            link.send(data[start:end])
        frames = link.read(count)
        return [*frames, b"left: %r" % link.finish()]


@settings(
    max_examples=250,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(pipeline=PIPELINE, cuts=st.lists(st.integers(0, 5000), max_size=6))
def test_a_random_pipeline_in_random_pieces_is_answered_alike(
    twins: Twins, resp: int, pipeline: list[Words], cuts: list[int]
) -> None:
    for side in twins.sides:
        side.control.ask("FLUSHALL")
    data = b"".join(command(*one) for one in pipeline)

    truths, heards = (play(side, resp, data, cuts, len(pipeline)) for side in twins.sides)

    for one, truth, heard in zip([*pipeline, ("end",)], truths, heards, strict=True):
        assert comparable((b"",), truth) == comparable((b"",), heard), (one, truth, heard)
