"""What a client does on a connection of its own, as on one server, in front of a cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.clusters import Cluster, key_in
from tests.servers import HOST, Process, nearhit, wait_for
from tests.wire.link import Link

pytestmark = pytest.mark.waits
SLOT, OTHER = 100, 9000


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Process]:
    with nearhit(cluster.url, env={"NEARHIT_ENV": "production"}) as process:
        yield process


@pytest.fixture
def client(proxy: Process) -> Iterator[Any]:
    made: Any = redis.Redis(port=proxy.port, host=HOST, socket_timeout=20)
    yield made
    made.close()


@pytest.fixture
def link(proxy: Process) -> Iterator[Link]:
    made = Link(proxy.port)
    yield made
    made.close()


@pytest.mark.parametrize(
    "words", [("HELLO",), ("HELLO", "2"), ("HELLO", "3"), ("HELLO", "3", "AUTH", "default", "x")]
)
def test_hello_tells_of_no_cluster(link: Link, words: tuple[str, ...]) -> None:
    told = link.ask(*words)

    assert b"mode\r\n$10\r\nstandalone\r\n" in told
    number = told.partition(b"$2\r\nid\r\n:")[2].partition(b"\r\n")[0]
    assert link.ask("CLIENT", "ID") == b":%b\r\n" % number


def test_a_transaction_of_one_slot_runs(client: Any) -> None:
    a, b = key_in(SLOT, b"a"), key_in(SLOT, b"b")
    with client.pipeline(transaction=True) as pipe:
        got = pipe.set(a, 1).incr(a).mget(a, b).execute()

    assert got == [True, 2, [b"2", None]]


def test_a_transaction_is_queued_step_by_step(link: Link) -> None:
    a = key_in(SLOT, b"a")

    assert link.ask("MULTI") == b"+OK\r\n"
    assert link.ask("SET", a, "1") == b"+QUEUED\r\n"
    assert link.ask("PUBLISH", "c", "m") == b"+QUEUED\r\n"
    assert link.ask("INCR", a) == b"+QUEUED\r\n"
    assert link.ask("EXEC") == b"*3\r\n+OK\r\n:0\r\n:2\r\n"
    assert link.ask("GET", a) == b"$1\r\n2\r\n"


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (("GET", key_in(OTHER)), b"-CROSSSLOT"),
        (("NOSUCH", "a", "b"), b"-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b'"),
        (("GET",), b"-ERR wrong number of arguments for 'get' command"),
        (("SELECT", "0"), b"-ERR 'SELECT' is not possible inside MULTI in cluster mode"),
    ],
)
def test_what_cannot_be_queued_aborts_the_transaction(
    link: Link, bad: tuple[str, ...], told: bytes
) -> None:
    a = key_in(SLOT, b"a")
    link.ask("MULTI")
    link.ask("SET", a, "1")

    assert link.ask(*bad).startswith(told)
    assert link.ask("EXEC").startswith(b"-EXECABORT")
    assert link.ask("GET", a) == b"$-1\r\n"


def test_a_transaction_follows_its_slot(cluster: Cluster, client: Any) -> None:
    a, b = key_in(SLOT, b"a"), key_in(SLOT, b"b")
    move = cluster.move(SLOT, cluster.nodes[1]).begin()
    with client.pipeline(transaction=True) as pipe:  # ASK
        assert pipe.set(a, 1).incr(a).execute() == [True, 2]
    move.keys().finish(known=False)
    with client.pipeline(transaction=True) as pipe:  # MOVED
        assert pipe.incr(a).incr(b).execute() == [3, 1]


def test_a_watched_key_that_changes_discards(client: Any) -> None:
    a = key_in(SLOT, b"a")
    with client.pipeline() as pipe:
        pipe.watch(a)
        client.set(a, 1)
        pipe.multi()
        pipe.set(a, 2)
        with pytest.raises(redis.WatchError):
            pipe.execute()
        pipe.watch(a)
        assert pipe.get(a) == b"1"
        pipe.multi()
        pipe.incr(a)
        assert pipe.execute() == [2]


def test_a_watch_ends_where_its_slot_has_moved(cluster: Cluster, link: Link) -> None:
    a = key_in(SLOT, b"a")
    link.ask("SET", a, "1")
    assert link.ask("WATCH", a) == b"+OK\r\n"
    cluster.move_whole(SLOT, cluster.nodes[1])
    link.ask("MULTI")
    link.ask("INCR", a)

    assert link.ask("EXEC") == b"*-1\r\n"
    assert link.ask("WATCH", a) == b"+OK\r\n"
    link.ask("MULTI")
    link.ask("INCR", a)
    assert link.ask("EXEC") == b"*1\r\n:2\r\n"
    assert link.ask("WATCH", a, key_in(OTHER)).startswith(b"-CROSSSLOT")
    assert link.ask("UNWATCH") == b"+OK\r\n"


def test_a_watch_ahead_of_its_slot_makes_no_key_twice(cluster: Cluster, link: Link) -> None:
    """A second list at the new node would be overwritten by the one that is to come."""
    absent, a = key_in(SLOT, b"absent"), key_in(SLOT, b"list")
    link.ask("RPUSH", a, "1")
    move = cluster.move(SLOT, cluster.nodes[1]).begin()

    def push() -> bytes:
        assert link.ask("WATCH", absent) == b"+OK\r\n"
        link.ask("MULTI")
        link.ask("RPUSH", a, "2")
        return link.ask("EXEC")

    assert push() == b"*-1\r\n"
    move.keys().finish()
    assert push() == b"*1\r\n:2\r\n"
    assert link.ask("LRANGE", a, 0, -1) == b"*2\r\n$1\r\n1\r\n$1\r\n2\r\n"


def blocked(cluster: Cluster) -> int:
    total = 0
    for member in cluster.nodes:
        info: Any = member.ask("INFO", "clients")
        total += int(info.partition(b"blocked_clients:")[2].split(b"\r\n")[0])
    return total


def pops(client: Any, *args: Any) -> tuple[threading.Thread, list[Any]]:
    got: list[Any] = []

    def run() -> None:
        got.append(client.blpop(*args))

    thread = threading.Thread(target=run)
    thread.start()
    return thread, got


def test_a_pop_waits_and_goes_with_its_slot(cluster: Cluster, client: Any) -> None:
    key = key_in(SLOT, b"list")
    thread, got = pops(client, [key], 10)
    wait_for(lambda: blocked(cluster) == 1, 5, "the pop waits")

    cluster.move_whole(SLOT, cluster.nodes[1])
    wait_for(lambda: blocked(cluster) == 1, 5, "the pop waits at the new owner")
    client.rpush(key, "v")
    thread.join(10)

    assert got == [(key, b"v")]
    assert client.llen(key) == 0


def test_a_pop_outlives_a_failover(cluster: Cluster, client: Any) -> None:
    key = key_in(SLOT, b"list")
    thread, got = pops(client, [key], 15)
    wait_for(lambda: blocked(cluster) == 1, 5, "the pop waits")

    cluster.fail_over(cluster.replica_of(cluster.nodes[0]))
    wait_for(lambda: blocked(cluster) == 1, 5, "the pop waits at the new primary")
    client.rpush(key, "v")
    thread.join(10)

    assert got == [(key, b"v")]


def test_a_pop_that_moved_keeps_its_time(cluster: Cluster, link: Link) -> None:
    key = key_in(SLOT, b"list")
    began = time.monotonic()
    link.send(b"*3\r\n$5\r\nBLPOP\r\n$%d\r\n%b\r\n$1\r\n2\r\n" % (len(key), key))
    wait_for(lambda: blocked(cluster) == 1, 5, "the pop waits")
    cluster.move_whole(SLOT, cluster.nodes[1])

    assert link.read(1, 5) == [b"*-1\r\n"]
    assert 1.9 < time.monotonic() - began < 2.6


def test_who_leaves_pops_nothing(cluster: Cluster, proxy: Process, client: Any) -> None:
    key = key_in(SLOT, b"list")
    link = Link(proxy.port)
    link.send(b"*3\r\n$5\r\nBLPOP\r\n$%d\r\n%b\r\n$1\r\n0\r\n" % (len(key), key))
    wait_for(lambda: blocked(cluster) == 1, 5, "the pop waits")
    link.close()
    wait_for(lambda: blocked(cluster) == 0, 5, "the pop has ended")

    client.rpush(key, "v")

    assert client.llen(key) == 1


@pytest.mark.parametrize(("how", "told"), [("TIMEOUT", b"*-1"), ("ERROR", b"-UNBLOCKED")])
def test_a_pop_is_unblocked_by_another_client(
    cluster: Cluster, proxy: Process, link: Link, how: str, told: bytes
) -> None:
    key = key_in(OTHER, b"list")
    number = int(link.ask("CLIENT", "ID")[1:])
    link.send(b"*3\r\n$5\r\nBLPOP\r\n$%d\r\n%b\r\n$1\r\n0\r\n" % (len(key), key))
    wait_for(lambda: blocked(cluster) == 1, 5, "the pop waits")
    other = Link(proxy.port)

    assert other.ask("CLIENT", "UNBLOCK", number, how) == b":1\r\n"

    assert link.read(1, 5)[0].startswith(told)
    assert other.ask("CLIENT", "UNBLOCK", number, how) == b":0\r\n"
    other.close()


def test_a_stream_is_read_from_the_moment_of_asking(cluster: Cluster, client: Any) -> None:
    key = key_in(SLOT, b"stream")
    client.xadd(key, {"f": "old"})
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(client.xread({key: "$"}, block=10_000)))
    thread.start()
    wait_for(lambda: blocked(cluster) == 1, 5, "the read waits")
    cluster.move_whole(SLOT, cluster.nodes[1])
    client.xadd(key, {"f": "new"})
    thread.join(10)

    [[name, entries]] = got[0]
    assert name == key
    assert [fields for _, fields in entries] == [{b"f": b"new"}]


def heard(pubsub: Any, count: int, seconds: float = 5.0) -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    end = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        message = pubsub.get_message(timeout=0.1)
        if message is not None:
            found.append((message["type"], message["channel"], message["data"]))
    return found


@pytest.mark.parametrize("protocol", [2, 3])
def test_messages_come_from_wherever_they_are_published(
    cluster: Cluster, proxy: Process, protocol: int
) -> None:
    client: Any = redis.Redis(port=proxy.port, host=HOST, protocol=protocol)
    pubsub = client.pubsub()
    pubsub.subscribe("c", "d")
    pubsub.psubscribe("p*")
    assert heard(pubsub, 3) == [
        ("subscribe", b"c", 1), ("subscribe", b"d", 2), ("psubscribe", b"p*", 3)
    ]  # fmt: skip

    for member in cluster.nodes[:3]:
        member.ask("PUBLISH", "c", f"{member.port}")
    client.publish("pq", "x")

    ports = sorted(b"%d" % member.port for member in cluster.nodes[:3])
    got = heard(pubsub, 4)
    assert sorted(data for kind, _, data in got if kind == "message") == ports
    assert [data for kind, _, data in got if kind == "pmessage"] == [b"x"]
    assert heard(pubsub, 1, 0.3) == []
    pubsub.unsubscribe("c")
    assert heard(pubsub, 1) == [("unsubscribe", b"c", 2)]
    client.publish("c", "gone")
    client.publish("d", "there")
    assert heard(pubsub, 1) == [("message", b"d", b"there")]
    pubsub.close()
    assert client.ping()
    client.close()


def test_subscriptions_outlive_the_node_that_held_them(cluster: Cluster, client: Any) -> None:
    pubsub = client.pubsub()
    pubsub.subscribe("c")
    heard(pubsub, 1)

    def holder() -> Any:
        for member in cluster.nodes:
            if member.alive and member.ask("PUBSUB", "NUMSUB", "c") == [b"c", 1]:
                return member
        return None

    first = holder()
    assert first is not None
    first.kill()
    wait_for(lambda: holder() is not None, 5, "another node holds the subscription")
    client.publish("c", "again")

    assert heard(pubsub, 1) == [("message", b"c", b"again")]


def test_events_of_keys_come_from_every_primary(cluster: Cluster, client: Any) -> None:
    for member in cluster.nodes:
        member.ask("CONFIG", "SET", "notify-keyspace-events", "KEA")
    try:
        pubsub = client.pubsub()
        pubsub.psubscribe("__keyevent@0__:set")
        heard(pubsub, 1)
        keys = [key_in(slot) for slot in (SLOT, OTHER, 16000)]
        for key in keys:
            client.set(key, 1)

        assert sorted(data for _, _, data in heard(pubsub, 3)) == sorted(keys)
        assert heard(pubsub, 1, 0.3) == []
    finally:
        for member in cluster.nodes:
            member.ask("CONFIG", "SET", "notify-keyspace-events", "")


def test_shard_channels_of_any_slot_follow_their_slots(cluster: Cluster, client: Any) -> None:
    one, other = key_in(SLOT), key_in(OTHER)
    pubsub = client.pubsub()
    pubsub.ssubscribe(one)
    pubsub.ssubscribe(other)
    assert heard(pubsub, 2) == [("ssubscribe", one, 1), ("ssubscribe", other, 2)]

    cluster.move_whole(SLOT, cluster.nodes[1])
    wait_for(
        lambda: cluster.nodes[1].ask("PUBSUB", "SHARDNUMSUB", one) == [one, 1],
        5,
        "the new owner has it",
    )
    client.spublish(one, "1")
    client.spublish(other, "2")

    assert sorted(heard(pubsub, 2)) == sorted([("smessage", one, b"1"), ("smessage", other, b"2")])
    pubsub.sunsubscribe(one)
    assert heard(pubsub, 1) == [("sunsubscribe", one, 1)]


def test_a_wait_counts_replicas_of_every_shard(client: Any) -> None:
    client.set(key_in(SLOT), 1)
    client.set(key_in(OTHER), 1)

    assert client.wait(1, 5000) == 1
    assert client.wait(2, 100) == 1


@pytest.mark.parametrize(
    "words", [("MONITOR",), ("CLIENT", "TRACKING", "ON"), ("SYNC",), ("REPLCONF", "ACK", "0")]
)
def test_what_needs_one_server_is_refused_by_name(link: Link, words: tuple[str, ...]) -> None:
    told = link.ask(*words)

    assert told.startswith(b"-ERR " + " ".join(words[:2]).encode()[:7])
    assert b"cluster mode" in told


@pytest.mark.parametrize("megabytes", [9, 80])  # kept, and passed on
def test_a_large_value_comes_in_pieces_and_goes_out_again(client: Any, megabytes: int) -> None:
    key = key_in(SLOT)
    value = b"x" * (megabytes * 1024 * 1024)

    client.set(key, value)

    assert client.get(key) == value
    assert client.strlen(key) == len(value)


def test_a_lent_connection_has_its_db(cluster: Cluster, proxy: Process) -> None:
    if cluster.kind != "valkey":
        pytest.skip("a cluster of one db")
    a = key_in(SLOT)
    client: Any = redis.Redis(port=proxy.port, host=HOST, db=3)
    with client.pipeline(transaction=True) as pipe:
        assert pipe.set(a, "3").execute() == [True]
    with client.pipeline() as pipe:
        pipe.watch(a)
        assert pipe.get(a) == b"3"
        pipe.multi()
        pipe.append(a, "x")
        assert pipe.execute() == [2]
    client.rpush(key_in(SLOT, b"l"), "v")
    assert client.blpop([key_in(SLOT, b"l")], 1) == (key_in(SLOT, b"l"), b"v")
    client.close()
    zero: Any = redis.Redis(port=proxy.port, host=HOST)
    assert zero.get(a) is None
    zero.close()
