"""Clients that send no RESP, or too much of it: closed where Redis closes, harmless to others."""

from __future__ import annotations

import random

import pytest

from .conftest import Pair
from .links import MB, Growth, Link, command, link, pinging

GROWTH = 32  # MB
ERROR = b"-ERR Protocol error: "

ENDINGS = {
    "a count of two milliards and a word": (
        b"*2000000000\r\nfoo\r\n",
        ERROR + b"expected '$', got 'f'\r\n",
    ),
    "a count too large": (b"*3000000000\r\n", ERROR + b"invalid multibulk length\r\n"),
    "a count that is none": (b"*x\r\n", ERROR + b"invalid multibulk length\r\n"),
    "a bulk over the limit": (
        b"*2\r\n$3\r\nGET\r\n$536870913\r\n",
        ERROR + b"invalid bulk length\r\n",
    ),
    "a negative bulk": (b"*2\r\n$3\r\nGET\r\n$-1\r\n", ERROR + b"invalid bulk length\r\n"),
    "no bulk": (b"*2\r\n$3\r\nGET\r\n+1\r\n", ERROR + b"expected '$', got '+'\r\n"),
    "an endless line": (b"x" * MB, ERROR + b"too big inline request\r\n"),
    "an endless count": (b"*" + b"1" * MB, ERROR + b"too big mbulk count string\r\n"),
    "an endless size": (b"*1\r\n$" + b"1" * MB, ERROR + b"too big bulk count string\r\n"),
    "a quote too many": (b'SET k "v\r\n', ERROR + b"unbalanced quotes in request\r\n"),
}


@pytest.mark.parametrize("kind", ENDINGS)
def test_a_client_that_breaks_the_protocol_is_told_so_and_closed(steady: Pair, kind: str) -> None:
    data, expected = ENDINGS[kind]
    with pinging(steady.proxy.port), link(steady.proxy.port) as client:
        client.send(command("ECHO", "before") + data)
        got = client.rest()

    assert got is not None, "not closed"
    # Where more is on its way than was read, the close is a reset, and may overtake the error.
    whole = b"$6\r\nbefore\r\n" + expected
    assert got == whole or (len(data) >= MB and whole.startswith(got))


@pytest.mark.parametrize("name", ["GET", "NOSUCH", "EVAL", "BLPOP"])
def test_a_count_of_two_milliards_costs_nothing(steady: Pair, name: str) -> None:
    growth = Growth(steady.proxy)
    with pinging(steady.proxy.port), link(steady.proxy.port) as client:
        client.send(b"*2000000000\r\n$%d\r\n%b\r\n" % (len(name), name.encode()))
        client.send(b"$1\r\na\r\n" * 10_000)
        assert client.read(1, 0.1) == []

    assert growth.peak < GROWTH


@pytest.mark.parametrize("piece", [b"\r\n", b"\n", b"*0\r\n", b"*-1\r\n", b" \r\n"])
def test_endless_nothing_is_passed_over(steady: Pair, piece: bytes) -> None:
    data = piece * (256 * 1024 // len(piece))
    growth = Growth(steady.proxy)
    with pinging(steady.proxy.port), link(steady.proxy.port) as client:
        client.send(data * 2)
        assert not client.ended
        assert client.ask("PING", seconds=10) == b"+PONG\r\n"

    assert growth.peak < GROWTH


def test_random_bytes_hurt_nobody_else(steady: Pair) -> None:
    source = random.Random(1)
    growth = Growth(steady.proxy)
    with pinging(steady.proxy.port):
        for _ in range(150):
            with link(steady.proxy.port) as client:
                client.send(
                    source.choice([b"", b"*", b"$", b"*3\r\n$"])
                    + source.randbytes(source.randrange(60_000))
                )
                client.finish(0.02)

    assert growth.peak < GROWTH
    with link(steady.proxy.port) as client:
        assert client.ask("ECHO", "fine") == b"$4\r\nfine\r\n"


def test_many_requests_that_are_never_finished_cost_little_each(steady: Pair) -> None:
    growth = Growth(steady.proxy)
    clients = [Link(steady.proxy.port) for _ in range(50)]
    with pinging(steady.proxy.port):
        for client in clients:
            client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000000\r\n" + b"v" * 200_000)
        assert growth.peak < GROWTH
    for client in clients:
        client.close()
