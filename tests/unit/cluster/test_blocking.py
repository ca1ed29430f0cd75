"""What waits goes with its slot, for as long as the client said and not longer."""

from __future__ import annotations

import pytest
from nearhit.proxy.cluster.blocking import LEAST_S, Timed, blocks
from nearhit.proxy.resp.requests import encode

from .nodes import PATIENCE, TABLE, A, B, World, clustered

POP = b"BLPOP %b 10" % A


def left(line: str, after: float) -> bytes:
    timed = Timed(line.encode().split(), 100.0)
    assert timed.left(100.0) == encode(line.encode().split())
    return timed.left(100.0 + after)


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("BLPOP k 5", "BLPOP k 3.000"),
        ("BLPOP k 0", "BLPOP k 0"),
        ("BLPOP k nonsense", "BLPOP k nonsense"),
        ("BLPOP k 1", f"BLPOP k {LEAST_S}"),
        ("BLMPOP 2.5 1 k LEFT", "BLMPOP 0.500 1 k LEFT"),
        ("BLMPOP", "BLMPOP"),
        ("BLPOP", "BLPOP"),
        ("XREAD COUNT 1 BLOCK 5000 STREAMS s 0", "XREAD COUNT 1 BLOCK 3000 STREAMS s 0"),
        ("XREAD BLOCK 0 STREAMS s 0", "XREAD BLOCK 0 STREAMS s 0"),
        ("XREAD BLOCK 10 STREAMS s 0", "XREAD BLOCK 1 STREAMS s 0"),
    ],
)
def test_what_is_left_of_the_time_after_two_seconds(line: str, after: str) -> None:
    assert left(line, 2.0) == encode(after.encode().split())


def test_what_blocks() -> None:
    assert blocks([b"blpop", b"k", b"0"], TABLE.commands)
    assert blocks(b"XREAD BLOCK 5 STREAMS s 0".split(), TABLE.commands)
    assert not blocks(b"XREAD COUNT 5 STREAMS BLOCK 0".split(), TABLE.commands)
    assert not blocks([b"GET", b"k"], TABLE.commands)
    assert not blocks([b"NOSUCH"], TABLE.commands)


@pytest.mark.parametrize(
    "moved",
    [
        b"-MOVED 100 n:2\r\n",
        b"-UNBLOCKED force unblock from blocking operation, instance state changed (x)\r\n",
    ],
)
def test_it_waits_on_at_the_new_owner_for_the_rest_of_its_time(moved: bytes) -> None:
    @clustered
    async def run(world: World) -> None:
        line = await world.connect()
        for node in world.nodes:
            node.say(b"BLPOP", None)
        await line.ask(POP, seconds=4)
        if b"UNBLOCKED" in moved:
            world.map(2, 1, 3)
        world.nodes[0].push(moved)
        assert await line.heard(0.1) == b""
        assert 5.9 < float(world.nodes[1].seen[0].split()[2]) <= 6
        world.nodes[1].push(b"*2\r\n$1\r\nk\r\n$1\r\nv\r\n")

        assert await line.heard() == b"*2\r\n$1\r\nk\r\n$1\r\nv\r\n"
        for port in (1, 2):
            assert "lent=0" in repr(world.cluster.pool("n", port))

    run()


@clustered
async def test_asking_goes_with_it_where_the_slot_is_on_its_way(world: World) -> None:
    line = await world.connect()
    world.nodes[0].say(b"BLPOP", b"-ASK 100 n:2\r\n")

    assert await line.ask(POP) == b"+OK\r\n"
    assert world.nodes[1].seen == [b"ASKING", POP + b".000"]


@clustered
async def test_a_redirection_to_a_stranger_is_not_followed(world: World) -> None:
    line = await world.connect()
    world.nodes[0].say(b"BLPOP", b"-MOVED 100 evil:2\r\n")

    got = await line.ask(POP, seconds=PATIENCE + 1)

    assert got.startswith(b"-")
    assert len(world.nodes[0].seen) > 2


@clustered
async def test_a_connection_that_may_have_popped_takes_its_clients_along(world: World) -> None:
    line = await world.connect()
    world.nodes[0].say(b"BLPOP", None)
    await line.ask(POP)
    world.nodes[0].lose()

    assert await line.heard() == b""
    assert line.connection.is_closing()
    assert world.nodes[0].seen == [POP]


@clustered
async def test_a_node_that_is_away_is_waited_for(world: World) -> None:
    line = await world.connect()
    world.nodes[0].dial.refuse = 1000
    await line.ask(POP, seconds=0.5)
    world.map(2, 1, 3)

    assert await line.heard(0.5) == b"+OK\r\n"
    assert world.nodes[1].seen[0].startswith(b"BLPOP")


@clustered
async def test_requests_behind_it_wait(world: World) -> None:
    line = await world.connect()
    world.nodes[0].say(b"BLPOP", None)
    await line.ask(POP, b"GET " + B)
    assert world.nodes[1].seen == []
    world.nodes[0].push(b"*-1\r\n")

    assert await line.heard() == b"*-1\r\n+OK\r\n"


@clustered
async def test_dollar_is_the_last_entry_as_the_client_asked(world: World) -> None:
    line = await world.connect()
    world.nodes[0].say(b"XREVRANGE", b"*1\r\n*2\r\n$3\r\n7-1\r\n*0\r\n")
    for node in world.nodes:
        node.say(b"XREAD", b"-MOVED 100 n:1\r\n")
    world.nodes[0].say(b"XREAD", b"*-1\r\n")

    assert await line.ask(b"XREAD BLOCK 5 STREAMS %b $" % A, seconds=0.5) == b"*-1\r\n"
    assert world.nodes[0].seen[-1].endswith(A + b" 7-1")


@clustered
async def test_the_end_of_a_stream_is_the_one_at_the_time_of_asking(world: World) -> None:
    line = await world.connect()
    world.nodes[0].say(
        b"XREVRANGE", b"*1\r\n*2\r\n$3\r\n7-1\r\n*0\r\n", b"*0\r\n", b"-NOPERM no\r\n"
    )
    world.nodes[0].say(b"XREAD", b"*-1\r\n")

    for last in (b"7-1", b"0-0", b"$"):
        assert await line.ask(b"XREAD BLOCK 10 STREAMS %b $" % A) == b"*-1\r\n"
        assert world.nodes[0].seen[-1] == b"XREAD BLOCK 10 STREAMS %b %b" % (A, last)


@clustered
async def test_what_waits_for_keys_of_two_slots_is_refused_as_by_a_node(world: World) -> None:
    line = await world.connect()

    assert (await line.ask(b"BLPOP %b %b 1" % (A, B))).startswith(b"-CROSSSLOT")
    assert not any(node.seen for node in world.nodes)
