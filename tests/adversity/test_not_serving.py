"""Servers that do not serve: LOADING, a wrong password, too many clients, nobody there."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.servers import HOST, free_port, nearhit, upstream, wait_for

from .conftest import KIND, Pair, url
from .fake import Connection, fake
from .links import bulk, command, link

pytestmark = pytest.mark.waits

LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"


def test_clients_wait_for_a_server_that_loads_and_then_are_served() -> None:
    with (
        fake(lambda _, args: bulk(args[1])) as server,
        nearhit(url(server.port), env={"NEARHIT_ENV": "production"}) as proxy,
        link(proxy.port) as client,
    ):
        assert client.ask("ECHO", "1") == bulk(b"1")
        server.own[b"PING"] = LOADING
        for connection in server.connections:
            connection.close()
        client.send(command("ECHO", "2") + command("ECHO", "3"))
        assert client.read(1, 0.3) == []
        server.own[b"PING"] = b"+PONG\r\n"

        assert client.read(2, 5) == [bulk(b"2"), bulk(b"3")]


def test_after_the_last_attempt_clients_see_that_the_server_loads() -> None:
    with (
        fake(lambda _, args: bulk(args[1])) as server,
        nearhit(url(server.port)) as proxy,
        link(proxy.port) as client,
    ):
        server.own[b"PING"] = LOADING
        for connection in server.connections:
            connection.close()

        assert client.ask("ECHO", "1") == LOADING
        assert client.ask("ECHO", "2") == LOADING
        server.own[b"PING"] = b"+PONG\r\n"
        wait_for(lambda: client.ask("ECHO", "3") == bulk(b"3"), 3, "service")


def test_loading_errors_on_a_lane_that_stands_reach_the_client_as_they_are(pair: Pair) -> None:
    server, proxy = pair
    with link(server.port) as direct:
        direct.ask("DEBUG", "POPULATE", "100000")
        direct.ask(
            "CONFIG", "SET", "key-load-delay", "10", "loading-process-events-interval-bytes", "1024"
        )
        replies: set[bytes] = set()
        reload = threading.Thread(target=direct.send, args=[command("DEBUG", "RELOAD")])
        with link(proxy.port) as client:
            client.ask("PING")
            reload.start()

            def loading() -> bool:
                replies.add(client.ask("GET", "key:1"))
                return any(reply.startswith(b"-LOADING") for reply in replies)

            wait_for(loading, 10, "a -LOADING reply")
            direct.close()
            with link(server.port) as other:
                other.ask("CONFIG", "SET", "key-load-delay", "0")
            wait_for(lambda: client.ask("GET", "key:1") == bulk(b"value:1"), 10, "loaded")
    allowed = (b"-LOADING", b"-UPSTREAM", bulk(b"value:1"))
    assert all(reply.startswith(allowed) for reply in replies), replies


def test_a_wrong_password_ends_the_start_with_one_line_and_its_exit_code() -> None:
    with upstream(KIND, "--requirepass", "right") as server:
        child = subprocess.run(
            [sys.executable, "-m", "nearhit.proxy", "--listen", f"{HOST}:{free_port()}",
             "--upstream", f"redis://:wr0ngsecret@{HOST}:{server.port}"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip

    assert child.returncode == 4
    assert child.stdout == ""
    complaints = [line for line in child.stderr.splitlines() if line.startswith("nearhit: ")]
    assert len(complaints) == 1
    assert "WRONGPASS" in complaints[0]
    assert "wr0ngsecret" not in child.stderr


def test_a_password_changed_while_running_is_reported_until_it_is_right_again() -> None:
    with (
        upstream(KIND, "--requirepass", "old") as server,
        nearhit(f"redis://:old@{HOST}:{server.port}") as proxy,
        link(server.port) as direct,
        link(proxy.port) as client,
    ):
        direct.ask("AUTH", "old")
        assert client.ask("SET", "k", "v") == b"+OK\r\n"
        direct.ask("CONFIG", "SET", "requirepass", "new")

        assert client.ask("GET", "k") == bulk(b"v")  # the lane is logged in
        assert client.ask("BLPOP", "q", "1").startswith(b"-WRONGPASS")  # a new one cannot be
        direct.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wait_for(lambda: client.ask("GET", "k").startswith(b"-WRONGPASS"), 2, "the refusal")
        direct.ask("CONFIG", "SET", "requirepass", "old")

        assert client.ask("GET", "k") == bulk(b"v")
        assert client.ask("BLPOP", "q", "0.01") == b"*-1\r\n"


def test_a_server_with_too_many_clients_is_an_error_that_says_so() -> None:
    line = b"-ERR max number of clients reached\r\n"
    with fake(lambda _, args: bulk(args[1])) as server, nearhit(url(server.port)) as proxy:
        with link(proxy.port) as client:
            assert client.ask("ECHO", "1") == bulk(b"1")
        server.greeting = line
        reply, ends = b"", time.monotonic() + 30
        # A server that closes with something unread may take back with it what it said.
        while b"max number of clients" not in reply:
            assert time.monotonic() < ends, reply
            with link(proxy.port) as client:
                client.send(command("MULTI"))
                reply = b"".join(client.read(1, 3))
            assert reply.startswith(b"-")


def test_one_lane_too_many_does_not_take_the_others_out_of_service(pair: Pair) -> None:
    server, proxy = pair
    with link(server.port) as direct, link(proxy.port) as client:
        assert client.ask("SET", "k", "v") == b"+OK\r\n"
        direct.ask("CONFIG", "SET", "maxclients", "2")

        assert client.ask("BLPOP", "q", "1", seconds=3).startswith(b"-")
        assert client.ask("GET", "k") == bulk(b"v")
        assert b"upstream is down" not in proxy.log.read_bytes(), "it answers"
        direct.ask("CONFIG", "SET", "maxclients", "100")
        assert client.ask("BLPOP", "q", "0.01") == b"*-1\r\n"


@pytest.mark.parametrize(
    "request_", ["GET a", "MULTI", "BLPOP q 0", "SUBSCRIBE c", "SELECT 1", "AUTH p"]
)
def test_without_any_server_each_kind_of_command_gets_an_error_and_not_silence(
    nobody: int, request_: str
) -> None:
    with link(nobody) as client:
        client.send(command(*request_.split()))
        assert b"".join(client.read(1, 2)).startswith(b"-UPSTREAM ")


@pytest.fixture(scope="module")
def nobody() -> Iterator[int]:
    """The port of a proxy whose server has gone for good."""
    with upstream(KIND) as server, nearhit(url(server.port)) as proxy:
        server.kill()
        wait_for(lambda: b"upstream is down" in proxy.log.read_bytes(), 5, "giving up")
        yield proxy.port


def test_an_answer_that_is_no_redis_is_an_error_and_not_garbage() -> None:
    def answer(connection: Connection, args: list[bytes]) -> bytes:
        return b"HTTP/1.1 400 Bad Request\r\n\r\n"

    with (
        fake(answer) as server,
        nearhit(url(server.port)) as proxy,
        link(proxy.port) as client,
    ):
        client.send(command("ECHO", "1"))
        got = b"".join(client.read(1, 3))

        assert b"HTTP" not in got
        assert got.startswith(b"-UPSTREAM ") or client.ended
