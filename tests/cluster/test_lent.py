"""What a client does on a connection of its own, as on one server, in front of a cluster that stays
as it is. (One that does not: test_lent_follows.py.)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.clusters import Cluster, key_in
from tests.servers import HOST, Process, nearhit, wait_for
from tests.wire.link import Link

from .lent import OTHER, SLOT, blocked, heard
from .lent import client as client
from .lent import link as link

pytestmark = pytest.mark.waits


@pytest.fixture(scope="module")
def kept(engine: Cluster) -> Iterator[Process]:
    with nearhit(engine.url, env={"NEARHIT_ENV": "production"}) as process:
        yield process


@pytest.fixture
def proxy(cluster: Cluster, kept: Process) -> Process:
    """It has seen itself that nothing is stored."""
    link = Link(kept.port)
    assert link.ask("FLUSHALL", seconds=10) == b"+OK\r\n"
    link.close()
    return kept


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


@pytest.mark.parametrize("protocol", [2, 3])
def test_messages_come_from_wherever_they_are_published(
    cluster: Cluster, proxy: Process, protocol: int
) -> None:
    client: Any = redis.Redis(port=proxy.port, host=HOST, protocol=protocol)
    pubsub = client.pubsub()
    # Names of its own: nodes hand each other what was published, be it behind the next SUBSCRIBE.
    c, d, p = f"c{protocol}", f"d{protocol}", f"p{protocol}"
    pubsub.subscribe(c, d)
    pubsub.psubscribe(f"{p}*")
    assert heard(pubsub, 3) == [
        ("subscribe", c.encode(), 1),
        ("subscribe", d.encode(), 2),
        ("psubscribe", f"{p}*".encode(), 3),
    ]

    for member in cluster.nodes[:3]:
        member.ask("PUBLISH", c, f"{member.port}")
    client.publish(f"{p}q", "x")

    ports = sorted(b"%d" % member.port for member in cluster.nodes[:3])
    got = heard(pubsub, 4)
    assert sorted(data for kind, _, data in got if kind == "message") == ports
    assert [data for kind, _, data in got if kind == "pmessage"] == [b"x"]
    assert heard(pubsub, 1, 0.3) == []
    pubsub.unsubscribe(c)
    assert heard(pubsub, 1) == [("unsubscribe", c.encode(), 2)]
    client.publish(c, "gone")
    client.publish(d, "there")
    assert heard(pubsub, 1) == [("message", d.encode(), b"there")]
    pubsub.close()
    assert client.ping()
    client.close()


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
