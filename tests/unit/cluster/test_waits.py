"""WAIT, asked of every primary by ROLE."""

from __future__ import annotations

import asyncio

from nearhit.proxy.cluster.waits import least
from nearhit.proxy.errors import OTHER_MASTER
from nearhit.proxy.upstream.heard import MOST

from .nodes import Node, World, clustered

MASTER = b"*3\r\n$6\r\nmaster\r\n:500\r\n*%d\r\n%b"
REPLICA = b"*3\r\n$1\r\nh\r\n$1\r\n1\r\n$3\r\n%d\r\n"
NOPERM = b"-NOPERM no rights\r\n"


def has(node: Node, *acks: int) -> None:
    """It has come to 500, and its replicas to there. WAIT blocks on the lane that was made first,
    which is the lent one."""
    node.say(b"ROLE", MASTER % (len(acks), b"".join(REPLICA % ack for ack in acks)))
    node.say(b"WAIT", b":7\r\n")
    answer = node.dial.answer
    assert answer is not None

    def blocking(words: list[bytes]) -> bytes:
        if words[:2] == [b"WAIT", MOST]:
            loop = asyncio.get_running_loop()
            loop.call_later(int(words[2]) / 1000, node.dial.wires[0].reply, b":7\r\n")
            node.say(b"WAIT 2147483647", None)
        return answer(words)

    node.dial.answer = blocking


def test_the_least_number_or_an_error() -> None:
    assert least([b":20\r\n", b":3\r\n"]) == b":3\r\n"
    assert least([b":2\r\n", b"-ERR x\r\n"]) == b"-ERR x\r\n"


@clustered
async def test_every_primary_tells_how_many_have_all_that_it_has(world: World) -> None:
    line = await world.connect()
    for node, acks in zip(world.nodes, [(500,) * 3, (500, 100, 501), (500, 500)], strict=True):
        has(node, *acks)

    assert await line.ask("WAIT 2 100") == b":2\r\n"
    for node in world.nodes:
        assert sorted(node.seen) == [b"ROLE", b"WAIT 0 0"]
    assert all("lent=0 warm=1" in repr(pool) for pool in world.cluster.pools)


@clustered
async def test_where_one_lacks_it_all_wait_for_that_until_the_time_is_over(world: World) -> None:
    line = await world.connect()
    for node, ack in zip(world.nodes, (500, 499, 500), strict=True):
        has(node, ack)

    assert await line.ask("WAIT 1 300", "PING", seconds=0.29) == b""
    assert await line.heard(0.1) == b":0\r\n+PONG\r\n"
    assert all("lent=0 warm=1" in repr(pool) for pool in world.cluster.pools)


@clustered
async def test_it_ends_when_the_last_has_it(world: World) -> None:
    line = await world.connect()
    for node, ack in zip(world.nodes, (500, 499, 500), strict=True):
        has(node, ack)

    assert await line.ask("WAIT 1 0", seconds=5) == b""
    world.nodes[1].say(b"ROLE", MASTER % (1, REPLICA % 500))
    assert await line.heard(0.2) == b":1\r\n"


@clustered
async def test_where_the_proxy_may_not_ask_role_the_client_does(world: World) -> None:
    line = await world.connect()
    for node in world.nodes:
        has(node, 500)
        node.say(b"ROLE", NOPERM, MASTER % (1, REPLICA % 500))

    assert await line.ask("WAIT 1 100") == b":1\r\n"
    assert [node.seen.count(b"ROLE") for node in world.nodes] == [2] * 3


@clustered
async def test_an_error_of_one_is_the_answer(world: World) -> None:
    line = await world.connect()
    for node in world.nodes:
        has(node, 100)
    world.nodes[1].say(b"WAIT", NOPERM)

    assert await line.ask("WAIT 1 0", seconds=0.2) == NOPERM
    assert all("lent=0 warm=1" in repr(pool) for pool in world.cluster.pools)


@clustered
async def test_a_replica_is_no_primary_of_what_was_written(world: World) -> None:
    line = await world.connect()
    for node in world.nodes:
        has(node, 500)
    world.nodes[1].say(b"WAIT", b"-ERR WAIT cannot be used with replica instances.\r\n")

    assert await line.ask("WAIT 1 0", seconds=0.2) == OTHER_MASTER


@clustered
async def test_who_leaves_waits_nowhere(world: World) -> None:
    line = await world.connect()
    for node in world.nodes:
        has(node, 100)
    await line.ask("WAIT 9 0")
    line.connection.abort()
    await line.heard()
    seen = [len(node.seen) for node in world.nodes]

    assert await line.heard(1) == b""
    assert [len(node.seen) for node in world.nodes] == seen
    assert all("lent=0 warm=0" in repr(pool) for pool in world.cluster.pools)


@clustered
async def test_a_node_that_is_lost_is_an_error(world: World) -> None:
    line = await world.connect()
    for node in world.nodes:
        has(node, 500)
    world.nodes[2].say(b"WAIT", None)
    await line.ask("WAIT 1 0")
    world.nodes[2].lose()

    assert (await line.heard(0.2)).startswith(b"-UPSTREAM")


@clustered
async def test_what_no_server_takes_a_node_refuses(world: World) -> None:
    line = await world.connect()
    for node in world.nodes:
        node.say(b"WAIT", b"-ERR timeout is negative\r\n")

    assert await line.ask("WAIT 1 -1", "PING") == b"-ERR timeout is negative\r\n+PONG\r\n"
    assert sum(len(node.seen) for node in world.nodes) == 1


@clustered
async def test_without_a_map_nobody_waits(world: World) -> None:
    line = await world.connect()
    world.cluster.watch.topology = None

    assert await line.ask("WAIT 1 0") == b"-CLUSTERDOWN Hash slot not served\r\n"


@clustered
async def test_of_disks_nobody_tells(world: World) -> None:
    line = await world.connect()

    answer = await line.ask("WAITAOF 1 1 0", "PING")

    assert answer.startswith(b"-ERR WAITAOF is not possible in cluster mode: ")
    assert answer.endswith(b"+PONG\r\n")
    assert not any(node.seen for node in world.nodes)


@clustered
async def test_a_primary_that_is_one_no_more_counts_as_a_move(world: World) -> None:
    moves = world.lanes.dial.moves
    world.map(1, 3, 2)
    assert world.lanes.dial.moves == moves, "they have changed places only"

    world.nodes.append(world.nodes[2])
    world.map(1, 4, 2)

    assert world.lanes.dial.moves == moves + 1
