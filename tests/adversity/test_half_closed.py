"""Clients that shut their own direction down, and clients that send very slowly."""

from __future__ import annotations

import socket

import pytest

from tests.servers import HOST, wait_for

from .conftest import Pair
from .links import command, link, pinging


@pytest.mark.parametrize("count", [1, 1000, 11_000])
def test_a_client_that_says_it_will_send_no_more_gets_all_replies_and_the_end(
    steady: Pair, count: int
) -> None:
    server, proxy = steady
    with link(server.port) as direct:
        direct.ask("SET", "k", "v" * 1000)
    with link(proxy.port, 4096) as client:
        client.send(command("GET", "k") * count)
        with pinging(proxy.port) as pinger:  # with others on the lane it cannot be held up
            wait_for(
                lambda: pinger.count > 200, 5, "all that goes on while the client reads nothing"
            )
            client.socket.shutdown(socket.SHUT_WR)
            wait_for(lambda: pinger.count > 300, 5, "its end to be seen")
        got = client.rest(10)

    assert got is not None, "not closed"
    assert len(got) == 1009 * count
    assert got == (b"$1000\r\n" + b"v" * 1000 + b"\r\n") * count


HALVES = {
    "answered by the proxy": (("CLIENT", "SETNAME", "n"), b"+OK\r\n"),
    "transactions": (("MULTI",), b"+OK\r\n"),
    "scripts": (("EVAL", "return 1", "0"), b":1\r\n"),
    "moving": (("SELECT", "0"), b"+OK\r\n"),
}


@pytest.mark.parametrize("kind", HALVES)
def test_half_a_connection_is_answered_whatever_it_asked(steady: Pair, kind: str) -> None:
    words, reply = HALVES[kind]
    count = 300
    data, expected = command(*words) * count, reply * count
    if kind == "transactions":
        data = (command("MULTI") + command("EXEC")) * count
        expected = (reply + b"*0\r\n") * count
    with link(steady.proxy.port) as client:
        client.send(data)

        assert client.finish() == expected


def test_clients_that_send_one_byte_at_a_time_are_served(steady: Pair) -> None:
    data = command("SET", "k", "v" * 50) + command("GET", "k") + b"PING\r\n" + command("MULTI")
    data += command("GET", "k") + command("EXEC")
    value = b"$50\r\n" + b"v" * 50 + b"\r\n"
    sock = socket.create_connection((HOST, steady.proxy.port), timeout=4)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock, pinging(steady.proxy.port):
        for at in range(len(data)):
            sock.sendall(data[at : at + 1])
        expected = b"+OK\r\n" + value + b"+PONG\r\n+OK\r\n+QUEUED\r\n*1\r\n" + value
        got = b""
        while len(got) < len(expected) and (chunk := sock.recv(4096)):
            got += chunk

    assert got == expected
