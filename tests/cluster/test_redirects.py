"""What nodes say that will not answer, as clients meet it: never, and in order all the same."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
from nearhit.proxy.resp.replies import reply

from tests.cluster.fake import FakeCluster, FakeNode, fake_cluster, ping_pong
from tests.clusters import key_in, slot_of
from tests.servers import Process, free_port, nearhit, wait_for
from tests.wire.link import Link, command

KEY = key_in(1)
OTHER = key_in(1, b"other")
GET = command("GET", KEY)


@pytest.fixture
def scripted() -> Iterator[FakeCluster]:
    with fake_cluster() as made:
        yield made


@pytest.fixture
def client(scripted: FakeCluster) -> Iterator[Link]:
    with nearhit(scripted.url, "--near-cache", "off") as proxy:
        link = Link(proxy.port)
        wait_for(lambda: link.ask("GET", b"x") == b"$-1\r\n", 5, "the proxy knows the cluster")
        yield link
        link.close()


def keyed(node: FakeNode) -> list[tuple[bytes, ...]]:
    """What it was asked about our keys."""
    return [tuple(words) for words in node.asked if {KEY, OTHER} & {*words}]


def hand_over(cluster: FakeCluster, target: FakeNode) -> None:
    """The slot of KEY is the target's, as all nodes say."""
    first = cluster.nodes[0]
    ends = [end for end, _ in cluster.nodes[0].owners]
    rows = [(1, first), (2, target), *zip(ends, cluster.nodes, strict=True)]
    cluster.every(rows, 2)


def third_key(third: FakeNode) -> bytes:
    return next(key for key in map(key_in, (16000, 8000)) if third.owner(slot_of(key)) is third)


def see_the_map(cluster: FakeCluster, client: Link, node: FakeNode) -> None:
    """Have the proxy look at the map; the request for that is asked behind all others."""
    before = sum(map(maps_told, cluster.nodes))
    node.say(third_key(node), b"-CLUSTERDOWN The cluster is down\r\n")
    client.send(command("GET", third_key(node)))
    wait_for(
        lambda: sum(map(maps_told, cluster.nodes)) > before + 1 and not node.script_left, 5, "told"
    )


def maps_told(node: FakeNode) -> int:
    return sum(words[:2] == [b"CLUSTER", b"SLOTS"] for words in node.seen)


def test_a_moved_request_is_asked_again_at_its_new_owner(
    scripted: FakeCluster, client: Link
) -> None:
    second = scripted.nodes[1]
    hand_over(scripted, second)
    second.data[KEY] = b"v"

    assert client.ask("GET", KEY) == b"$1\r\nv\r\n"
    assert keyed(second) == [(b"GET", KEY)]


@pytest.mark.alone  # the old node is given up when it does not answer within a second
def test_what_is_asked_behind_a_moved_request_stays_behind_it(
    scripted: FakeCluster, client: Link
) -> None:
    first, second, third = scripted.nodes
    gate = threading.Event()
    first.say(KEY, (gate, second.moved(1)))
    client.send(command("SET", KEY, "a"))
    wait_for(lambda: len(keyed(first)) == 1, 5, "the request is at the old owner")
    hand_over(scripted, second)
    other = Link(client.socket.getpeername()[1])
    see_the_map(scripted, client, third)
    # From here on it has a second, and no more: the round that has asked two nodes is over.
    assert other.ask("GET", third_key(third)) == b"$-1\r\n"
    client.send(command("SET", KEY, "b") + GET)
    assert other.ask("GET", third_key(third)) == b"$-1\r\n", "the first ones are with the proxy"
    gate.set()

    # One comes from see_the_map, whose answer had to wait.
    assert client.read(4)[0:4:3] == [b"+OK\r\n", b"$1\r\nb\r\n"]
    assert keyed(second) == [(b"SET", KEY, b"a"), (b"SET", KEY, b"b"), (b"GET", KEY)]
    other.close()


def test_ask_is_followed_with_asking_and_changes_no_map(
    scripted: FakeCluster, client: Link
) -> None:
    first, second, _ = scripted.nodes
    first.say(KEY, second.asks(1), second.asks(1))
    second.importing.add(1)
    second.data[KEY] = b"there"

    client.send(GET * 3)

    assert client.read(3) == [b"$5\r\nthere\r\n"] * 2 + [b"$-1\r\n"]
    asked = [words for words in second.asked if words[0] in (b"ASKING", b"GET")]
    assert asked == [[b"ASKING"], [b"GET", KEY]] * 2


