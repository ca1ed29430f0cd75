"""A server that says nothing for longer than a connection is trusted, and is waited for."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.servers import HOST, Process, free_port, nearhit, wait_for

from .conftest import url
from .links import command, link

pytestmark = pytest.mark.waits


@pytest.fixture
def waiting(server: Process) -> Iterator[tuple[Process, int]]:
    """A proxy that doubts a connection after 1 s, and waits for a server as long as it takes; and
    its HTTP port."""
    http = free_port()
    options = ("--upstream-timeout", "1s", "--http", f"{HOST}:{http}")
    with nearhit(url(server.port), *options) as proxy:
        yield proxy, http


def readiness(port: int) -> bytes:
    with link(port) as web:
        web.send(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return web.socket.recv(65536)[9:12]


def test_commands_wait_for_a_silent_server_and_are_done_once(
    server: Process, waiting: tuple[Process, int]
) -> None:
    proxy, http = waiting
    with link(proxy.port) as client, link(proxy.port) as other, link(proxy.port) as late:
        client.ask("INCR", "n")
        assert readiness(http) == b"200"
        server.signal(signal.SIGSTOP)
        client.send(command("INCR", "n") * 3)
        assert client.read(1, 4.5) == []

        # Lanes that are new wait as those that stand.
        other.send(command("SELECT", "3") + command("INCR", "n"))
        late.send(command("MULTI") + command("INCR", "m") + command("EXEC"))
        assert other.read(1, 6.5) == []  # longer than pinned_wait, too
        assert readiness(http) == b"503"

        server.signal(signal.SIGCONT)
        assert client.read(3, 5) == [b":2\r\n", b":3\r\n", b":4\r\n"]
        assert other.read(2, 5) == [b"+OK\r\n", b":1\r\n"]
        assert late.read(3, 5) == [b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n:1\r\n"]
        wait_for(lambda: readiness(http) == b"200", 3, "readiness")

    log = proxy.log.read_text()
    assert log.count('"upstream is silent"') == 1
    assert log.count('"upstream speaks again"') == 1
    assert "lane lost" not in log


def test_a_pause_that_others_ask_for_is_waited_for(
    server: Process, waiting: tuple[Process, int]
) -> None:
    proxy, _ = waiting
    with link(proxy.port) as client, link(server.port) as direct:
        client.ask("PING")
        direct.ask("CLIENT", "PAUSE", "4000", "ALL")
        begin = time.monotonic()

        assert client.ask("INCR", "n", seconds=8) == b":1\r\n"
        assert time.monotonic() - begin > 3


def test_a_busy_server_is_waited_for_by_the_lane_that_keeps_it_busy(
    server: Process, waiting: tuple[Process, int]
) -> None:
    proxy, _ = waiting
    with link(proxy.port) as client, link(server.port) as direct, link(proxy.port) as other:
        client.ask("PING")
        other.ask("PING")
        direct.ask("CONFIG", "SET", "busy-reply-threshold", "100")
        client.send(command("EVAL", "while 1 do redis.call('ping') end", "0"))
        time.sleep(0.3)
        assert other.ask("PING").startswith(b"-BUSY")
        assert client.read(1, 4) == []

        assert direct.ask("SCRIPT", "KILL") == b"+OK\r\n"
        assert b"killed" in client.read(1, 3)[0]
