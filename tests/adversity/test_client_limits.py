"""What a client may cost: as Redis has it with ``timeout``, ``maxmemory_clients`` and
``client_output_buffer``; what may be queued and subscribed."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from nearhit.proxy.errors import MAX_SUBSCRIPTIONS, MULTI_FULL

from tests.servers import Kind, nearhit, upstream, wait_for

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


LIMIT = "client_output_buffer"


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_who_does_not_read_is_cut_by_the_soft_bound_whatever_it_does(kind: Kind) -> None:
    with (
        ExitStack() as stack,
        upstream(kind) as server,
        nearhit(url(server.port), "--client-output-buffer", "0 64kb 1s") as proxy,
    ):
        big = b"v" * MB
        good, boss = stack.enter_context(link(proxy.port)), stack.enter_context(link(server.port))
        subscribed, resp3, monitor, plain = (
            stack.enter_context(link(proxy.port, 4096)) for _ in range(4)
        )
        good.ask("SET", "big", big)
        subscribed.ask("SUBSCRIBE", "c")
        resp3.ask("HELLO", "3")
        resp3.ask("SUBSCRIBE", "c")
        monitor.ask("MONITOR")
        plain.send(command("GET", "big") * 16)
        boss.send(command("PUBLISH", "c", big) * 16)

        def cut() -> int:
            good.ask("GET", "k" * 60_000)  # for MONITOR to show
            return proxy.log.read_bytes().count(LIMIT.encode())

        wait_for(lambda: cut() == 4, 20, "four cuts")

        listed = good.ask("CLIENT", "LIST")
        assert listed.count(b" laddr=") == 1
        assert b"clients_cut" in good.ask("STATS")
        assert b"for " in proxy.log.read_bytes()


def test_a_reply_of_our_own_beyond_the_hard_bound_ends_its_client_alone(steady: Pair) -> None:
    with (
        nearhit(
            url(steady.server.port), "--client-output-buffer", "1mb", "--near-cache", "off"
        ) as proxy,
        link(proxy.port) as good,
        link(proxy.port, 4096) as greedy,
    ):
        good.ask("SET", "big", b"v" * MB)
        greedy.send(command("MGETORSET", 8, *["big"] * 8))

        wait_for(lambda: LIMIT in proxy.log.read_text(), 6, "the cut")

        assert good.ask("PING") == b"+PONG\r\n"
        assert good.ask("GET", "big").endswith(b"v\r\n"), "who reads gets what is as large"


@pytest.mark.parametrize("kind", ["redis", "valkey"])
@pytest.mark.parametrize("resp", [2, 3])
def test_more_than_may_be_queued_or_subscribed_is_refused(kind: Kind, resp: int) -> None:
    flags = ("--max-multi", "1mb", "--max-subscriptions", "2")
    with (
        upstream(kind) as server,
        nearhit(url(server.port), *flags) as proxy,
        link(proxy.port) as client,
    ):
        client.ask("HELLO", resp)
        client.ask("MULTI")
        assert client.ask("SET", "k", b"v" * 50_000) == b"+QUEUED\r\n"
        client.send(command("APPEND", "k", b"v" * 50_000) * 30)
        replies = client.read(30)
        refused = [one for one in replies if one != b"+QUEUED\r\n"]
        assert 5 < len(refused) < 15
        assert set(refused) == {MULTI_FULL}
        assert client.ask("CLIENT", "GETNAME") == MULTI_FULL
        assert client.ask("EXEC").startswith(b"-EXECABORT")
        assert client.ask("EXISTS", "k") == b":0\r\n"
        assert client.ask("MULTI") == b"+OK\r\n"
        assert client.ask("SET", "k", "v") == b"+QUEUED\r\n"
        assert client.ask("EXEC") == b"*1\r\n+OK\r\n"

        assert client.ask("SUBSCRIBE", "a", "b", "c") == MAX_SUBSCRIPTIONS
        client.send(
            command("SUBSCRIBE", "a") + command("PSUBSCRIBE", "b*") + command("SSUBSCRIBE", "c")
        )
        assert client.read(3)[2] == MAX_SUBSCRIPTIONS
        client.send(command("UNSUBSCRIBE", "a") + command("SSUBSCRIBE", "c"))
        assert b"ssubscribe" in client.read(2)[1]


def test_in_a_cluster_too() -> None:
    flags = ("--embedded-cluster", "3", "--max-multi", "1mb", "--max-subscriptions", "2")
    with nearhit(None, *flags) as proxy, link(proxy.port) as client:
        assert client.ask("SUBSCRIBE", "a", "b", "c") == MAX_SUBSCRIPTIONS
        client.ask("MULTI")
        client.send(command("APPEND", "k", b"v" * 50_000) * 30)
        assert client.read(30)[-1] == MULTI_FULL
        assert client.ask("EXEC").startswith(b"-EXECABORT")
        assert client.ask("EXISTS", "k") == b":0\r\n"
