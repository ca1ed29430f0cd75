"""One connection to the whole cluster: order, what runs alone, bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from nearhit.proxy.cluster import connection
from nearhit.proxy.resp.requests import encode

from .nodes import A, B, Line, World, clustered


@clustered
async def test_answers_of_several_nodes_come_in_the_order_of_asking(world: World) -> None:
    line = await world.connect()
    world.nodes[0].say(b"GET", None)
    world.nodes[1].say(b"GET", b"$1\r\nb\r\n")

    assert await line.ask(b"GET " + A, b"GET " + B) == b""
    world.nodes[0].push(b"$1\r\na\r\n")

    assert await line.heard() == b"$1\r\na\r\n$1\r\nb\r\n"


@clustered
async def test_nothing_is_answered_inside_write(world: World) -> None:
    line = await world.connect()

    line.send("PING")

    assert line.protocol.got == b""
    assert await line.heard() == b"+PONG\r\n"


@clustered
async def test_what_runs_alone_waits_for_all_before_it_and_all_behind_wait(world: World) -> None:
    line = await world.connect()
    world.nodes[0].say(b"GET", None)
    world.nodes[0].say(b"WATCH", None)

    await line.ask(b"GET " + A, b"WATCH " + A, b"SET %b 1" % A)
    assert world.nodes[0].seen == [b"GET " + A]
    world.nodes[0].push(b"$-1\r\n")
    assert await line.heard() == b"$-1\r\n"
    assert world.nodes[0].seen[1:] == [b"WATCH " + A]
    world.nodes[0].push(b"+OK\r\n")

    assert await line.heard() == b"+OK\r\n+OK\r\n"
    assert world.nodes[0].seen[2:] == [b"SET %b 1" % A]


@clustered
async def test_a_request_may_come_in_pieces(world: World) -> None:
    line = await world.connect()
    data = encode([b"SET", A, b"value"])
    for at in range(len(data)):
        line.connection.write(data[at : at + 1])

    assert await line.heard() == b"+OK\r\n"
    assert world.nodes[0].seen == [b"SET %b value" % A]


@clustered
async def test_a_request_that_is_too_large_is_refused_and_no_other(world: World) -> None:
    line = await world.connect()
    half = b"x" * (connection.REQUEST_MAX // 2)
    line.connection.write(b"*3\r\n$4\r\nMSET\r\n$1\r\nk\r\n$%d\r\n" % (3 * len(half)))
    for _ in range(3):
        line.connection.write(half)
    line.connection.write(b"\r\n")

    got = await line.ask("PING")

    assert got == connection.TOO_LARGE.line + b"+PONG\r\n"
    assert [node.seen for node in world.nodes] == [[], [], []]


@clustered
async def test_who_sends_on_while_one_is_alone_is_held_at_a_bound(world: World) -> None:
    line = await world.connect()
    world.nodes[0].say(b"WATCH", None)
    await line.ask(b"WATCH " + A)
    line.send(*[b"SET %b %b" % (A, b"x" * 100_000)] * 50)
    assert line.protocol.full
    world.nodes[0].push(b"+OK\r\n")

    assert await line.heard(1) == b"+OK\r\n" * 51
    assert not line.protocol.full


@clustered
async def test_nothing_is_handed_out_while_reading_is_paused(world: World) -> None:
    line = await world.connect()
    line.connection.pause_reading()
    assert await line.ask(b"GET " + A) == b""
    line.connection.resume_reading()

    assert await line.heard() == b"+OK\r\n"


@clustered
async def test_bytes_that_are_no_requests_end_it(world: World) -> None:
    line = await world.connect()
    line.connection.write(b"GET k\r\n")
    await asyncio.sleep(0)

    assert line.protocol.ended
    assert line.connection.is_closing()


class Broken:
    """Acts with a defect."""

    def find(self, connection: Any, words: Sequence[bytes]) -> Any:
        raise IndexError("a defect")


@clustered
async def test_a_defect_ends_it_and_has_nobody_wait(world: World) -> None:
    line = await world.connect()
    line.connection._acts = cast(Any, Broken())
    line.connection.write(encode([b"GET", b"k"]))
    await asyncio.sleep(0)

    assert line.protocol.ended
    assert line.connection.is_closing()


@clustered
async def test_its_end_is_told_once_and_gives_all_back(world: World) -> None:
    line = await world.connect()
    world.nodes[0].say(b"BLPOP", None)
    await line.ask(b"BLPOP %b 0" % A)
    line.connection.abort()
    line.connection.abort()
    await asyncio.sleep(0.1)

    assert line.protocol.ended
    assert world.nodes[0].dial.wires[-1].end == "aborted"
    assert "lent=0" in repr(world.cluster.pool("n", 1))


async def lost(world: World, line: Line) -> bytes:
    world.nodes[0].say(b"SET", None)
    await line.ask(b"SET %b 1" % A)
    world.nodes[0].lose()
    return await line.heard(0.1)


@clustered
async def test_a_node_that_is_lost_costs_its_answers_and_not_the_connection(world: World) -> None:
    line = await world.connect()

    assert (await lost(world, line)).startswith(b"-UPSTREAM connection to the server lost")
    assert await line.ask(b"GET " + B) == b"+OK\r\n"
