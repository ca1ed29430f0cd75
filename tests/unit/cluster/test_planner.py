"""Where requests go by the command table, as plans."""

import pytest
from nearhit.proxy.cluster import scan
from nearhit.proxy.cluster.planner import Planner
from nearhit.proxy.cluster.plans import Anywhere, At, Everywhere, One, Said, Spread, Unplaced
from nearhit.proxy.cluster.topology import Node, Shard, Topology
from nearhit.proxy.resp.kernel import hash_slot
from nearhit.proxy.resp.replies import bulk
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.table.table import Command

from tests.fakes import TABLE


def node(name: str, port: int) -> Node:
    return Node(name.encode(), "127.0.0.1", port, frozenset({"127.0.0.1"}))


TOPOLOGY = Topology(
    (
        Shard(node("a", 1), (), ((0, 8191),)),
        Shard(node("b", 2), (), ((8192, 16383),)),
    )
)
A, B = b"{a}1", b"b"


LAST = b"*2\r\n$1\r\n0\r\n*0\r\n"


def says(name: bytes, slots: bytes) -> bytes:
    return bulk(name + b" 127.0.0.1:1@2 myself,master - 0 0 1 connected " + slots + b"\n")


def end_of(planner: Planner, *, again: bool = False) -> Everywhere:
    cursor = scan.encode(scan.Place(2, 0, again), TOPOLOGY.fingerprint)
    plan = planner.plan([b"SCAN", b"%d" % cursor])
    assert isinstance(plan, Everywhere)
    return plan


@pytest.fixture
def planner() -> Planner:
    return Planner(lambda: TABLE.commands, lambda: TOPOLOGY, lambda: False)


def said(planner: Planner, *words: bytes) -> bytes:
    plan = planner.plan(words)
    assert isinstance(plan, Said)
    return plan.reply


def test_keys_of_one_slot_go_to_its_owner_in_one_piece(planner: Planner) -> None:
    assert planner.plan([b"mget", A, b"{a}2"]) == One(hash_slot(b"a"))
    assert planner.plan([b"EVAL", b"s", b"1", b"k"]) == One(hash_slot(b"k"))


def test_keys_of_several_slots_go_in_pieces_and_come_back_in_order(planner: Planner) -> None:
    plan = planner.plan([b"MGET", A, B, b"{a}2"])

    assert isinstance(plan, Spread)
    assert list(plan.pieces) == [
        (hash_slot(b"a"), encode([b"MGET", A, b"{a}2"])),
        (hash_slot(B), encode([b"MGET", B])),
    ]
    merged = plan.merge([b"*2\r\n$1\r\n1\r\n$-1\r\n", b"*1\r\n$1\r\n2\r\n"])
    assert merged == b"*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n"


def test_what_cannot_be_cut_is_refused_as_by_a_node(planner: Planner) -> None:
    assert said(planner, b"RENAME", A, B).startswith(b"-CROSSSLOT ")


def test_what_is_of_no_key_goes_anywhere_or_everywhere(planner: Planner) -> None:
    assert planner.plan([b"PUBLISH", b"c", b"m"]) == Anywhere()
    assert planner.plan([b"EVAL", b"s", b"0"]) == Anywhere()
    everywhere = planner.plan([b"DBSIZE"])
    assert isinstance(everywhere, Everywhere)
    assert everywhere.merge([b":1\r\n", b":2\r\n"]) == b":3\r\n"


def test_odd_replies_of_pieces_are_an_error(planner: Planner) -> None:
    everywhere = planner.plan([b"DBSIZE"])

    assert isinstance(everywhere, Everywhere)
    assert everywhere.merge([b":1\r\n", b"+OK\r\n"]).startswith(b"-UPSTREAM ")