@pytest.mark.parametrize(
    "line",
    [b"-TRYAGAIN later\r\n", b"-CLUSTERDOWN The cluster is down\r\n", b"-LOADING in memory\r\n"],
)
def test_what_cannot_be_answered_now_is_asked_again(
    scripted: FakeCluster, client: Link, line: bytes
) -> None:
    scripted.nodes[0].data[KEY] = b"v"
    scripted.nodes[0].say(KEY, line, line, line)  # to all that is on its way

    client.send(GET + command("SET", KEY, "w") + GET)

    assert client.read(3) == [b"$1\r\nv\r\n", b"+OK\r\n", b"$1\r\nw\r\n"]


def test_what_only_the_servers_know_goes_where_they_say(scripted: FakeCluster) -> None:
    """A module's commands: of the one COMMAND tells the keys, of the other a redirection does."""
    rows = [
        [b"mod.set", -2, [b"write"], 1, 1, 1, [], [], [], []],
        [b"mod.odd", -2, [b"write", b"movablekeys"], 0, 0, 0, [], [], [], []],
    ]
    for node in scripted.nodes:
        node.own[b"COMMAND"] = reply(rows, 2)
        node.say(b"MOD.SET", b"+OK\r\n")
    first, *others = scripted.nodes
    for node in others:
        node.say(b"MOD.ODD", *[first.moved(1)] * 3)
    first.say(b"MOD.ODD", *[b"+OK\r\n"] * 3)
    with nearhit(scripted.url, "--near-cache", "off") as proxy:
        client = Link(proxy.port)
        keys = [key_in(slot) for slot in (1, 8000, 16000)]

        for key in keys:
            assert client.ask("MOD.SET", key) == b"+OK\r\n"
        for _ in range(3):
            assert client.ask("MOD.ODD", KEY) == b"+OK\r\n"
        client.close()

    sets = [[words[1] for words in node.asked if words[0] == b"MOD.SET"] for node in scripted.nodes]
    assert sets == [[key] for key in keys]


def test_nodes_that_name_each_other_are_given_up(scripted: FakeCluster, client: Link) -> None:
    first, second, _ = scripted.nodes
    ping_pong(KEY, first, second, 100)

    answer = client.ask("GET", KEY)

    assert answer == b"-TRYAGAIN the slot moves between nodes\r\n"
    assert len(keyed(first)) + len(keyed(second)) <= 10


def test_hosts_that_the_map_does_not_know_are_not_dialled(
    scripted: FakeCluster, client: Link
) -> None:
    with fake_cluster(1) as stranger:
        node = stranger.nodes[0]
        node.data[KEY] = b"stolen"
        scripted.nodes[0].say(KEY, node.moved(1), node.asks(1))
        scripted.nodes[0].data[KEY] = b"v"

        assert client.ask("GET", KEY) == b"$1\r\nv\r\n"
        assert node.seen == []


def test_a_script_that_makes_up_a_redirection_runs_once(
    scripted: FakeCluster, client: Link
) -> None:
    first, second, _ = scripted.nodes
    forged = second.moved(1)
    first.say(b"EVAL", forged)
    first.say(b"EXISTS", b":1\r\n")
    script = "return redis.error_reply('MOVED 1 127.0.0.1:1')"

    assert client.ask("EVAL", script, 1, KEY).startswith(b"-TRYAGAIN ")
    assert len([words for words in first.asked if words[0] == b"EVAL"]) == 1
    assert not [words for words in second.asked if words[0] == b"EVAL"]


def test_a_script_whose_slot_has_moved_runs_at_the_new_owner(
    scripted: FakeCluster, client: Link
) -> None:
    first, second, _ = scripted.nodes
    first.say(b"EVAL", second.moved(1))
    first.say(b"EXISTS", second.moved(1))
    second.say(b"EVAL", b":5\r\n")
    hand_over(scripted, second)

    assert client.ask("EVAL", "return 5", 1, KEY) == b":5\r\n"


def test_answers_of_a_mixed_run_are_looked_at_one_by_one(
    scripted: FakeCluster, client: Link
) -> None:
    """Some are reads of strings, and counted; each may be a redirection."""
    first, second, _ = scripted.nodes
    first.say(OTHER, second.asks(1))
    second.importing.add(1)

    client.send(command("SET", OTHER, "x") + GET * 4)

    assert client.read(5) == [b"+OK\r\n", *[b"$-1\r\n"] * 4]
    assert second.data == {OTHER: b"x"}


def test_it_listens_while_no_seed_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def listens(process: Process) -> bool:
        with contextlib.suppress(OSError):
            Link(process.port).close()
            return True
        return False

    monkeypatch.setattr(Process, "answers", listens)
    with fake_cluster() as made:
        url = made.url
    port = free_port()
    with nearhit(url, "--near-cache", "off", port=port) as proxy:
        link = Link(proxy.port)
        assert link.ask("GET", KEY).startswith(b"-UPSTREAM no connection to the server")
        link.close()


def test_slots_hash_as_the_tests_say() -> None:
    assert slot_of(KEY) == slot_of(OTHER) == 1
