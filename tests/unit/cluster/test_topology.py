"""CLUSTER SLOTS as a value, in the forms of all servers, and what is asked of it."""

from __future__ import annotations

import pytest
from nearhit.proxy.cluster.topology import (
    SLOTS,
    UNCOVERED,
    Node,
    Topology,
    parse_slots,
)
from nearhit.proxy.resp.replies import Value, parsed, reply

A, B, C, D = (letter * 40 for letter in (b"a", b"b", b"c", b"d"))
HALVES: Value = [
    [8192, 16383, [b"10.0.0.2", 6379, B, []], [b"10.0.0.4", 6379, D, []]],
    [0, 8191, [b"10.0.0.1", 6379, A, []], [b"10.0.0.3", 6379, C, []]],
]


def node(id: bytes, host: str, port: int = 6379, *names: str) -> Node:
    return Node(id, host, port, frozenset({host, *names}))


def halves() -> Topology:
    return parse_slots(HALVES, "asked")


def test_shards_stand_in_the_order_of_their_primaries_ids() -> None:
    found = halves()

    assert [shard.primary for shard in found.shards] == [node(A, "10.0.0.1"), node(B, "10.0.0.2")]
    assert [shard.replicas for shard in found.shards] == [
        (node(C, "10.0.0.3"),),
        (node(D, "10.0.0.4"),),
    ]
    assert [shard.ranges for shard in found.shards] == [((0, 8191),), ((8192, 16383),)]
    assert [each.id for each in found.nodes] == [A, C, B, D]


def test_each_slot_has_its_owner() -> None:
    found = halves()

    assert len(found.owners) == SLOTS
    assert found.owners[0] == found.owners[8191] == 0
    assert found.owners[8192] == found.owners[16383] == 1
    assert found.missing == 0
    assert found.shard(8192) == found.shards[1]


def test_slots_that_nobody_names_are_uncovered() -> None:
    found = parse_slots([[1, 2, [b"h", 1, A]], [4, 4, [b"h", 1, A]]], "asked")

    assert found.shard(0) is None
    assert found.owners[3] == UNCOVERED
    assert found.missing == SLOTS - 3
    assert found.shards[0].ranges == ((1, 2), (4, 4))
    assert parse_slots([], "asked").missing == SLOTS


def test_ranges_of_a_primary_that_touch_are_one() -> None:
    rows: Value = [[5, 9, [b"h", 1, A]], [0, 3, [b"h", 1, A]], [4, 4, [b"h", 1, A]]]

    assert parse_slots(rows, "asked").shards[0].ranges == ((0, 9),)


@pytest.mark.parametrize("resp", [2, 3])
def test_what_redis_7_and_valkey_tell_of_a_node_gives_it_more_names(resp: int) -> None:
    rows: Value = [
        [0, 16383, [b"Cache.example.org", 6379, A, {"ip": b"10.0.0.1", "availability-zone": b"z"}]]
    ]

    found = parse_slots(parsed(reply(rows, resp)), "asked")

    assert found.find("cache.EXAMPLE.org", 6379) == found.shards[0].primary
    assert found.find("10.0.0.1", 6379) == found.shards[0].primary
    assert found.shards[0].primary.host == "Cache.example.org"
    assert found.find("z", 6379) is None


@pytest.mark.parametrize("more", [[], [None]])
def test_redis_6_tells_nothing_but_address_and_id(more: list[Value]) -> None:
    found = parse_slots([[0, 16383, [b"10.0.0.1", 6379, A, *more]]], "asked")

    assert found.shards[0].primary == node(A, "10.0.0.1")


@pytest.mark.parametrize("endpoint", [None, b""])
def test_a_node_without_an_endpoint_is_where_the_answer_came_from(endpoint: Value) -> None:
    found = parse_slots([[0, 16383, [endpoint, 7000, A, [b"hostname", b"h.org"]]]], "asked")

    assert found.shards[0].primary == node(A, "asked", 7000, "h.org")


@pytest.mark.parametrize("unknown", [[b"?", 6379, A, []], [b"10.0.0.1", 0, A, []]])
def test_a_primary_that_cannot_be_reached_leaves_its_slots_uncovered(unknown: Value) -> None:
    rows: Value = [[0, 99, unknown], [100, 16383, [b"h", 1, B, []], [b"?", 6379, C, []]]]

    found = parse_slots(rows, "asked")

    assert found.missing == 100
    assert [shard.primary.id for shard in found.shards] == [B]
    assert found.shards[0].replicas == ()


