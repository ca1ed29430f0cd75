"""A run of a client's requests to several nodes: in one piece to each, answered in order."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.cluster.bench import A, B, Bench, C, Reader, get, later


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = await Bench().open()
    yield made
    await made.close()


@pytest.fixture
async def session() -> Reader:
    return Reader()


RUN = [get(A), get(B), get(A), get(C), get(C), get(B)]


async def test_each_node_gets_its_requests_in_one_piece(bench: Bench, session: Reader) -> None:
    session.run(bench, *RUN, reads=6)
    await later(0)

    assert [bench.node(at).written for at in range(3)] == [get(A) * 2, get(B) * 2, get(C) * 2]
    assert len(bench.lanes[0].waiting) == 1
    bench.node(2).reply(b"$1\r\n4\r\n$1\r\n5\r\n")
    bench.node(0).reply(b"$1\r\n1\r\n")
    assert session.took == b""
    bench.node(1).reply(b"$1\r\n2\r\n$-1\r\n")
    bench.node(0).reply(b"$1\r\n3\r\n")

    values = [b"$1\r\n1\r\n", b"$1\r\n2\r\n", b"$1\r\n3\r\n", b"$1\r\n4\r\n", b"$1\r\n5\r\n"]
    assert session.took == b"".join(values) + b"$-1\r\n"
    assert (session.turn.hits, session.turn.misses) == (5, 1)
    assert bench.router.owing == session.owed == 0


async def test_a_run_for_one_node_is_one_part(bench: Bench, session: Reader) -> None:
    session.run(bench, get(A), get(A), get(A), reads=3)
    await later(0)
    bench.node(0).reply(b"$-1\r\n" * 2)
    assert session.took == b""
    bench.node(0).reply(b"$-1\r\n")

    assert session.took == b"$-1\r\n" * 3
