"""CLIENT UNBLOCK finds the node in which a client waits."""

from __future__ import annotations

from nearhit.proxy.cluster.plans import Anywhere

from .nodes import B, World, clustered


@clustered
async def test_the_node_is_asked_by_the_number_that_it_knows(world: World) -> None:
    waits, other = await world.connect(), await world.connect()
    world.nodes[1].say(b"BLPOP", None)
    world.nodes[1].say(b"CLIENT UNBLOCK", b":1\r\n")
    await waits.ask(b"BLPOP %b 0" % B)

    got = await other.ask(f"CLIENT UNBLOCK {waits.connection.id} ERROR")

    assert got == b":1\r\n"
    assert any(
        line.startswith(b"CLIENT UNBLOCK 10") and line.endswith(b"ERROR")
        for line in world.nodes[1].seen
    )


@clustered
async def test_who_waits_nowhere_is_any_nodes_to_answer_for(world: World) -> None:
    line = await world.connect()
    plan = world.lanes._planner.plan  # pyright: ignore[reportPrivateUsage]

    number = b"%d" % line.connection.id
    assert plan([b"CLIENT", b"UNBLOCK", number]) == Anywhere()
    assert plan([b"CLIENT", b"UNBLOCK", b"x"]) == Anywhere()
    assert plan([b"CLIENT", b"LIST"]) == Anywhere()
