"""Whether a walk has seen all keys, by what the nodes say of themselves."""

from __future__ import annotations

import pytest
from nearhit.proxy.cluster.scan_end import Own, Unsettled, own, walk_again
from nearhit.proxy.cluster.topology import Node, Ranges, Shard, Topology
from nearhit.proxy.resp.replies import bulk

A, B, C = b"a" * 40, b"b" * 40, b"c" * 40
HOME: dict[bytes, Ranges] = {A: ((0, 99),), B: ((100, 199), (300, 300)), C: ((200, 299),)}


def topology() -> Topology:
    return Topology(
        tuple(Shard(Node(id, "n", 1, frozenset({"n"})), (), ranges) for id, ranges in HOME.items())
    )


def line(id: bytes, slots: str, flags: str = "myself,master") -> bytes:
    return b"%b 10.0.0.1:1@2,name %b - 0 0 3 connected %b" % (id, flags.encode(), slots.encode())


def says(id: bytes, slots: str, flags: str = "myself,master") -> bytes:
    other = line(b"d" * 40, "5-9 [7->-%s]" % ("a" * 40), "master")
    return bulk(b"\n".join((other, line(id, slots, flags), b"")))


def all_say(a: str = "", b: str = "", c: str = "") -> list[bytes]:
    return [says(A, f"0-99 {a}"), says(B, f"100-199 300 {b}"), says(C, f"200-299 {c}")]


def mark(slot: int, way: str, id: bytes) -> str:
    return f"[{slot}-{way}-{id.decode()}]"


def test_a_node_is_asked_of_itself() -> None:
    found = own(says(B, f"300 100-199 {mark(150, '>', A)} {mark(7, '<', C)}"))

    assert found == Own(B, True, ((100, 199), (300, 300)), frozenset({A}), frozenset({C}))
    assert not own(says(B, "", "myself,slave")).primary


def test_text_of_resp3_is_text() -> None:
    text = line(A, "0-99") + b"\n"
    assert own(b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text)).id == A


@pytest.mark.parametrize("reply", [b"+OK\r\n", b":1\r\n", bulk(line(A, "0", "master")), b"$-1\r\n"])
def test_an_odd_answer_is_none(reply: bytes) -> None:
    with pytest.raises(ValueError, match="CLUSTER NODES"):
        own(reply)


def test_where_nothing_moves_all_was_seen() -> None:
    assert walk_again(topology(), all_say()) is None


def test_a_slot_on_its_way_to_a_node_that_was_walked_before_has_it_walked_again() -> None:
    there = topology()
    assert walk_again(there, all_say(b=mark(150, ">", A))) == 0
    assert walk_again(there, all_say(a=mark(150, "<", B))) == 0
    assert walk_again(there, all_say(c=mark(200, ">", B))) == 1
    assert walk_again(there, all_say(b=mark(150, ">", A), c=mark(200, ">", B))) == 0


def test_a_slot_on_its_way_to_a_node_that_was_walked_later_is_seen_there() -> None:
    assert walk_again(topology(), all_say(a=mark(5, ">", C), c=mark(5, "<", A))) is None


@pytest.mark.parametrize(
    "replies",
    [
        [says(A, "0-98"), *all_say()[1:]],
        [says(A, "0-100"), *all_say()[1:]],
        [says(A, "0-99", "myself,slave"), *all_say()[1:]],
        [says(C, "0-99"), *all_say()[1:]],
        all_say(a=mark(5, ">", b"e" * 40)),
        all_say(a=mark(5, "<", b"e" * 40)),
    ],
)
def test_another_map_than_the_walks_tells_nothing(replies: list[bytes]) -> None:
    with pytest.raises(Unsettled):
        walk_again(topology(), replies)
