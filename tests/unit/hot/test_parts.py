"""A run of a client's requests to several nodes: in one piece to each, answered in order."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.cluster.bench import A, B, Bench, C, Reader, get, later, set_


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = await Bench().open()
    yield made
    await made.close()


@pytest.fixture
async def session() -> Reader:
    return Reader()


RUN = [get(A), get(B), get(A), get(C), get(C), get(B)]


async def test_only_marked_replies_are_counted_as_reads(bench: Bench, session: Reader) -> None:
    run = [get(A), set_(B, b"x"), set_(A, b"y"), get(B)]
    session.run(bench, *run, reads=1, marks=b"\1\0\0\1")
    await later(0)
    bench.node(0).reply(b"$1\r\nv\r\n+OK\r\n")
    bench.node(1).reply(b"+OK\r\n$-1\r\n")

    assert session.took == b"$1\r\nv\r\n+OK\r\n+OK\r\n$-1\r\n"
    assert (session.turn.hits, session.turn.misses) == (1, 1)


@pytest.mark.parametrize("marks", [b"", b"\1\0\0\1\0\0"], ids=["all reads", "some reads"])
async def test_a_redirection_in_a_run_is_followed_in_its_place(
    bench: Bench, session: Reader, marks: bytes
) -> None:
    session.run(bench, *RUN, reads=1, marks=marks)
    await later(0)
    bench.node(0).reply(bench.asks(A, 1) + b"$1\r\n3\r\n")
    bench.node(1).reply(b"$1\r\n2\r\n$1\r\n6\r\n")
    bench.node(2).reply(b"$1\r\n4\r\n$1\r\n5\r\n")
    assert session.took == b""
    await later(0)
    bench.node(1).reply(b"+OK\r\n$1\r\n1\r\n")

    assert session.took == b"".join(b"$1\r\n%d\r\n" % number for number in range(1, 7))
    assert bench.router.owing == 0


async def test_a_lost_node_costs_its_own_writes_alone(bench: Bench, session: Reader) -> None:
    session.run(bench, *[set_(key, b"v") for key in (A, B, A, C)])
    await later(0)
    bench.node(0).reply(b"+OK\r\n")
    bench.node(1).reply(b"+OK\r\n")
    bench.node(2).reply(b"+OK\r\n")
    bench.node(0).lose()
    await later(0)

    first, second, third, fourth, rest = session.took.split(b"\r\n")
    assert (first, second, fourth, rest) == (b"+OK", b"+OK", b"+OK", b"")
    assert third.startswith(b"-UPSTREAM connection to the server lost")
    assert bench.router.owing == 0


async def test_runs_stay_in_order_where_a_slot_moves_between_them(
    bench: Bench, session: Reader
) -> None:
    session.run(bench, *[set_(key, b"1") for key in (A, B, A, C)])
    await later(0)
    bench.own(A, 1)
    session.run(bench, *[set_(key, b"2") for key in (A, B, A, C)])
    await later(0)
    bench.node(1).reply(b"+OK\r\n" * 2)
    bench.node(2).reply(b"+OK\r\n" * 2)
    bench.node(0).reply(bench.moved(A, 1) * 2, b"*0\r\n")
    await later()

    again = [set_(A, b"1"), set_(A, b"1"), set_(A, b"2"), set_(A, b"2")]
    assert bench.node(1).written.endswith(b"".join(again))
    bench.node(1).reply(b"+OK\r\n" * 4)
    assert session.took == b"+OK\r\n" * 8


async def test_a_push_belongs_to_the_reply_behind_it(bench: Bench, session: Reader) -> None:
    session.run(bench, *RUN, reads=6)
    await later(0)

    bench.node(0).reply(b">1\r\n+debug\r\n")

    assert session.took == b">1\r\n+debug\r\n"


async def test_errors_are_counted_and_redirections_are_not(bench: Bench, session: Reader) -> None:
    session.run(bench, get(A), set_(B, b"x"), get(A))
    await later(0)
    bench.node(0).reply(b"-WRONGTYPE no string\r\n$1\r\nv\r\n")
    bench.node(1).reply(b"-OOM no room\r\n")
    assert session.took == b"-WRONGTYPE no string\r\n-OOM no room\r\n$1\r\nv\r\n"
    assert session.turn.errors == 2

    session.run(bench, get(A))
    await later(0)
    bench.node(0).reply(bench.asks(A, 1))
    await later(0)
    bench.node(1).reply(b"+OK\r\n$1\r\nv\r\n")

    assert session.took == b"$1\r\nv\r\n"
    assert session.turn.errors == 2
