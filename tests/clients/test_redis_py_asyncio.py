"""redis-py, asyncio: the same promises from many tasks of one loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.exceptions import NoScriptError, ResponseError, WatchError

from tests.clients.target import Target

Connect = Callable[..., Redis]
LIMIT = 15  # seconds that any one wait may last


@pytest.fixture
def client(connect_async: Connect) -> Redis:
    return connect_async()


async def blocked(client: Redis, count: int) -> None:
    """Returns once the server holds so many blocked clients."""
    async with asyncio.timeout(LIMIT):
        while (await client.info("clients"))["blocked_clients"] != count:
            await asyncio.sleep(0.002)


async def test_tasks_that_share_a_pool_get_their_own_replies(target: Target, protocol: int) -> None:
    pool = BlockingConnectionPool(
        host=target.host, port=target.port, protocol=protocol, max_connections=5, timeout=LIMIT
    )

    async def work(task: int) -> list[bytes | None]:
        for turn in range(20):
            await client.set(f"t{task}:{turn}", f"{task}-{turn}")
        return [await client.get(f"t{task}:{turn}") for turn in range(20)]

    async with Redis.from_pool(pool) as client:
        replies = await asyncio.gather(*(work(task) for task in range(50)))

    assert replies == [[b"%d-%d" % (task, n) for n in range(20)] for task in range(50)]


@pytest.mark.parametrize("transaction", [False, True], ids=["plain", "multi"])
async def test_pipelines_side_by_side_answer_in_order(client: Redis, transaction: bool) -> None:
    async def work(task: int) -> list[Any]:
        pipe = client.pipeline(transaction=transaction)
        for turn in range(50):
            pipe.set(f"t{task}", turn).get(f"t{task}")
        return await pipe.execute()

    replies = await asyncio.gather(*(work(task) for task in range(20)))

    assert replies == [[r for n in range(50) for r in (True, b"%d" % n)]] * 20


async def test_contended_watch_loops_lose_no_increment(client: Redis) -> None:
    async def work() -> None:
        for _ in range(15):
            while not await add_one(client):
                pass

    await asyncio.gather(*(work() for _ in range(6)))

    assert await client.get("count") == b"90"


async def add_one(client: Redis) -> bool:
    async with client.pipeline() as pipe:
        await pipe.watch("count")
        seen = int(await pipe.get("count") or 0)
        pipe.multi()
        pipe.set("count", seen + 1)
        try:
            await pipe.execute()
        except WatchError:
            return False
        return True


async def test_blpop_is_woken_by_another_client(connect_async: Connect, client: Redis) -> None:
    waiting = [asyncio.create_task(connect_async().blpop("jobs", LIMIT)) for _ in range(10)]
    await blocked(client, 10)

    await client.rpush("jobs", *range(10))

    async with asyncio.timeout(LIMIT):
        popped = await asyncio.gather(*waiting)
    assert sorted(int(value) for _, value in popped) == list(range(10))


async def test_a_cancelled_blpop_takes_nothing_with_it(
    connect_async: Connect, client: Redis
) -> None:
    await blocked(client, 0)  # nor anybody of a test before: who is cancelled must wait already
    waiting = asyncio.create_task(connect_async().blpop("jobs", LIMIT))
    await blocked(client, 1)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    await blocked(client, 0)
    await client.rpush("jobs", "kept")
    assert await client.lrange("jobs", 0, -1) == [b"kept"]


async def test_a_cancelled_command_leaves_its_reply_to_nobody(client: Redis) -> None:
    await client.mset({f"k{n}": n for n in range(50)})
    slow = [asyncio.create_task(client.get(f"k{n}")) for n in range(50)]
    await asyncio.sleep(0)  # each has sent or is about to
    for task in slow[::2]:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)

    assert [await client.get(f"k{n}") for n in range(50)] == [b"%d" % n for n in range(50)]


@pytest.fixture
async def subscriber(client: Redis) -> AsyncIterator[PubSub]:
    async with client.pubsub() as pubsub:
        yield pubsub


async def take(pubsub: PubSub, count: int) -> list[tuple[str, Any]]:
    messages: list[tuple[str, Any]] = []
    async with asyncio.timeout(LIMIT):
        while len(messages) < count:
            message = await pubsub.get_message(timeout=LIMIT)
            if message is not None:
                messages.append((message["type"], message["data"]))
    return messages


async def test_messages_arrive_in_the_order_sent(subscriber: PubSub, client: Redis) -> None:
    await subscriber.subscribe("news")
    await subscriber.psubscribe("ne*")
    await subscriber.ssubscribe("shard")
    await take(subscriber, 3)

    for n in range(100):
        await client.publish("news", n)
    await client.spublish("shard", "s")

    messages = await take(subscriber, 201)
    assert [data for kind, data in messages if kind == "message"] == [b"%d" % n for n in range(100)]
    assert [data for kind, data in messages if kind == "pmessage"] == [
        b"%d" % n for n in range(100)
    ]
    assert messages[-1] == ("smessage", b"s")


async def test_a_subscriber_cut_off_subscribes_again(subscriber: PubSub, client: Redis) -> None:
    await subscriber.subscribe("news")
    await take(subscriber, 1)

    assert await client.client_kill_filter(_type="pubsub") == 1

    assert await take(subscriber, 1) == [("subscribe", 1)]
    await client.publish("news", "again")
    assert await take(subscriber, 1) == [("message", b"again")]


async def test_a_killed_client_reconnects(connect_async: Connect, client: Redis) -> None:
    victim = connect_async(single_connection_client=True, db=2)
    await victim.set("k", "v")

    for _ in range(3):
        assert await client.client_kill_filter(_id=str(await victim.client_id())) == 1
        assert await victim.get("k") == b"v"


async def test_a_registered_script_survives_script_flush(client: Redis) -> None:
    add = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert await add(keys=["n"], args=[1]) == 1

    await client.script_flush()

    assert await add(keys=["n"], args=[1]) == 2
    with pytest.raises(NoScriptError):
        await client.evalsha("f" * 40, 0)


async def test_one_lock_holder_at_a_time(client: Redis) -> None:
    inside = 0

    async def work() -> None:
        nonlocal inside
        for _ in range(5):
            async with client.lock("guard", timeout=LIMIT, sleep=0.002, blocking_timeout=LIMIT):
                inside += 1
                assert inside == 1
                await client.incr("count")
                inside -= 1

    await asyncio.gather(*(work() for _ in range(5)))

    assert await client.get("count") == b"25"


async def test_a_group_read_blocks_until_an_entry_comes(
    connect_async: Connect, client: Redis
) -> None:
    await client.xgroup_create("s", "g", id="$", mkstream=True)
    reader = connect_async()
    waiting = asyncio.create_task(reader.xreadgroup("g", "me", {"s": ">"}, block=LIMIT * 1000))
    await blocked(client, 1)

    added = await client.xadd("s", {"n": 1})

    async with asyncio.timeout(LIMIT):
        assert added in flat(await waiting)
    assert (await client.xpending("s", "g"))["pending"] == 1


def flat(reply: Any) -> list[Any]:
    """The leaves of a nested reply, whichever shape its protocol gave it."""
    if isinstance(reply, dict):
        return [leaf for pair in reply.items() for leaf in flat(list(pair))]
    if isinstance(reply, (list, tuple)):
        return [leaf for item in reply for leaf in flat(item)]
    return [reply]


async def test_a_value_of_32_mb_comes_back_whole(client: Redis) -> None:
    value = bytes(range(256)) * (32 * 4096)

    await client.set("big", value)

    assert await client.get("big") == value


async def test_monitor_shows_what_others_do(connect_async: Connect, client: Redis) -> None:
    async with connect_async().monitor() as monitor, asyncio.timeout(LIMIT):
        await client.set("seen", "by monitor")
        command = ""
        while "seen" not in command:
            command = (await monitor.next_command())["command"]

    assert command == "SET seen by monitor"


async def test_an_error_is_raised_in_the_task_that_caused_it(client: Redis) -> None:
    await client.rpush("list", "a")
    await client.set("text", "t")

    replies = await asyncio.gather(
        *(client.get("list" if n % 2 else "text") for n in range(40)), return_exceptions=True
    )

    assert replies[::2] == [b"t"] * 20
    assert all(isinstance(r, ResponseError) and "WRONGTYPE" in str(r) for r in replies[1::2])
