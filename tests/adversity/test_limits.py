"""Limits: clients of the proxy, and connections to the upstream under load."""

from __future__ import annotations

import time

import pytest

from tests.servers import nearhit, wait_for

from .conftest import Pair, url
from .links import Link, command, link

pytestmark = pytest.mark.waits

REFUSED = b"-ERR max number of clients reached\r\n"


def test_the_client_beyond_the_limit_is_told_so_and_a_place_that_gets_free_is_given(
    steady: Pair,
) -> None:
    with nearhit(url(steady.server.port), "--max-clients", "5") as proxy:
        clients = [Link(proxy.port) for _ in range(5)]
        try:
            wait_for(lambda: all(one.ask("PING") == b"+PONG\r\n" for one in clients), 3, "places")
            for _ in range(3):
                with link(proxy.port) as sixth:
                    assert sixth.rest() == REFUSED
            clients.pop().close()

            wait_for(lambda: _is_served(proxy.port), 3, "a place for a new client")
            assert all(one.ask("PING") == b"+PONG\r\n" for one in clients)
        finally:
            for one in clients:
                one.close()


def _is_served(port: int) -> bool:
    with link(port) as client:
        client.send(command("PING"))
        return client.read(1) == [b"+PONG\r\n"]


def test_thousands_of_transactions_open_hardly_a_connection(steady: Pair) -> None:
    server, proxy = steady
    clients = [Link(proxy.port) for _ in range(10)]
    one = command("MULTI") + command("INCR", "n") + command("EXEC")
    with link(server.port) as direct:
        before, warmed, same = -1, 0, 0
        while same < 3:  # those kept ready are opened when the need is seen
            count = _connections(direct)
            before, same = count, same + 1 if count == before else 0
            _transactions(clients, one, 50)
            warmed += 500
            assert warmed < 20_000
        begin = time.monotonic()

        _transactions(clients, one, 600)

        rate = 6000 / (time.monotonic() - begin)
        # One that is kept ready may come for one that was taken: not one for each transaction.
        assert _connections(direct) <= before + len(clients)
        assert int(direct.ask("GET", "n").split()[1]) == 6000 + warmed
    for client in clients:
        client.close()
    assert rate > 1000, f"{rate:.0f} transactions a second: too slow to mean anything"


def _transactions(clients: list[Link], one: bytes, rounds: int) -> None:
    for _ in range(rounds):
        for client in clients:
            client.send(one)
        for client in clients:
            replies = client.read(3)
            assert replies[:2] == [b"+OK\r\n", b"+QUEUED\r\n"]
            assert replies[2].startswith(b"*1\r\n:")


def _connections(direct: Link) -> int:
    info = direct.ask("INFO", "stats")
    return int(info.split(b"total_connections_received:")[1].split(b"\r\n")[0])
