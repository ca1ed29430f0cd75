"""``timeout`` and ``maxmemory_clients``: what Redis does with a client, the proxy does."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.servers import nearhit, upstream, wait_for

from .conftest import KIND, Pair, url
from .links import MB, Link, command, link

pytestmark = pytest.mark.waits


def ended(client: Link) -> bool:
    return not client.read(1, 0.01) and client.ended


def test_idle_clients_are_closed_and_those_that_wait_are_not() -> None:
    with (
        ExitStack() as stack,
        upstream(KIND) as server,
        nearhit(url(server.port), "--timeout", "1s") as proxy,
    ):
        with link(server.port) as boss:
            boss.ask("CONFIG", "SET", "timeout", "1")
        for port in (server.port, proxy.port):
            idle, multi, subscribed, blocked, monitor = (
                stack.enter_context(link(port)) for _ in range(5)
            )
            idle.ask("GET", "k")
            multi.ask("MULTI")
            subscribed.ask("SUBSCRIBE", "c")
            monitor.ask("MONITOR")
            blocked.send(command("BLPOP", "q", 0))

            wait_for(lambda: ended(idle) and ended(multi), 6, "their end")  # noqa: B023

            for waits in (subscribed, blocked, monitor):
                waits.read(10, 0.01)
                assert not waits.ended


def test_the_largest_client_is_cut_beyond_the_bound_of_all(steady: Pair) -> None:
    with (
        nearhit(url(steady.server.port), "--maxmemory-clients", "1mb") as proxy,
        link(proxy.port) as good,
        link(proxy.port, 4096) as greedy,
    ):
        good.ask("SET", "big", b"v" * MB)
        greedy.send(command("GET", "big") * 64)

        wait_for(lambda: b"maxmemory_clients" in proxy.log.read_bytes(), 6, "the cut")

        assert good.ask("PING") == b"+PONG\r\n"
        assert good.ask("CLIENT", "LIST").count(b" laddr=") == 1  # its own line
