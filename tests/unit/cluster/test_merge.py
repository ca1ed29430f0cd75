"""Replies of several nodes, made one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nearhit.proxy.cluster.canary import tags
from nearhit.proxy.cluster.merge import DEPTH_MAX, items, merge
from nearhit.proxy.cluster.table import Merger
from nearhit.proxy.errors import OddReply
from nearhit.proxy.resp.replies import bulk, parsed, reply

OK = b"+OK\r\n"
DOWN = b"-CLUSTERDOWN Hash slot not served\r\n"
NOTBUSY = b"-NOTBUSY No scripts in execution right now.\r\n"
CANARY = bulk(b"nh{%b}" % tags()[7])


@pytest.mark.parametrize(
    ("merger", "replies", "merged"),
    [
        (Merger.ALL_OK, [OK, OK], OK),
        (Merger.SAME, [b"$1\r\na\r\n", b"$1\r\na\r\n"], b"$1\r\na\r\n"),
        (Merger.SUM, [b":1\r\n", b":0\r\n", b":41\r\n"], b":42\r\n"),
        (Merger.MIN, [b":3\r\n", b":1\r\n"], b":1\r\n"),
        (Merger.MIN, [b"*2\r\n:1\r\n:2\r\n", b"*2\r\n:0\r\n:3\r\n"], b"*2\r\n:0\r\n:2\r\n"),
        (Merger.AND, [b"*2\r\n:1\r\n:1\r\n", b"*2\r\n:0\r\n:1\r\n"], b"*2\r\n:0\r\n:1\r\n"),
        (Merger.CONCAT, [b"*1\r\n$1\r\na\r\n", b"*0\r\n"], b"*1\r\n$1\r\na\r\n"),
        (Merger.CONCAT, [b"~1\r\n:1\r\n", b"~1\r\n:2\r\n"], b"~2\r\n:1\r\n:2\r\n"),
        (Merger.CONCAT, [b"*-1\r\n", b"*1\r\n_\r\n"], b"*1\r\n_\r\n"),
        (Merger.UNION, [b"*1\r\n+a\r\n", b"*2\r\n+a\r\n+b\r\n"], b"*2\r\n+a\r\n+b\r\n"),
        (
            Merger.CHANNELS,
            [b"*2\r\n$1\r\na\r\n" + CANARY, b"*2\r\n" + CANARY + b"$3\r\nnh{\r\n"],
            b"*2\r\n$1\r\na\r\n$3\r\nnh{\r\n",
        ),
        (Merger.SUM_PAIRS, [b"*2\r\n+a\r\n:1\r\n"] * 2, b"*2\r\n+a\r\n:2\r\n"),
        (Merger.SUM_PAIRS, [b"%1\r\n+a\r\n:1\r\n"] * 2, b"%1\r\n+a\r\n:2\r\n"),
        (
            Merger.SUM_PAIRS,
            [b"*4\r\n+a\r\n:1\r\n+a\r\n:1\r\n"] * 3,
            b"*4\r\n" + b"+a\r\n:3\r\n" * 2,
        ),
        (Merger.ONE_OK, [NOTBUSY, OK, NOTBUSY], OK),
        (Merger.ONE_OK, [NOTBUSY, NOTBUSY], NOTBUSY),
        (Merger.ONE_OK, [NOTBUSY, DOWN], DOWN),
        (Merger.ONE_OK, [DOWN, OK], OK),
        (Merger.ONE, [b":1\r\n"], b":1\r\n"),
    ],
)
def test_replies_become_one(merger: Merger, replies: list[bytes], merged: bytes) -> None:
    assert merge(merger, replies) == merged


def test_values_stand_where_their_keys_stood() -> None:
    first = b"*2\r\n$3\r\n\r\n$\r\n$-1\r\n"
    second = b"*1\r\n$1\r\nb\r\n"

    merged = merge(Merger.KEYED, [first, second], places=[(0, 2), (1,)])

    assert merged == b"*3\r\n$3\r\n\r\n$\r\n$1\r\nb\r\n$-1\r\n"


def test_values_of_resp3_do() -> None:
    merged = merge(Merger.KEYED, [b"*1\r\n_\r\n", b"*1\r\n$1\r\nb\r\n"], 3, [(1,), (0,)])

    assert merged == b"*2\r\n$1\r\nb\r\n_\r\n"


# --- Errors


def test_a_read_of_which_a_part_failed_is_one_error() -> None:
    assert merge(Merger.KEYED, [b"*1\r\n$1\r\na\r\n", DOWN], places=[(0,), (1,)]) == DOWN
    assert merge(Merger.CONCAT, [DOWN, b"*0\r\n"]) == DOWN


@pytest.mark.parametrize("merger", [Merger.SUM, Merger.ALL_OK, Merger.SAME])
def test_a_write_of_which_a_part_failed_tells_how_much_is_done(merger: Merger) -> None:
    merged = merge(merger, [b":1\r\n", DOWN, b":1\r\n"])

    assert merged == b"-CLUSTERDOWN Hash slot not served (2 of 3 slots done)\r\n"


def test_parts_that_are_nodes_are_called_so() -> None:
    assert merge(Merger.ALL_OK, [OK, b"-ERR a\r\n"], parts=b"nodes") == (
        b"-ERR a (1 of 2 nodes done)\r\n"
    )


def test_a_write_of_which_all_parts_failed_is_the_servers_own_error() -> None:
    assert merge(Merger.ALL_OK, [DOWN, NOTBUSY]) == DOWN


def test_an_error_in_a_bulk_becomes_a_line_when_it_is_half_done() -> None:
    merged = merge(Merger.ALL_OK, [OK, b"!9\r\nERR a\r\nbc\r\n"])

    assert merged == b"-ERR a bc (1 of 2 slots done)\r\n"


# --- RANDOM, INFO


def test_a_random_key_is_nil_only_where_there_are_none() -> None:
    key = b"$1\r\na\r\n"

    assert merge(Merger.RANDOM, [b"$-1\r\n", key, b"_\r\n"]) == key
    assert merge(Merger.RANDOM, [key, OK], pick=lambda count: count - 1) == OK
    assert merge(Merger.RANDOM, [b"$-1\r\n"] * 2) == b"$-1\r\n"
    assert merge(Merger.RANDOM, [b"_\r\n"] * 2, resp=3) == b"_\r\n"


def test_info_is_merged_in_the_protocol_that_it_came_in() -> None:
    text = b"# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n"
    twice = b"# Keyspace\r\ndb0:keys=2,expires=0,avg_ttl=0\r\n"

    flat = b"$%d\r\n%b\r\n" % (len(text), text)
    verbatim = b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text)

    assert parsed(merge(Merger.INFO, [flat] * 2)) == twice
    assert merge(Merger.INFO, [verbatim] * 2) == b"=%d\r\ntxt:%b\r\n" % (len(twice) + 4, twice)


# --- What servers must not be trusted with


@pytest.mark.parametrize(
    ("merger", "replies"),
    [
        (Merger.SAME, [OK, b"+NO\r\n"]),
        (Merger.SUM, [b":1\r\n", OK]),
        (Merger.SUM, [b":x\r\n"]),
        (Merger.MIN, [OK]),
        (Merger.AND, [b"*1\r\n:1\r\n", b"*2\r\n:1\r\n:1\r\n"]),
        (Merger.CONCAT, [OK]),
        (Merger.UNION, [b"*2\r\n:1\r\n"]),
        (Merger.UNION, [b"*1\r\n:1\r\n:1\r\n"]),
        (Merger.UNION, [b"*1\r\n$9\r\na\r\n"]),
        (Merger.UNION, [b"*1\r\n$x\r\na\r\n"]),
        (Merger.UNION, [b"*1\r\n" * (DEPTH_MAX + 5) + b":1\r\n"]),
        (Merger.SUM_PAIRS, [b"*2\r\n+a\r\n:1\r\n", b"*2\r\n+b\r\n:1\r\n"]),
        (Merger.INFO, [OK]),
    ],
)
def test_a_reply_of_another_kind_is_odd(merger: Merger, replies: list[bytes]) -> None:
    with pytest.raises(OddReply):
        merge(merger, replies)


def test_fewer_values_than_keys_are_odd() -> None:
    with pytest.raises(OddReply):
        merge(Merger.KEYED, [b"*1\r\n$1\r\na\r\n"], places=[(0, 1)])


VALUES = st.recursive(
    st.none() | st.binary(max_size=9) | st.integers(-9, 9) | st.booleans(),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=9,
)


@given(st.lists(VALUES, max_size=6), st.sampled_from([2, 3]))
def test_items_are_cut_as_they_are_framed(values: list[object], resp: int) -> None:
    whole = [reply(value, resp) for value in values]  # type: ignore[arg-type]

    assert list(items(reply(values, resp))) == whole  # type: ignore[arg-type]
