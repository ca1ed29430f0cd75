"""Clients that leave in the middle of anything: the next ones to get those lanes find them clean.

Many clients at once put lanes of the pool into every state there is and vanish; others meanwhile
run transactions, which take lanes from the pool, and look at what such a lane may have kept."""

from __future__ import annotations

import random
import socket
import threading
import time

import pytest

from tests.servers import wait_for

from .conftest import Pair
from .links import Link, bulk, command, link

pytestmark = pytest.mark.waits

DIRTY: dict[str, bytes] = {
    "watch": command("WATCH", "shared"),
    "multi": command("MULTI"),
    "queued": command("MULTI") + command("SET", "dirt", "1"),
    "refused": command("MULTI") + command("NOSUCH") + command("SET", "dirt", "1"),
    "watched": command("WATCH", "shared") + command("MULTI") + command("SET", "dirt", "1"),
    "select": command("MULTI") + command("SELECT", "5") + command("SET", "dirt", "1"),
    "selected": command("MULTI") + command("SELECT", "5") + command("EXEC"),
    "selected and back": command("SELECT", "5") + command("MULTI") + command("EXEC"),
    "silent": command("CLIENT", "REPLY", "OFF") + command("MULTI") + command("GET", "shared"),
    "skipped": command("CLIENT", "REPLY", "SKIP") + command("WATCH", "shared"),
    "no-evict": command("CLIENT", "NO-EVICT", "ON") + command("GET", "shared"),
    "tracking": command("HELLO", "3") + command("CLIENT", "TRACKING", "ON") + command("GET", "a"),
    "broadcast": command("HELLO", "3") + command("CLIENT", "TRACKING", "ON", "BCAST"),
    "subscribed": command("SUBSCRIBE", "c"),
    "blocked": command("BLPOP", "none", "0"),
    "blocked shortly": command("BLPOP", "none", "0.001"),
    "name in multi": command("MULTI") + command("CLIENT", "SETNAME", "dirty") + command("EXEC"),
    "reply in multi": command("MULTI") + command("CLIENT", "REPLY", "OFF") + command("EXEC"),
    "hello in multi": command("MULTI") + command("HELLO", "3") + command("EXEC"),
    "half a request": command("MULTI") + b"*3\r\n$3\r\nSET\r\n$4\r\ndirt\r\n$5\r\nx",
    "discarded": command("MULTI") + command("SELECT", "5") + command("DISCARD"),
    "reset": command("MULTI") + command("SET", "dirt", "1") + command("RESET"),
    "quit": command("MULTI") + command("SET", "dirt", "1") + command("QUIT"),
    "asking": command("READONLY"),
    "monitor": command("MONITOR"),
}  # fmt: skip


class Vandal(threading.Thread):
    """Leaves a lane in a state, and goes: at once, after the replies, or by a reset."""

    def __init__(self, port: int, seed: int, end: float) -> None:
        super().__init__(daemon=True)
        self.port, self.source, self.end = port, random.Random(seed), end
        self.count = 0

    def run(self) -> None:
        while time.monotonic() < self.end:
            with link(self.port) as client:
                client.send(DIRTY[self.source.choice(sorted(DIRTY))])
                way = self.source.randrange(3)
                if way == 0:
                    client.read(9, 0.005)
                elif way == 1:
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1" + bytes(7))
            self.count += 1


class User(threading.Thread):
    """Takes lanes of its own for a moment; ``wrong`` is what no clean lane would have answered."""

    def __init__(self, port: int, number: int, end: float) -> None:
        super().__init__(daemon=True)
        self.port, self.number, self.end = port, number, end
        self.count = 0
        self.wrong: list[object] = []

    def run(self) -> None:
        with link(self.port) as client:
            while time.monotonic() < self.end and not self.wrong:
                self._transaction(client)
                self._block(client)
                self.count += 1

    def _transaction(self, client: Link) -> None:
        name, value = f"user {self.number}", str(self.count).encode()
        client.send(
            command("MULTI")
            + command("SET", name, value)
            + command("GET", name)
            + command("CLIENT", "TRACKINGINFO")
            + command("EXEC")
            + command("GET", name)
        )
        replies = client.read(6)
        plain = b"*6\r\n" + bulk(b"flags") + b"*1\r\n" + bulk(b"off")
        expected = [
            b"+OK\r\n",
            *[b"+QUEUED\r\n"] * 3,
            b"*3\r\n+OK\r\n" + bulk(value) + plain,
            bulk(value),
        ]
        right = len(replies) == 6 and all(map(bytes.startswith, replies, expected))
        if not right:
            self.wrong.append(replies)

    def _block(self, client: Link) -> None:
        name, value = f"list {self.number}", str(self.count)
        client.send(command("RPUSH", name, value) + command("BLPOP", name, "1"))
        replies = client.read(2)
        if replies != [b":1\r\n", b"*2\r\n" + bulk(name.encode()) + bulk(value.encode())]:
            self.wrong.append(replies)


def test_lanes_of_clients_that_vanished_in_any_state_are_never_lent_dirty(pair: Pair) -> None:
    server, proxy = pair
    end = time.monotonic() + 3
    vandals = [Vandal(proxy.port, seed, end) for seed in range(4)]
    users = [User(proxy.port, number, end) for number in range(3)]
    for thread in (*vandals, *users):
        thread.start()
    for thread in (*vandals, *users):
        thread.join(15)

    assert [user.wrong for user in users] == [[]] * 3
    assert min(user.count for user in users) > 20
    assert sum(vandal.count for vandal in vandals) > 100
    with link(server.port) as direct:
        assert direct.ask("EXISTS", "dirt") == b":0\r\n"
        direct.ask("SELECT", "5")
        assert direct.ask("DBSIZE") == b":0\r\n", "somebody's command ran in another's database"
        wait_for(
            lambda: b"blocked_clients:0" in direct.ask("INFO", "clients"), 3, "no blocked lane"
        )
    assert b"task failed" not in proxy.log.read_bytes()
    assert b"Traceback" not in proxy.log.read_bytes()
