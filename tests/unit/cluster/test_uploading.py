"""What is too large to be kept passes to the node of its key as it comes."""

from __future__ import annotations

import pytest
from nearhit.proxy.cluster import connection
from nearhit.proxy.cluster.uploading import MOVED_AWAY, slot_of

from tests.clusters import slot_of as true_slot

from .nodes import TABLE, A, B, Line, World, clustered

MOST = 1000


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_MAX", MOST)


def head(size: int) -> bytes:
    return b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n" % (len(A), A, size)


async def begun(world: World) -> Line:
    line = await world.connect()
    world.nodes[0].dial.answer = None
    line.connection.write(head(4 * MOST))
    line.connection.write(b"x" * MOST)
    await line.heard()
    return line


def test_only_a_request_of_one_key_is_known_by_its_head() -> None:
    assert slot_of(head(9), TABLE.commands) == true_slot(A)
    assert slot_of(b"*3\r\n$4\r\nMSET\r\n$1\r\nk\r\n$9\r\n", TABLE.commands) is None
    assert slot_of(b"*3\r\n$3\r\nSET\r\n$900\r\nk", TABLE.commands) is None
    assert slot_of(b"*3\r\n$4\r\nNOPE\r\n$1\r\nk\r\n", TABLE.commands) is None
    assert slot_of(b"*3\r\n$3\r\nS", TABLE.commands) is None


@clustered
async def test_its_bytes_pass_as_they_come(world: World) -> None:
    line = await begun(world)
    wire = world.nodes[0].dial.wires[-1]
    assert wire.take() == head(4 * MOST) + b"x" * MOST
    line.connection.write(b"y" * (3 * MOST) + b"\r\n")
    line.send(b"GET " + B)
    await line.heard()
    assert wire.take() == b"y" * (3 * MOST) + b"\r\n"
    assert world.nodes[1].seen == []
    wire.reply(b"+OK\r\n")

    assert await line.heard() == b"+OK\r\n+OK\r\n"
    assert "lent=0 warm=1" in repr(world.cluster.pool("n", 1))


@clustered
async def test_where_the_slot_has_left_the_client_sends_it_again(world: World) -> None:
    line = await begun(world)
    line.connection.write(b"y" * (3 * MOST) + b"\r\n")
    await line.heard()
    world.nodes[0].dial.wires[-1].reply(b"-MOVED 100 n:2\r\n")

    assert await line.heard() == MOVED_AWAY


@clustered
async def test_a_lost_node_is_an_error_and_the_rest_is_dropped(world: World) -> None:
    line = await begun(world)
    world.nodes[0].lose()
    assert (await line.heard()).startswith(b"-UPSTREAM")
    line.connection.write(b"y" * (3 * MOST) + b"\r\n")

    assert await line.ask(b"GET " + B) == b"+OK\r\n"


@clustered
async def test_who_cannot_be_written_to_holds_the_client(world: World) -> None:
    line = await begun(world)
    wire = world.nodes[0].dial.wires[-1]
    wire.protocol.pause_writing()
    line.connection.write(b"y" * MOST)
    assert line.protocol.full
    wire.protocol.resume_writing()

    assert not line.protocol.full


@clustered
async def test_with_the_client_goes_its_half(world: World) -> None:
    line = await begun(world)
    line.connection.abort()
    await line.heard()

    assert world.nodes[0].dial.wires[-1].end == "aborted"
