"""redis-py, sync: reads that block, and what goes on around the clients that wait in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError
from redis.retry import Retry

from tests.servers import wait_for

Connect = Callable[..., Redis]
Block = Callable[[Callable[[Redis], object]], "Future[object]"]


def blocked(client: Redis) -> int:
    return int(client.info("clients")["blocked_clients"])


@pytest.fixture
def block(connect: Connect, client: Redis) -> Iterator[Block]:
    """Runs a blocking read in a thread with a client of its own; returns once the server has it."""
    with ThreadPoolExecutor(30) as threads:

        def start(read: Callable[[Redis], object]) -> Future[object]:
            before = blocked(client)
            future = threads.submit(read, connect())
            wait_for(lambda: blocked(client) > before, what="the read blocks")
            return future

        yield start


def test_blpop_is_woken_by_another_client(block: Block, client: Redis) -> None:
    waiting = block(lambda reader: reader.blpop(["empty", "jobs"], timeout=20))

    client.rpush("jobs", "one")

    assert tuple(waiting.result(5)) == (b"jobs", b"one")
    assert client.llen("jobs") == 0


def test_a_full_list_does_not_block(client: Redis) -> None:
    client.rpush("jobs", "a", "b")

    assert tuple(client.brpop("jobs", timeout=5)) == (b"jobs", b"b")
    assert client.blmove("jobs", "done", 5, "LEFT", "RIGHT") == b"a"
    assert client.lrange("done", 0, -1) == [b"a"]


def test_blpop_gives_up_when_its_time_is_over(client: Redis) -> None:
    started = time.monotonic()

    assert client.blpop("never", timeout=0.2) is None

    assert 0.15 < time.monotonic() - started < 3


def test_the_one_who_waited_longest_is_served_first(block: Block, client: Redis) -> None:
    waiting = [block(lambda reader: reader.blpop("jobs", timeout=20)) for _ in range(10)]

    client.rpush("jobs", *range(10))

    assert [tuple(w.result(5)) for w in waiting] == [(b"jobs", b"%d" % n) for n in range(10)]


def test_others_go_on_while_many_wait(block: Block, client: Redis) -> None:
    waiting = [block(lambda reader: reader.blpop("jobs", timeout=20)) for _ in range(20)]

    for n in range(200):
        client.set("k", n)
        assert client.get("k") == b"%d" % n

    assert not any(w.done() for w in waiting)
    client.rpush("jobs", *range(20))
    assert sorted(int(w.result(5)[1]) for w in waiting) == list(range(20))


def test_sorted_sets_block_too(block: Block, client: Redis) -> None:
    waiting = block(lambda reader: reader.bzpopmin("scores", timeout=20))

    client.zadd("scores", {"low": 1, "high": 9})

    assert list(waiting.result(5)) == [b"scores", b"low", 1.0]


def test_blmpop_takes_as_many_as_asked(block: Block, client: Redis) -> None:
    waiting = block(lambda reader: reader.blmpop(20, 2, "a", "b", direction="LEFT", count=2))

    client.rpush("b", 1, 2, 3)

    assert waiting.result(5) == [b"b", [b"1", b"2"]]


def test_a_stream_read_waits_for_the_next_entry(block: Block, client: Redis) -> None:
    client.xadd("s", {"n": "old"})
    waiting = block(lambda reader: reader.xread({"s": "$"}, block=20_000))

    added = client.xadd("s", {"n": "new"})

    assert entries(waiting.result(5)) == [(added, {b"n": b"new"})]


def test_a_group_shares_a_stream_among_its_blocked_readers(block: Block, client: Redis) -> None:
    client.xgroup_create("s", "g", id="$", mkstream=True)
    waiting = [
        block(lambda reader, me=me: reader.xreadgroup("g", me, {"s": ">"}, 1, block=20_000))
        for me in ("ann", "bob")
    ]

    added = [client.xadd("s", {"n": n}) for n in range(2)]

    read = [entries(w.result(5)) for w in waiting]
    assert sorted(entry for ((entry, _),) in read) == added
    assert client.xpending("s", "g")["pending"] == 2


def entries(reply: object) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of the only stream: RESP2 gives a list of pairs, RESP3 a map of lists."""
    if isinstance(reply, dict):
        (found,) = reply.values()
    else:
        ((_, found),) = reply
    flat = found[0] if found and isinstance(found[0], list) else found
    return [(entry, fields) for entry, fields in flat]


def test_a_blocked_client_that_is_killed_takes_nothing_with_it(
    connect: Connect, client: Redis
) -> None:
    waiter = connect(single_connection_client=True, retry=Retry(NoBackoff(), 0))
    number = waiter.client_id()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(waiter.blpop, "jobs", 20)
        wait_for(lambda: blocked(client) == 1, what="the read blocks")

        assert client.client_kill_filter(_id=str(number)) == 1

        with pytest.raises(ConnectionError):
            waiting.result(5)
    client.rpush("jobs", "kept")
    assert client.lrange("jobs", 0, -1) == [b"kept"]


def test_a_blocked_client_that_leaves_takes_nothing_with_it(
    connect: Connect, client: Redis
) -> None:
    waiter = connect(single_connection_client=True)
    waiter.ping()
    waiter.connection.send_command("BLPOP", "jobs", 0)
    wait_for(lambda: blocked(client) == 1, what="the read blocks")

    waiter.close()

    wait_for(lambda: blocked(client) == 0, what="the server forgot the reader")
    client.rpush("jobs", "kept")
    assert client.lrange("jobs", 0, -1) == [b"kept"]


def test_a_blocked_client_can_be_unblocked(connect: Connect, client: Redis) -> None:
    waiter = connect(single_connection_client=True)
    number = waiter.client_id()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(waiter.blpop, "jobs", 20)
        wait_for(lambda: blocked(client) == 1, what="the read blocks")

        assert client.client_unblock(number) == 1

        assert waiting.result(5) is None
    assert waiter.ping()


def test_wait_counts_no_replica_where_there_is_none(client: Redis) -> None:
    client.set("k", "v")

    assert client.wait(0, 100) == 0
    assert client.wait(1, 50) == 0


def test_commands_pipelined_behind_a_blocking_read_keep_their_order(client: Redis) -> None:
    pipe = client.pipeline(transaction=False)
    pipe.rpush("jobs", "a").blpop("jobs", 5).blpop("jobs", 0.1).set("k", "v").get("k")

    pushed, popped, nothing, stored, read = pipe.execute()

    assert (pushed, tuple(popped), nothing, stored, read) == (1, (b"jobs", b"a"), None, True, b"v")
