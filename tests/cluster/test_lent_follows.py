"""What a client has on a connection of its own goes with its slot, and with its node."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clusters import Cluster, key_in
from tests.servers import Process, nearhit, wait_for
from tests.wire.link import Link

from .lent import OTHER, SLOT, blocked, heard, pops
from .lent import client as client
from .lent import link as link

pytestmark = pytest.mark.waits


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Process]:
    with nearhit(cluster.url, env={"NEARHIT_ENV": "production"}) as process:
        yield process


def test_a_transaction_follows_its_slot(cluster: Cluster, client: Any) -> None:
    a, b = key_in(SLOT, b"a"), key_in(SLOT, b"b")
    move = cluster.move(SLOT, cluster.nodes[1]).begin()
    with client.pipeline(transaction=True) as pipe:  # ASK
        assert pipe.set(a, 1).incr(a).execute() == [True, 2]
    move.keys().finish(known=False)
    with client.pipeline(transaction=True) as pipe:  # MOVED
        assert pipe.incr(a).incr(b).execute() == [3, 1]


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
