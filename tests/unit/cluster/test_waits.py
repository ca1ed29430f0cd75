"""WAIT, asked of every primary."""

from __future__ import annotations

from nearhit.proxy.cluster.waits import least

from .nodes import World, clustered


def test_the_least_of_each_number() -> None:
    assert least([b":2\r\n", b":1\r\n"]) == b":1\r\n"
    assert least([b"*2\r\n:1\r\n:2\r\n", b"*2\r\n:0\r\n:3\r\n"]) == b"*2\r\n:0\r\n:2\r\n"
    assert least([b":2\r\n", b"-ERR x\r\n"]) == b"-ERR x\r\n"


@clustered
async def test_every_primary_counts_from_a_ping_of_its_own(world: World) -> None:
    line = await world.connect()
    for node, count in zip(world.nodes, (3, 1, 2), strict=True):
        node.say(b"WAIT", b":%d\r\n" % count)

    assert await line.ask("WAIT 1 100") == b":1\r\n"
    assert [node.seen for node in world.nodes] == [[b"PING", b"WAIT 1 100"]] * 3
    assert all("lent=0 warm=1" in repr(pool) for pool in world.cluster.pools)


@clustered
async def test_who_leaves_waits_nowhere(world: World) -> None:
    line = await world.connect()
    for node in world.nodes:
        node.say(b"WAIT", None)
    await line.ask("WAIT 9 0")
    line.connection.abort()

    assert await line.heard() == b""
    assert all(node.dial.wires[-1].end == "aborted" for node in world.nodes)


@clustered
async def test_a_node_that_is_lost_is_an_error(world: World) -> None:
    line = await world.connect()
    world.nodes[2].say(b"WAIT", None)
    for node in world.nodes[:2]:
        node.say(b"WAIT", b":1\r\n")
    await line.ask("WAIT 1 0")
    world.nodes[2].lose()

    assert (await line.heard()).startswith(b"-UPSTREAM")
