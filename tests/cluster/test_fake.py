"""What a scripted cluster says, as the tests of the proxy rely on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from nearhit.proxy.cluster.topology import parse_slots
from nearhit.proxy.resp.replies import parsed

from tests.cluster.fake import CLOSE, FakeCluster, FakeNode, fake_cluster, ping_pong
from tests.clusters import key_in, slot_of
from tests.servers import HOST
from tests.wire.link import Link

KEY = key_in(1)


@pytest.fixture
def scripted() -> Iterator[FakeCluster]:
    with fake_cluster() as made:
        yield made


def ask(node: FakeNode, *words: bytes) -> bytes:
    link = Link(node.port)
    try:
        return link.ask(*words)
    finally:
        link.close()


def test_every_node_owns_its_share_and_redirects_the_rest(scripted: FakeCluster) -> None:
    first, second, _ = scripted.nodes

    found = parse_slots(parsed(ask(second, b"CLUSTER", b"SLOTS")), HOST)

    assert [shard.primary.port for shard in found.shards] == [node.port for node in scripted.nodes]
    assert found.missing == 0
    assert b"cluster_current_epoch:1" in ask(first, b"CLUSTER", b"INFO")
    assert scripted.owner(KEY) is first
    assert ask(first, b"SET", KEY, b"v") == b"+OK\r\n"
    assert ask(first, b"GET", KEY) == b"$1\r\nv\r\n"
    assert ask(second, b"GET", KEY) == first.moved(1) == b"-MOVED 1 127.0.0.1:%d\r\n" % first.port
    assert first.asked == [[b"SET", KEY, b"v"], [b"GET", KEY]]


def test_it_speaks_the_protocol_that_was_asked_for(scripted: FakeCluster) -> None:
    link = Link(scripted.nodes[0].port)

    assert link.ask(b"HELLO", b"3").startswith(b"%")
    assert link.ask(b"GET", KEY) == b"_\r\n"
    assert link.ask(b"HELLO", b"2").startswith(b"*")
    assert link.ask(b"GET", KEY) == b"$-1\r\n"
    link.close()


def test_a_script_is_said_once_and_by_key_or_command(scripted: FakeCluster) -> None:
    first, second, _ = scripted.nodes
    first.say(KEY, second.asks(1), b"-TRYAGAIN\r\n")
    first.say(b"MULTI", b"+OK\r\n")

    assert ask(first, b"GET", KEY) == second.asks(1)
    assert ask(first, b"MGET", KEY) == b"-TRYAGAIN\r\n"
    assert ask(first, b"GET", KEY) == b"$-1\r\n"
    assert ask(first, b"MULTI") == b"+OK\r\n"
    assert ask(first, b"EXEC").startswith(b"-ERR the script")


def test_asking_is_for_one_request_and_a_slot_on_its_way(scripted: FakeCluster) -> None:
    first, second, _ = scripted.nodes
    second.data[KEY] = b"v"
    second.importing.add(1)
    link = Link(second.port)

    answers = [link.ask(b"ASKING"), link.ask(b"GET", KEY), link.ask(b"GET", KEY)]
    link.close()

    assert answers == [b"+OK\r\n", b"$1\r\nv\r\n", first.moved(1)]


def test_a_late_answer_keeps_back_what_follows_it(scripted: FakeCluster) -> None:
    first, second, _ = scripted.nodes
    gate = threading.Event()
    first.say(KEY, (gate, second.moved(1)))
    link, free = Link(first.port), Link(first.port)

    link.send(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(KEY), KEY))
    link.send(b"*1\r\n$4\r\nPING\r\n")
    assert link.read(1, 0.05) == []
    assert free.ask(b"GET", KEY) == b"$-1\r\n"
    gate.set()

    assert link.read(2) == [second.moved(1), b"+PONG\r\n"]
    link.close()
    free.close()


def test_half_an_answer_is_followed_by_the_rest_or_by_nothing(scripted: FakeCluster) -> None:
    first = scripted.nodes[0]
    gate = threading.Event()
    first.say(KEY, (b"$5\r\nhe", gate, b"llo\r\n"), (b"$5\r\nhe", CLOSE))
    link, cut = Link(first.port), Link(first.port)

    link.send(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(KEY), KEY))
    assert link.read(1, 0.05) == []
    assert bytes(link.buffer) == b"$5\r\nhe"
    gate.set()
    assert link.read(1) == [b"$5\r\nhello\r\n"]
    cut.send(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(KEY), KEY))
    assert cut.rest() == b"$5\r\nhe"
    link.close()
    cut.close()


def test_two_nodes_can_each_name_the_other(scripted: FakeCluster) -> None:
    first, second, _ = scripted.nodes
    ping_pong(KEY, first, second, 2)

    assert [ask(first, b"GET", KEY) for _ in range(3)] == [second.moved(1)] * 2 + [b"$-1\r\n"]
    assert [ask(second, b"GET", KEY) for _ in range(3)] == [first.moved(1)] * 3
    assert slot_of(KEY) == 1