def test_a_host_and_port_of_no_node_is_not_found() -> None:
    found = halves()

    assert found.find("10.0.0.1", 6380) is None
    assert found.find("10.0.0.9", 6379) is None
    assert found.find("10.0.0.4", 6379) == node(D, "10.0.0.4")


def test_moved_slots_are_those_whose_primary_is_another() -> None:
    before = halves()
    after = parse_slots(
        [
            [0, 8189, [b"elsewhere", 6379, A, []]],
            [8191, 16382, [b"10.0.0.2", 6379, B, []]],
            [16383, 16383, [b"10.0.0.4", 6379, D, []]],
        ],
        "asked",
    )

    assert before.moved(after) == after.moved(before) == {8190, 8191, 16383}
    assert before.moved(halves()) == set()


def test_the_fingerprint_is_of_who_owns_what_alone() -> None:
    before = halves()
    elsewhere = parse_slots(
        [[8192, 16383, [b"h", 1, B]], [0, 8191, [b"h", 2, A], [b"h", 3, D]]], "asked"
    )
    moved = parse_slots([[8191, 16383, [b"h", 1, B]], [0, 8190, [b"h", 2, A]]], "asked")

    assert before.fingerprint == elsewhere.fingerprint
    assert before.fingerprint != moved.fingerprint
    assert 0 <= moved.fingerprint < 1024


def test_equal_answers_are_equal_topologies_in_any_order() -> None:
    assert isinstance(HALVES, list)
    assert parse_slots(HALVES[::-1], "asked") == halves()
    assert parse_slots(HALVES[:1], "asked") != halves()


def test_one_slot_is_taken_over_by_the_primary_that_a_redirection_names() -> None:
    before = halves()
    owner = before.shards[1].primary

    after = before.with_owner(4000, owner)

    assert before.moved(after) == {4000}
    assert after.shards[0].ranges == ((0, 3999), (4001, 8191))
    assert after.shards[1].ranges == ((4000, 4000), (8192, 16383))
    assert after.with_owner(4000, before.shards[0].primary) == before


def test_the_last_slot_of_a_primary_leaves_it_without_any() -> None:
    before = parse_slots([[0, 0, [b"h", 1, A]], [5, 5, [b"h", 2, B]]], "asked")

    after = before.with_owner(0, before.shards[1].primary)

    assert [shard.ranges for shard in after.shards] == [(), ((0, 0), (5, 5))]
    assert (
        before.with_owner(7, before.shards[0].primary).shard(7)
        == (before.with_owner(7, before.shards[0].primary).shards[0])
    )


def test_a_slot_goes_to_primaries_of_this_topology_only() -> None:
    before = halves()

    assert before.with_owner(4000, before.shards[1].replicas[0]) is before
    assert before.with_owner(4000, before.shards[0].primary) is before


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"hello", "answered with b'hello'"),
        ({}, "answered with {}"),
        ([7], "entry that is 7"),
        ([[0, 1]], "entry that is"),
        ([[2, 1, [b"h", 1, A]]], "range from 2 to 1"),
        ([[0, 16384, [b"h", 1, A]]], "range from 0 to 16384"),
        ([[-1, 5, [b"h", 1, A]]], "range from -1"),
        ([[b"0", 5, [b"h", 1, A]]], "range from b'0'"),
        ([[0, 5, b"h"]], "node that is b'h'"),
        ([[0, 5, [b"h", 1]]], "node that is"),
        ([[0, 5, [b"h", 1, b""]]], "node that is"),
        ([[0, 5, [b"h", b"1", A]]], "node that is"),
        ([[0, 5, [b"h", 65536, A]]], "node that is"),
        ([[0, 5, [3, 1, A]]], "node that is"),
        ([[0, 5, [b"h", 1, A]], [5, 9, [b"h", 2, B]]], "slot 5 to two nodes"),
        ([[0, 9, [b"h", 1, A]], [0, 9, [b"h", 1, A]]], "slot 0 to two nodes"),
    ],
)
def test_what_is_no_answer_is_refused_in_clear_words(answer: Value, words: str) -> None:
    with pytest.raises(ValueError, match="CLUSTER SLOTS") as refused:
        parse_slots(answer, "asked")

    assert words in str(refused.value)
    assert len(str(refused.value)) < 200


def test_a_node_is_shown_by_the_head_of_its_id_and_its_address() -> None:
    assert repr(node(A, "10.0.0.1")) == "<Node aaaaaaaa 10.0.0.1:6379>"
