"""redis-py, sync: channels, patterns, shards, handlers in a thread, and a subscriber cut off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from redis import Redis
from redis.client import PubSub

from tests.servers import wait_for

Connect = Callable[..., Redis]
Message = dict[str, Any]


@pytest.fixture
def subscriber(client: Redis) -> Iterator[PubSub]:
    with client.pubsub() as pubsub:
        yield pubsub


def take(pubsub: PubSub, count: int) -> list[Message]:
    """The next messages of any type, in order."""
    messages: list[Message] = []
    deadline = time.monotonic() + 10
    while len(messages) < count:
        left = deadline - time.monotonic()
        assert left > 0, f"{len(messages)} of {count} messages arrived"
        message = pubsub.get_message(timeout=left)
        if message is not None:
            messages.append(message)
    return messages


def shown(message: Message) -> tuple[Any, ...]:
    return message["type"], message["pattern"], message["channel"], message["data"]


def test_messages_arrive_in_the_order_sent(subscriber: PubSub, client: Redis) -> None:
    subscriber.subscribe("news")
    take(subscriber, 1)

    receivers = [client.publish("news", n) for n in range(300)]

    assert receivers == [1] * 300
    assert [m["data"] for m in take(subscriber, 300)] == [b"%d" % n for n in range(300)]


def test_patterns_and_channels_are_told_apart(subscriber: PubSub, client: Redis) -> None:
    subscriber.subscribe("news.de")
    subscriber.psubscribe("news.*")
    assert [shown(m) for m in take(subscriber, 2)] == [
        ("subscribe", None, b"news.de", 1),
        ("psubscribe", None, b"news.*", 2),
    ]

    assert client.publish("news.de", "hallo") == 2
    assert client.publish("news.fr", "salut") == 1
    assert client.publish("other", "nobody") == 0

    assert [shown(m) for m in take(subscriber, 3)] == [
        ("message", None, b"news.de", b"hallo"),
        ("pmessage", b"news.*", b"news.de", b"hallo"),
        ("pmessage", b"news.*", b"news.fr", b"salut"),
    ]


def test_shard_channels_are_a_world_of_their_own(subscriber: PubSub, client: Redis) -> None:
    subscriber.ssubscribe("orders")
    assert shown(take(subscriber, 1)[0]) == ("ssubscribe", None, b"orders", 1)

    assert client.publish("orders", "not sharded") == 0
    assert client.spublish("orders", "sharded") == 1

    assert shown(take(subscriber, 1)[0]) == ("smessage", None, b"orders", b"sharded")
    assert client.pubsub_shardchannels() == [b"orders"]


def test_a_channel_left_says_no_more(subscriber: PubSub, client: Redis) -> None:
    subscriber.subscribe("left", "kept")
    take(subscriber, 2)

    subscriber.unsubscribe("left")

    assert shown(take(subscriber, 1)[0]) == ("unsubscribe", None, b"left", 1)
    assert (client.publish("left", "x"), client.publish("kept", "y")) == (0, 1)
    assert shown(take(subscriber, 1)[0]) == ("message", None, b"kept", b"y")


def test_a_connection_that_left_every_channel_can_subscribe_again(
    subscriber: PubSub, client: Redis
) -> None:
    for turn in range(10):
        subscriber.subscribe("news")
        assert [m["type"] for m in take(subscriber, 1)] == ["subscribe"]

        assert client.publish("news", turn) == 1
        subscriber.unsubscribe()

        assert [m["type"] for m in take(subscriber, 2)] == ["message", "unsubscribe"]


def test_the_counts_are_the_servers(subscriber: PubSub, client: Redis) -> None:
    subscriber.subscribe("a", "b")
    subscriber.psubscribe("p*")
    take(subscriber, 3)

    assert sorted(client.pubsub_channels()) == [b"a", b"b"]
    assert client.pubsub_numpat() == 1
    assert client.pubsub_numsub("a", "nobody") == [(b"a", 1), (b"nobody", 0)]


def test_each_of_twenty_subscribers_gets_each_message(connect: Connect, client: Redis) -> None:
    with ExitStack() as stack:
        readers = [stack.enter_context(connect().pubsub()) for _ in range(20)]
        for reader in readers:
            reader.subscribe("all")
            take(reader, 1)

        assert [client.publish("all", n) for n in range(10)] == [20] * 10

        for reader in readers:
            assert [m["data"] for m in take(reader, 10)] == [b"%d" % n for n in range(10)]


def test_handlers_run_in_a_thread(client: Redis) -> None:
    heard: list[bytes] = []
    done = threading.Event()

    def handler(message: Message) -> None:
        heard.append(message["data"])
        if len(heard) == 50:
            done.set()

    with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(jobs=handler)
        thread = pubsub.run_in_thread(sleep_time=0.01)
        try:
            wait_for(lambda: dict(client.pubsub_numsub("jobs"))[b"jobs"] == 1)
            for n in range(50):
                client.publish("jobs", n)
            assert done.wait(10)
        finally:
            thread.stop()
            thread.join(10)

    assert heard == [b"%d" % n for n in range(50)]


def test_a_subscriber_cut_off_subscribes_again(subscriber: PubSub, client: Redis) -> None:
    subscriber.subscribe("news")
    take(subscriber, 1)

    assert client.client_kill_filter(_type="pubsub") == 1

    assert shown(take(subscriber, 1)[0]) == ("subscribe", None, b"news", 1)
    assert client.publish("news", "again") == 1
    assert shown(take(subscriber, 1)[0]) == ("message", None, b"news", b"again")


def test_a_subscriber_is_pinged_and_answers(subscriber: PubSub) -> None:
    subscriber.subscribe("news")
    take(subscriber, 1)

    subscriber.ping("still there")

    assert shown(take(subscriber, 1)[0])[::3] == ("pong", b"still there")


def test_health_checks_go_on_while_subscribed(connect: Connect, client: Redis) -> None:
    with connect(health_check_interval=0.000_001).pubsub() as pubsub:
        pubsub.subscribe("news")
        take(pubsub, 1)
        for n in range(20):
            client.publish("news", n)

        assert [m["data"] for m in take(pubsub, 20)] == [b"%d" % n for n in range(20)]


def test_a_message_of_one_megabyte_arrives_whole(subscriber: PubSub, client: Redis) -> None:
    subscriber.subscribe("big")
    take(subscriber, 1)
    data = b"x\r\n" * 350_000

    assert client.publish("big", data) == 1

    assert take(subscriber, 1)[0]["data"] == data


def test_a_gone_subscriber_is_no_longer_counted(client: Redis) -> None:
    pubsub = client.pubsub()
    pubsub.subscribe("news")
    take(pubsub, 1)

    pubsub.close()

    wait_for(lambda: client.publish("news", "x") == 0, what="the subscriber was forgotten")


def test_key_events_are_delivered(subscriber: PubSub, client: Redis) -> None:
    client.config_set("notify-keyspace-events", "KEA")
    try:
        subscriber.psubscribe("__key*__:*")
        take(subscriber, 1)

        client.set("k", "v")

        assert [(m["channel"], m["data"]) for m in take(subscriber, 2)] == [
            (b"__keyspace@0__:k", b"set"),
            (b"__keyevent@0__:set", b"k"),
        ]
    finally:
        client.config_set("notify-keyspace-events", "")
