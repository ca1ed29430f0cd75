"""redis-py, sync: pools, pipelines, WATCH loops, databases and values of every size."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import BlockingConnectionPool, Redis
from redis.exceptions import ExecAbortError, ResponseError, WatchError

from tests.clients.target import Target

Connect = Callable[..., Redis]


def test_threads_that_share_a_pool_get_their_own_replies(target: Target, protocol: int) -> None:
    pool = BlockingConnectionPool(
        host=target.host, port=target.port, protocol=protocol, max_connections=4, timeout=20
    )

    def work(thread: int) -> list[bytes | None]:
        for turn in range(100):
            client.set(f"t{thread}:{turn}", f"v{thread}:{turn}")
        return [client.get(f"t{thread}:{turn}") for turn in range(100)]

    with Redis.from_pool(pool) as client, ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(work, range(8)))

    assert replies == [[b"v%d:%d" % (t, n) for n in range(100)] for t in range(8)]


@pytest.mark.parametrize("transaction", [False, True], ids=["plain", "multi"])
def test_a_pipeline_answers_in_order(client: Redis, transaction: bool) -> None:
    pipe = client.pipeline(transaction=transaction)
    for turn in range(500):
        pipe.set(f"k{turn}", turn).incr("count").get(f"k{turn}")

    replies = pipe.execute()

    assert replies == [r for n in range(500) for r in (True, n + 1, b"%d" % n)]


@pytest.mark.parametrize("transaction", [False, True], ids=["plain", "multi"])
def test_a_failing_command_in_a_pipeline_spoils_no_other(client: Redis, transaction: bool) -> None:
    client.set("text", "not a number")
    pipe = client.pipeline(transaction=transaction)

    before, failed, after = pipe.incr("n").incr("text").incr("n").execute(raise_on_error=False)

    assert (before, after) == (1, 2)
    assert isinstance(failed, ResponseError)
    assert "not an integer" in str(failed)


def test_a_command_that_cannot_be_queued_aborts_the_transaction(client: Redis) -> None:
    pipe = client.pipeline(transaction=True)
    pipe.set("k", "v").execute_command("SET", "too few")

    with pytest.raises((ExecAbortError, ResponseError), match="wrong number of arguments"):
        pipe.execute()

    assert client.get("k") is None


def test_contended_watch_loops_lose_no_increment(client: Redis) -> None:
    def add_one(pipe: Redis) -> None:
        seen = int(pipe.get("count") or 0)
        pipe.multi()
        pipe.set("count", seen + 1)

    def work(_: int) -> None:
        for _turn in range(25):
            client.transaction(add_one, "count")

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))

    assert client.get("count") == b"150"


def test_a_watched_key_touched_by_another_client_stops_exec(connect: Connect) -> None:
    mine, other = connect(), connect()

    with mine.pipeline() as pipe:
        pipe.watch("k")
        other.set("k", "theirs")
        pipe.multi()
        pipe.set("k", "mine")
        with pytest.raises(WatchError):
            pipe.execute()

    assert mine.get("k") == b"theirs"


def test_unwatch_forgets_the_key(connect: Connect) -> None:
    mine, other = connect(), connect()

    with mine.pipeline() as pipe:
        pipe.watch("k")
        pipe.unwatch()
        other.set("k", "theirs")
        pipe.multi()
        pipe.set("k", "mine")
        assert pipe.execute() == [True]

    assert mine.get("k") == b"mine"


def test_databases_are_apart(connect: Connect) -> None:
    zero, three = connect(), connect(db=3)

    zero.set("k", "in zero")
    three.set("k", "in three")

    assert (zero.get("k"), three.get("k")) == (b"in zero", b"in three")
    assert (zero.dbsize(), three.dbsize()) == (1, 1)


def test_select_holds_for_one_connection_only(connect: Connect) -> None:
    moved, other = connect(single_connection_client=True), connect()
    moved.set("k", "in zero")

    moved.select(5)
    moved.set("k", "in five")

    assert (moved.get("k"), other.get("k")) == (b"in five", b"in zero")
    moved.select(0)
    assert moved.get("k") == b"in zero"


def test_a_value_of_32_mb_comes_back_whole(connect: Connect) -> None:
    writer, reader = connect(), connect()
    value = bytes(range(256)) * (32 * 4096)

    assert writer.set("big", value)

    assert reader.strlen("big") == len(value)
    assert reader.get("big") == value
    assert writer.pipeline().get("big").ping().execute() == [value, True]


def test_values_are_binary_safe_and_may_be_empty(client: Redis) -> None:
    values = {b"": b"empty key", b"crlf": b"\r\n$3\r\n", b"nul": b"\x00\xff", b"none": b""}

    client.mset(values)

    assert client.mget(list(values)) == list(values.values())
    assert {key: client.get(key) for key in values} == values


def test_a_reader_sees_each_write_of_its_own(client: Redis) -> None:
    for turn in range(300):
        client.set("k", turn)
        assert client.get("k") == b"%d" % turn


def test_scan_iter_finds_every_key_once(client: Redis) -> None:
    client.mset({f"k{n}": n for n in range(1000)})

    found = list(client.scan_iter(match="k*", count=100))

    assert len(found) == 1000
    assert set(found) == {b"k%d" % n for n in range(1000)}


def test_decoded_replies_are_text(connect: Connect) -> None:
    client = connect(decode_responses=True)

    client.hset("h", mapping={"naïve": "ü", "n": 1})
    client.zadd("z", {"one": 1.5})
    client.rpush("l", "a", "b")
    client.sadd("s", "m")

    assert client.hgetall("h") == {"naïve": "ü", "n": "1"}
    assert client.zscore("z", "one") == 1.5
    assert client.lrange("l", 0, -1) == ["a", "b"]
    assert client.smembers("s") == {"m"}
    assert client.type("z") == "zset"


def test_an_expired_key_is_gone_and_a_missing_one_is_none(client: Redis) -> None:
    client.set("k", "v", px=60_000)

    assert 0 < client.pttl("k") <= 60_000
    assert client.pexpire("k", 0)
    assert client.get("k") is None
    assert client.ttl("k") == -2


def test_a_wrong_type_is_an_error_and_the_connection_goes_on(connect: Connect) -> None:
    client = connect(single_connection_client=True)
    client.rpush("l", "a")

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        client.get("l")
    with pytest.raises(ResponseError, match="unknown command"):
        client.execute_command("NOSUCHCOMMAND")

    assert client.lpop("l") == b"a"


def test_streams_and_groups_keep_their_entries(client: Redis) -> None:
    ids = [client.xadd("s", {"n": n}) for n in range(10)]
    client.xgroup_create("s", "g", id="0")

    client.xreadgroup("g", "me", {"s": ">"}, count=4)

    assert [entry for entry, _ in client.xrange("s")] == ids
    assert client.xpending("s", "g")["pending"] == 4
    assert client.xack("s", "g", *ids[:4]) == 4
