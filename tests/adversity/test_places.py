"""Connections that clients take for themselves, and those that do not last: others are served, and
no server is dialled in a loop."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.servers import HOST, nearhit, upstream, wait_for

from .conftest import KIND, url
from .fake import OWN, Connection, fake
from .links import Link, command, link

pytestmark = pytest.mark.waits

MAXCLIENTS = 60
PLACES = MAXCLIENTS - 32
BLPOP = command("BLPOP", "nothing", "0")


class Blocked(threading.Thread):
    """Clients that block, and try again at once after whatever they are told."""

    def __init__(self, port: int, count: int) -> None:
        super().__init__(daemon=True)
        self.errors: set[bytes] = set()
        self._address = (HOST, port)
        self._clients = [self._client() for _ in range(count)]
        self._ended = threading.Event()

    def _client(self) -> socket.socket:
        client = socket.create_connection(self._address)
        client.sendall(BLPOP)
        return client

    def run(self) -> None:
        while not self._ended.is_set():
            for client in select.select(self._clients, [], [], 0.1)[0]:
                data = b""
                with contextlib.suppress(OSError):
                    data = client.recv(4096)
                self.errors.add(data.partition(b"\r\n")[0])
                if data:
                    client.sendall(BLPOP)
                else:
                    client.close()
                    self._clients.remove(client)
                    self._clients.append(self._client())

    def end(self) -> None:
        self._ended.set()
        self.join(5)
        for client in self._clients:
            client.close()


@contextlib.contextmanager
def blocked(port: int, count: int) -> Iterator[Blocked]:
    clients = Blocked(port, count)
    clients.start()
    try:
        yield clients
    finally:
        clients.end()


def number(direct: Link, name: bytes) -> int:
    text = direct.ask("INFO", "clients")
    return int(text.split(b"\n%b:" % name)[1].split(b"\r")[0])


def test_clients_that_block_starve_nobody_also_not_after_a_restart() -> None:
    with (
        upstream(KIND, "--maxclients", str(MAXCLIENTS)) as server,
        nearhit(url(server.port), "--pinned-wait", "300ms") as proxy,
        link(proxy.port) as other,
    ):
        with blocked(proxy.port, MAXCLIENTS + 20) as clients:
            with link(server.port) as direct:
                wait_for(lambda: number(direct, b"blocked_clients") == PLACES, 5, "all places")
                wait_for(lambda: clients.errors, 5, "a refusal")
                # One of each use: what is shared comes first, whoever waits in line.
                assert other.ask("SET", "k", "v") == b"+OK\r\n"
                assert other.ask("EVAL", "return 1", "0") == b":1\r\n"
                assert other.ask("GETORSET", "l", "v") == b"$1\r\nv\r\n"
                assert number(direct, b"connected_clients") < MAXCLIENTS
            (error,) = clients.errors
            assert b"max_pinned" in error

            server.kill()
            server.start()
            wait_for(lambda: other.ask("SET", "k", "v") == b"+OK\r\n", 1.5, "the first SET")
            assert {other.ask("SET", "k", "v") for _ in range(50)} == {b"+OK\r\n"}
            with link(server.port) as direct:
                wait_for(lambda: number(direct, b"blocked_clients") == PLACES, 5, "all places")
        assert other.ask("BLPOP", "nothing", "0.01") == b"*-1\r\n"


def test_nobody_dials_to_block_before_the_shared_connection_stands_again() -> None:
    may_stand = threading.Event()
    may_stand.set()
    hello = OWN[b"HELLO"]

    def answer(connection: Connection, args: list[bytes]) -> bytes | None:
        if args[0] == b"HELLO":
            may_stand.wait(5)
            return hello
        return b"+OK\r\n" if args[0] == b"ECHO" else None

    with (
        fake(answer) as server,
        nearhit(url(server.port), "--near-cache", "off") as proxy,
        contextlib.ExitStack() as stack,
    ):
        other, *clients = (stack.enter_context(link(proxy.port)) for _ in range(6))
        del server.own[b"HELLO"]
        assert other.ask("ECHO", "x") == b"+OK\r\n"
        may_stand.clear()
        before = len(server.connections)
        for connection in server.connections:
            connection.close()
        wait_for(lambda: len(server.connections) > before, 5, "the shared one, dialled again")

        for client in clients:
            client.send(BLPOP)
        for _ in range(10):  # turns of the proxy's loop, in which it would have dialled
            with link(proxy.port) as barrier:
                barrier.send(b"*x\r\n")
                assert b"Protocol error" in barrier.read(1)[0]
        with link(server.port) as last:
            name = last.socket.getsockname()
            wait_for(lambda: server.connections[-1].wire.getpeername() == name, 5, "our own")
            assert len(server.connections) == before + 2
            may_stand.set()
            wait_for(lambda: server.seen.count([b"BLPOP", b"nothing", b"0"]) == 5, 5, "BLPOPs")


def test_a_server_that_answers_nonsense_is_dialled_and_logged_seldom_and_left_at_once() -> None:
    nonsense = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    with (
        fake(lambda connection, args: b"+OK\r\n") as server,
        nearhit(url(server.port), "--near-cache", "off") as proxy,
        link(proxy.port) as client,
    ):
        assert client.ask("ECHO", "x") == b"+OK\r\n"
        server.own = dict.fromkeys(server.own, nonsense)
        server.answer = lambda connection, args: nonsense
        for connection in server.connections:
            connection.close()
        dialled, logged = len(server.connections), proxy.log.read_bytes().count(b"\n")

        until = time.monotonic() + 0.7
        while time.monotonic() < until:
            assert client.ask("ECHO", "x").startswith(b"-UPSTREAM")

        assert len(server.connections) - dialled < 15
        assert proxy.log.read_bytes().count(b"\n") - logged < 10, proxy.log.read_text()
        begin = time.monotonic()
        proxy.stop()
        assert time.monotonic() - begin < 3
