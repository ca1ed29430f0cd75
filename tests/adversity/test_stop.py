"""SIGTERM: what runs is finished, what waits is closed, and it is over in time."""

from __future__ import annotations

import signal
import socket
import time

import pytest

from tests.servers import HOST, nearhit, wait_for

from .conftest import Pair, url
from .links import bulk, command, link

pytestmark = pytest.mark.waits


def test_a_running_command_is_answered_before_the_end(pair: Pair) -> None:
    _, proxy = pair
    with link(proxy.port) as client:
        client.ask("PING")
        client.send(command("DEBUG", "SLEEP", "0.6") + command("ECHO", "behind"))
        assert client.read(1, 0.1) == []

        proxy.signal(signal.SIGTERM)

        assert client.read(2) == [b"+OK\r\n", bulk(b"behind")]
        assert client.rest() == b""
    assert proxy.end() == 0


IDLE = {
    "idle": [("PING",)],
    "subscribed": [("SUBSCRIBE", "c")],
    "in MULTI": [("MULTI",), ("SET", "k", "v")],
    "watching": [("WATCH", "k")],
    "monitoring": [("MONITOR",)],
}


def test_clients_for_whom_nothing_runs_are_closed_at_once(pair: Pair) -> None:
    server, proxy = pair
    with (
        link(proxy.port) as one,
        link(proxy.port) as two,
        link(proxy.port) as three,
        link(proxy.port) as four,
        link(proxy.port) as five,
        link(proxy.port) as blocked,
    ):
        clients = dict(zip(IDLE, (one, two, three, four, five), strict=True))
        for kind, client in clients.items():
            for words in IDLE[kind]:
                assert not client.ask(*words).startswith(b"-")
        blocked.send(command("BLPOP", "q", "0"))
        with link(server.port) as direct:
            wait_for(lambda: b"blocked_clients:1" in direct.ask("INFO", "clients"), 3, "the block")
        begin = time.monotonic()

        proxy.signal(signal.SIGTERM)

        for kind, client in (*clients.items(), ("blocked", blocked)):
            assert client.rest() is not None, f"{kind}: not closed"
        assert proxy.end() == 0
        assert time.monotonic() - begin < 2
    with link(server.port) as direct:
        assert direct.ask("EXISTS", "k") == b":0\r\n"


def test_no_new_client_is_taken_while_it_drains(pair: Pair) -> None:
    _, proxy = pair
    with link(proxy.port) as client:
        client.ask("PING")
        client.send(command("DEBUG", "SLEEP", "0.5"))
        assert client.read(1, 0.05) == []
        proxy.signal(signal.SIGTERM)

        def refused() -> bool:
            try:
                socket.create_connection((HOST, proxy.port), timeout=1).close()
            except ConnectionRefusedError:
                return True
            return False

        wait_for(refused, 0.4, "refusal while the command still runs")
        assert client.read(1) == [b"+OK\r\n"]


def test_the_drain_ends_with_its_timeout(pair: Pair) -> None:
    with (
        nearhit(url(pair.server.port), "--drain-timeout", "300ms") as proxy,
        link(proxy.port) as client,
    ):
        client.ask("PING")
        client.send(command("DEBUG", "SLEEP", "2"))
        assert client.read(1, 0.05) == []
        begin = time.monotonic()

        assert proxy.stop() == 0

        assert 0.25 < time.monotonic() - begin < 1.2
        assert client.rest() is not None


def test_a_second_signal_ends_the_drain_at_once(pair: Pair) -> None:
    _, proxy = pair
    with link(proxy.port) as client:
        client.ask("PING")
        client.send(command("DEBUG", "SLEEP", "3"))
        assert client.read(1, 0.05) == []
        proxy.signal(signal.SIGTERM)
        wait_for(lambda: b"event=stopping" in proxy.log.read_bytes(), 2, "the drain")
        begin = time.monotonic()

        proxy.stop()

        assert time.monotonic() - begin < 1


def test_a_client_that_does_not_read_does_not_keep_the_proxy(pair: Pair) -> None:
    server, _ = pair
    with (
        nearhit(url(server.port), "--drain-timeout", "500ms") as proxy,
        link(proxy.port, 4096) as client,
    ):
        client.ask("SET", "k", "v" * 1_000_000)
        client.send(command("GET", "k") * 30)
        assert client.socket.recv(1) == b"$"
        begin = time.monotonic()

        assert proxy.stop() == 0
        assert time.monotonic() - begin < 2
