"""A server that holds its connections and says nothing: SIGSTOP, a stalled link, long commands.
(One that is waited for as long as it takes: test_silent_upstream.py.)"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from tests.servers import Process, nearhit, wait_for

from .conftest import Pair, Relayed, url
from .links import bulk, command, link

pytestmark = pytest.mark.waits


@pytest.fixture
def hasty(server: Process) -> Iterator[Process]:
    """A proxy that waits 1 s for a reply, be the server silent or the connection dead."""
    with nearhit(url(server.port), "--upstream-timeout", "1s", "--command-timeout", "1s") as proxy:
        yield proxy


def test_commands_get_an_error_within_the_timeout_and_service_resumes(
    server: Process, hasty: Process
) -> None:
    with link(hasty.port) as client, link(hasty.port) as other:
        client.ask("PING")
        other.ask("PING")
        server.signal(signal.SIGSTOP)
        begin = time.monotonic()
        client.send(command("GET", "a") * 3)
        other.send(command("GET", "b"))

        replies = client.read(3, 5) + other.read(1, 5)
        assert [reply[:10] for reply in replies] == [b"-UPSTREAM "] * 4
        # Looked at once a second, and the first look may come right behind the command.
        assert 0.9 < time.monotonic() - begin < 3.5

        server.signal(signal.SIGCONT)
        wait_for(lambda: client.ask("GET", "a") == b"$-1\r\n", 3, "service")


@pytest.mark.parametrize("answers", [True, False])
def test_a_half_open_lane_is_dead_where_another_is_answered_or_cannot_be_made(
    relayed: Relayed, answers: bool
) -> None:
    _, relay, _ = relayed
    with (
        nearhit(url(relay.port), "--upstream-timeout", "1s", "--near-cache", "off") as proxy,
        link(proxy.port) as client,
    ):
        client.ask("SET", "a", "1")
        relay.half_open()
        relay.accepting = answers
        client.send(command("GET", "a"))

        # Asked again, on a connection that is answered.
        told = bulk(b"1") if answers else b"-UPSTREAM "
        assert client.read(1, 5)[0].startswith(told)
        relay.accepting = True
        wait_for(lambda: client.ask("GET", "a") == bulk(b"1"), 3, "service")


def test_commands_sent_while_the_server_is_stopped_get_an_error_within_the_timeout(
    server: Process, hasty: Process
) -> None:
    with link(hasty.port) as client, link(hasty.port) as other:
        client.ask("PING")
        server.signal(signal.SIGSTOP)
        client.send(command("GET", "a"))
        assert client.read(1, 5)[0].startswith(b"-UPSTREAM ")

        # The connection is being made anew: the kernel accepts it, the server says nothing.
        other.send(command("GET", "b"))
        replies = other.read(1, 4)

        server.signal(signal.SIGCONT)
        assert replies, "no answer 4 s after the command, with --upstream-timeout 1s"
        assert replies[0].startswith(b"-UPSTREAM ")


def test_a_command_that_takes_less_than_the_timeout_completes(hasty: Process) -> None:
    with link(hasty.port) as client:
        client.ask("PING")
        assert client.read(1, 1.1) == []  # the lane falls silent, as it may: nobody asks

        assert client.ask("DEBUG", "SLEEP", "0.95") == b"+OK\r\n"


def test_a_short_stop_is_not_noticed(server: Process, hasty: Process) -> None:
    with link(hasty.port) as client:
        client.ask("PING")
        server.signal(signal.SIGSTOP)
        threading.Timer(0.5, server.signal, [signal.SIGCONT]).start()
        client.send(b"".join(command("ECHO", str(at)) for at in range(50)))

        assert client.read(50, 5) == [bulk(b"%d" % at) for at in range(50)]


def test_commands_that_block_are_not_timed_out(hasty: Process) -> None:
    with link(hasty.port) as blocked, link(hasty.port) as reader, link(hasty.port) as other:
        blocked.send(command("BLPOP", "q", "0"))
        reader.send(command("XREAD", "BLOCK", "0", "STREAMS", "s", "$"))
        assert blocked.read(1, 2.1) == []

        assert other.ask("RPUSH", "q", "v") == b":1\r\n"
        other.ask("XADD", "s", "1-1", "f", "v")
        assert blocked.read(1) == [b"*2\r\n" + bulk(b"q") + bulk(b"v")]
        assert reader.read(1)[0].startswith(b"*1\r\n*2\r\n")


def test_a_stalled_link_that_flows_again_loses_nothing(relayed: Relayed) -> None:
    _, relay, proxy = relayed
    with link(proxy.port) as client:
        client.ask("PING")
        relay.stall()
        client.send(b"".join(command("ECHO", str(at)) for at in range(200)))
        assert client.read(1, 0.2) == []
        relay.flow()

        assert client.read(200) == [bulk(b"%d" % at) for at in range(200)]


def test_a_stopped_server_does_not_keep_the_proxy_from_stopping(pair: Pair) -> None:
    server, _ = pair
    with nearhit(url(server.port), "--drain-timeout", "500ms") as proxy, link(proxy.port) as client:
        client.ask("PING")
        server.signal(signal.SIGSTOP)
        client.send(command("GET", "a"))
        begin = time.monotonic()

        assert proxy.stop() == 0
        assert time.monotonic() - begin < 2
        server.signal(signal.SIGCONT)