MODULE = {
    command.name: command
    for command in (
        Command(b"MOD.SET", -2, frozenset({b"write"}), (1, 1, 1)),
        Command(b"MOD.BOTH", -3, frozenset({b"write"}), (2, 3, 1)),
        Command(b"MOD.ODD", -2, frozenset({b"write", b"movablekeys"}), (0, 0, 0)),
        Command(b"MOD.LIST", 1, frozenset({b"readonly"}), (0, 0, 0)),
        Command(b"MOD.RUN", 1, frozenset({b"write"}), (0, 0, 0)),
    )
}


def test_commands_that_only_this_server_has_go_by_what_it_says_of_them() -> None:
    planner = Planner(lambda: MODULE, lambda: TOPOLOGY, lambda: False)

    assert planner.plan([b"mod.set", A, b"v"]) == One(hash_slot(b"a"))
    assert planner.plan([b"MOD.BOTH", b"x", A, b"{a}2"]) == One(hash_slot(b"a"))
    assert said(planner, b"MOD.BOTH", b"x", A, B).startswith(b"-CROSSSLOT ")
    assert planner.plan([b"MOD.ODD", A]) == Unplaced(), "only a server can tell its keys"
    assert planner.plan([b"MOD.LIST"]) == Anywhere()
    assert b"MOD.RUN is not possible" in said(planner, b"MOD.RUN")
    assert planner.plan([b"MOD.NEW", A]) == Anywhere(), "whose words say that there is none"


def test_the_table_may_change_at_any_time() -> None:
    commands = dict(MODULE)
    planner = Planner(lambda: commands, lambda: TOPOLOGY, lambda: False)

    commands[b"MOD.NEW"] = Command(b"MOD.NEW", -2, frozenset({b"write"}), (1, 1, 1))

    assert planner.plan([b"MOD.NEW", B]) == One(hash_slot(B))


def test_readonly_is_granted_by_valkeys_alone() -> None:
    granted = [
        said(Planner(lambda: TABLE.commands, lambda: TOPOLOGY, valkey), b"READONLY")
        for valkey in (lambda: True, lambda: False)
    ]

    assert granted == [b"+OK\r\n", b"-ERR This instance has cluster support disabled\r\n"]


def test_what_is_of_one_node_is_refused_by_name(planner: Planner) -> None:
    assert b"SWAPDB" in said(planner, b"SWAPDB", b"0", b"1")
    assert b"cluster support disabled" in said(planner, b"CLUSTER", b"INFO")
    assert planner.plan([b"CLUSTER", b"BOGUS"]) == Anywhere()  # whose words say so
    assert planner.plan([b"CLUSTER"]) == Anywhere()


def test_time_is_told_by_the_proxy(planner: Planner) -> None:
    assert said(planner, b"TIME").startswith(b"*2\r\n")


def test_a_scan_walks_one_shard_after_the_other(planner: Planner) -> None:
    first = planner.plan([b"SCAN", b"0", b"COUNT", b"5"])
    assert isinstance(first, At)
    assert (first.shard, first.request) == (0, encode([b"SCAN", b"0", b"COUNT", b"5"]))

    page = first.merge([b"*2\r\n$1\r\n0\r\n*0\r\n"])
    cursor = page.split(b"\r\n")[2]
    behind = planner.plan([b"SCAN", cursor])
    assert isinstance(behind, At)
    assert (behind.shard, behind.request) == (1, encode([b"SCAN", b"0"]))
    last = behind.merge([b"*2\r\n$1\r\n0\r\n*0\r\n"])
    end = planner.plan([b"SCAN", last.split(b"\r\n")[2], b"COUNT", b"5"])
    assert isinstance(end, Everywhere)
    assert (end.replicas, end.request) == (False, encode([b"CLUSTER", b"NODES"]))
    assert end.merge([says(b"a", b"0-8191"), says(b"b", b"8192-16383")]) == LAST


