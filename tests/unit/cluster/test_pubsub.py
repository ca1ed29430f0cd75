"""The subscriptions of one client, held wherever they have to be."""

from __future__ import annotations

from .nodes import A, Line, Node, World, clustered

WORDS = (b"subscribe", b"psubscribe", b"ssubscribe")


def array(*words: bytes, count: int | None = None, resp: int = 2) -> bytes:
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    parts += [] if count is None else [b":%d\r\n" % count]
    return (b">" if resp == 3 else b"*") + b"%d\r\n" % len(parts) + b"".join(parts)


def confirms(world: World) -> None:
    """Have every node confirm what it is asked for."""
    for node in world.nodes:
        for word in (*WORDS, b"unsubscribe", b"punsubscribe", b"sunsubscribe"):
            node.say(word, None)
        answer = node.dial.answer
        assert answer is not None

        def confirmed(words: list[bytes], answer: object = answer) -> bytes:
            assert callable(answer)
            told: bytes = answer(words)
            if words[0].endswith(b"subscribe") and not told:
                return b"".join(array(words[0], name, count=1, resp=3) for name in words[1:])
            return told

        node.dial.answer = confirmed


def holders(world: World, line: bytes) -> list[Node]:
    return [node for node in world.nodes if line in node.seen]


async def subscribed(world: World, *requests: str | bytes) -> Line:
    confirms(world)
    line = await world.connect()
    for request in requests:
        await line.ask(request)
    return line


def message(*words: bytes) -> bytes:
    return array(*words, resp=3)


@clustered
async def test_a_client_is_told_what_a_server_would_tell_it(world: World) -> None:
    line = await subscribed(world)

    assert await line.ask("SUBSCRIBE a b") == (
        array(b"subscribe", b"a", count=1) + array(b"subscribe", b"b", count=2)
    )
    assert await line.ask("PSUBSCRIBE p*") == array(b"psubscribe", b"p*", count=3)
    assert await line.ask("SSUBSCRIBE s") == array(b"ssubscribe", b"s", count=1)
    assert await line.ask("SUBSCRIBE a") == array(b"subscribe", b"a", count=3)
    assert await line.ask("UNSUBSCRIBE") == (
        array(b"unsubscribe", b"a", count=2) + array(b"unsubscribe", b"b", count=1)
    )
    assert await line.ask("UNSUBSCRIBE x") == array(b"unsubscribe", b"x", count=1)
    assert await line.ask("PUNSUBSCRIBE", "SUNSUBSCRIBE") == (
        array(b"punsubscribe", b"p*", count=0) + array(b"sunsubscribe", b"s", count=0)
    )
    assert await line.ask("UNSUBSCRIBE") == b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"
    assert all("lent=0" in repr(pool) for pool in world.cluster.pools)


@clustered
async def test_a_subscriber_may_not_ask_everything(world: World) -> None:
    line = await subscribed(world, "SUBSCRIBE c")

    assert (await line.ask(b"GET " + A)).startswith(b"-ERR Can't execute 'get': only (P|S)SUB")
    assert (await line.ask("CLIENT ID")).startswith(b"-ERR Can't execute 'client|id': only")
    assert (await line.ask("NOSUCH")).startswith(b"-ERR unknown command 'NOSUCH'")
    assert await line.ask("GET") == b"-ERR wrong number of arguments for 'get' command\r\n"
    assert await line.ask("PING a b") == b"-ERR wrong number of arguments for 'ping' command\r\n"
    assert await line.ask("PING") == array(b"pong", b"")


@clustered
async def test_a_message_comes_once_and_from_one_node(world: World) -> None:
    line = await subscribed(world, "SUBSCRIBE c")
    [holder] = holders(world, b"subscribe c")
    holder.push(message(b"message", b"c", b"m") + message(b"message", b"other", b"m"))

    assert await line.heard() == array(b"message", b"c", b"m")


@clustered
async def test_resp3_has_messages_as_pushes(world: World) -> None:
    for node in world.nodes:
        node.say(b"HELLO", b"%1\r\n$2\r\nid\r\n:5\r\n")
    line = await subscribed(world, "HELLO 3")
    assert await line.ask("SUBSCRIBE c") == array(b"subscribe", b"c", count=1, resp=3)
    [holder] = holders(world, b"subscribe c")
    holder.push(message(b"message", b"c", b"m"))

    assert await line.heard() == message(b"message", b"c", b"m")
    assert await line.ask(b"GET " + A) == b"+OK\r\n"


@clustered
async def test_events_of_keys_are_asked_of_every_primary(world: World) -> None:
    line = await subscribed(world, "PSUBSCRIBE __keyevent@0__:*")
    assert len(holders(world, b"psubscribe __keyevent@0__:*")) == 3
    for node in world.nodes:
        node.push(message(b"pmessage", b"__keyevent@0__:*", b"__keyevent@0__:set", b"k"))

    assert (await line.heard()).count(b"pmessage") == 3


@clustered
async def test_what_a_lost_node_held_is_held_elsewhere(world: World) -> None:
    line = await subscribed(world, "SUBSCRIBE c")
    [holder] = holders(world, b"subscribe c")
    holder.dial.refuse = 1000
    holder.lose()
    await line.heard(0.5)

    others = [node for node in holders(world, b"subscribe c") if node is not holder]
    assert len(others) == 1
    others[0].push(message(b"message", b"c", b"m"))
    assert await line.heard() == array(b"message", b"c", b"m")


@clustered
async def test_a_shard_channel_follows_its_slot(world: World) -> None:
    line = await subscribed(world, b"SSUBSCRIBE " + A)
    assert holders(world, b"ssubscribe " + A) == [world.nodes[0]]
    world.map(2, 1, 3)
    world.nodes[0].push(array(b"sunsubscribe", A, count=0, resp=3))
    await line.heard(0.2)

    assert holders(world, b"ssubscribe " + A) == world.nodes[:2]
    world.nodes[1].push(message(b"smessage", A, b"m"))
    assert await line.heard() == array(b"smessage", A, b"m")


@clustered
async def test_a_subscription_that_is_refused_is_none(world: World) -> None:
    line = await subscribed(world)
    for node in world.nodes:
        node.say(b"subscribe", b"-NOPERM no\r\n")

    assert await line.ask("SUBSCRIBE c", "UNSUBSCRIBE") == (
        b"-NOPERM no\r\n*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"
    )


@clustered
async def test_nobody_waits_for_ever_to_be_subscribed(world: World) -> None:
    line = await subscribed(world)
    for node in world.nodes:
        node.dial.refuse = 100_000

    assert (await line.ask("SUBSCRIBE c", seconds=5)).startswith(b"-UPSTREAM")


@clustered
async def test_with_the_client_go_its_subscriptions(world: World) -> None:
    line = await subscribed(world, "SUBSCRIBE c")
    line.connection.abort()
    await line.heard()

    [holder] = holders(world, b"subscribe c")
    assert holder.dial.wires[-1].end == "aborted"
    assert not [one for one in world.cluster.mapped if "Subscriptions" in repr(one)]