@pytest.mark.parametrize("page", [b"-ERR no\r\n", b"+OK\r\n", b"*2\r\n:1\r\n*0\r\n"])
def test_an_odd_page_is_an_error(planner: Planner, page: bytes) -> None:
    plan = planner.plan([b"SCAN", b"0"])

    assert isinstance(plan, At)
    assert plan.merge([page]).startswith(b"-")


def test_no_scan_without_a_map() -> None:
    planner = Planner(lambda: TABLE.commands, lambda: None, lambda: False)

    assert said(planner, b"SCAN", b"0").startswith(b"-CLUSTERDOWN ")


def test_a_request_of_one_slot_may_be_cut_by_its_keys(planner: Planner) -> None:
    plan = planner.by_key([b"MGET", A, b"{a}2", A])

    assert plan is not None
    assert [piece for _, piece in plan.pieces] == [
        encode([b"MGET", key]) for key in (A, b"{a}2", A)
    ]
    assert plan.merge([b"*1\r\n$1\r\n1\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$1\r\n1\r\n"]) == (
        b"*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n1\r\n"
    )
    pairs = planner.by_key([b"MSET", A, b"1", b"{a}2", b"2"])
    assert pairs is not None
    assert [piece for _, piece in pairs.pieces] == [
        encode([b"MSET", A, b"1"]),
        encode([b"MSET", b"{a}2", b"2"]),
    ]
    assert b"(1 of 2 keys done)" in pairs.merge([b"+OK\r\n", b"-OOM no\r\n"])


@pytest.mark.parametrize("line", [b"MGET a", b"MSET a 1 b", b"SINTER a b", b"MSETEX 1 a 1", b"GET"])
def test_others_are_not_cut_by_keys(planner: Planner, line: bytes) -> None:
    assert planner.by_key(line.split()) is None


def test_a_cursor_of_another_map_has_ours_looked_at() -> None:
    told: list[str] = []
    planner = Planner(lambda: TABLE.commands, lambda: TOPOLOGY, lambda: False, told.append)
    planner.plan([b"SCAN", b"0"])
    assert told == []

    plan = planner.plan([b"SCAN", b"%d" % scan.encode(scan.Place(1, 5), TOPOLOGY.fingerprint + 1)])

    assert isinstance(plan, At)
    assert plan.shard == 0
    assert told == ["a cursor of another map"]


PASSED = [says(b"a", b"0-8191 [9000-<-b]"), says(b"b", b"8192-16383 [9000->-a]")]


def test_a_walk_that_a_slot_may_have_passed_goes_on_once_more(planner: Planner) -> None:
    page = end_of(planner).merge(PASSED)

    number = page.split(b"\r\n")[2]
    assert scan.decode(number, TOPOLOGY.fingerprint, 2) == scan.Place(0, 0, again=True)
    plan = planner.plan([b"SCAN", number])
    assert isinstance(plan, At)
    behind = plan.merge([LAST]).split(b"\r\n")[2]
    assert scan.decode(behind, TOPOLOGY.fingerprint, 2) == scan.Place(1, 0, again=True)
    assert end_of(planner, again=True).merge(PASSED) == LAST


def test_a_walk_does_not_end_with_a_map_that_the_nodes_do_not_have() -> None:
    told: list[str] = []
    planner = Planner(lambda: TABLE.commands, lambda: TOPOLOGY, lambda: False, told.append)

    assert end_of(planner).merge([says(b"a", b"0-8192"), says(b"b", b"8193-16383")]) == b""
    assert told == ["the nodes are not as the map has them"]


def test_who_may_not_ask_the_nodes_goes_by_the_map(planner: Planner) -> None:
    assert end_of(planner).merge([b"-NOPERM no\r\n", PASSED[1]]) == LAST
    assert end_of(planner).merge([PASSED[0], b"-UPSTREAM no\r\n"]) == b"-UPSTREAM no\r\n"
    assert end_of(planner).merge([b"+OK\r\n", PASSED[1]]).startswith(b"-UPSTREAM ")
