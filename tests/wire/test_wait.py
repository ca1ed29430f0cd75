"""WAIT and WAITAOF before one server: only who has heard is counted, though the proxy's connection
that asks is another than the one that wrote. A replica that is stopped has heard of nothing."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import HOST, Kind, Process, nearhit, server_binary, upstream, wait_for

from .link import Link, command


@dataclass(frozen=True, slots=True)
class Pair:
    """A server, its one replica, and a proxy before the server."""

    kind: Kind
    server: Process
    replica: Process
    proxy: Process

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        stat = Path(f"/proc/{self.replica.pid}/stat")
        self.replica.signal(signal.SIGSTOP)
        try:
            wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", 5, "its stop")
            yield
        finally:
            self.replica.signal(signal.SIGCONT)


@pytest.fixture(scope="module", params=["redis", "valkey"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if server_binary(request.param) is None:
        pytest.skip(f"no {request.param} server binary on this machine")
    aof = ("--appendonly", "yes", "--repl-diskless-sync-delay", "0")
    with (
        upstream(request.param, *aof) as server,
        upstream(request.param, *aof, "--replicaof", f"{HOST} {server.port}") as replica,
        nearhit(f"redis://{HOST}:{server.port}") as proxy,
    ):
        direct = Link(server.port)
        wait_for(lambda: b"state=online" in direct.ask("INFO", "replication"), 15, "the replica")
        direct.close()
        yield Pair(request.param, server, replica, proxy)


@pytest.fixture
def link(pair: Pair, resp: int) -> Iterator[Link]:
    link = Link(pair.proxy.port)
    link.ask("HELLO", resp)
    yield link
    link.close()


def test_a_replica_that_has_heard_is_counted_soon(pair: Pair, link: Link) -> None:
    for number in range(20):
        link.send(command("SET", "k", number) + command("WAIT", 1, 5000))
        assert link.read(2) == [b"+OK\r\n", b":1\r\n"]


def test_one_that_is_stopped_is_not(pair: Pair, link: Link) -> None:
    with pair.stopped():
        link.send(command("SET", "k", "v") + command("WAIT", 1, 100) + command("GET", "k"))
        assert link.read(3) == [b"+OK\r\n", b":0\r\n", b"$1\r\nv\r\n"]
        assert link.ask("WAIT", 0, 0) == b":0\r\n"
        began = time.monotonic()
        link.ask("WATCH", "k")  # a connection of its own, which has written nothing
        assert link.ask("WAIT", 1, 100) == b":0\r\n"
        assert time.monotonic() - began >= 0.099  # the loop's clock is in milliseconds
        link.send(command("SET", "k", "w") + command("WAIT", 1, 0))
        assert link.read(1) == [b"+OK\r\n"]
    assert link.read(1) == [b":1\r\n"]  # for ever was until it went on


def test_nor_in_a_transaction(pair: Pair, link: Link) -> None:
    with pair.stopped():
        link.ask("SET", "k", "v")
        link.ask("MULTI")
        assert link.ask("WAIT", 1, 0) == b"+QUEUED\r\n"
        assert link.ask("EXEC") == b"*1\r\n:0\r\n"


def test_client_unblock_ends_it(pair: Pair, link: Link) -> None:
    other = Link(pair.proxy.port)
    number = link.ask("CLIENT", "ID")[1:-2]
    unblocked = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"
    for how, told in ((b"TIMEOUT", b":1\r\n"), (b"ERROR", unblocked)):
        link.send(command("WAIT", 5, 0))
        wait_for(lambda: b" flags=b " in other.ask("CLIENT", "LIST", "ID", number), 5, "its wait")

        def ended(how: bytes = how) -> bool:
            """It is blocked for most of the time, and not between two looks at the replicas."""
            other.ask("CLIENT", "UNBLOCK", number, how)
            return b" flags=N " in other.ask("CLIENT", "LIST", "ID", number)

        wait_for(ended, 5, "its end")
        assert link.read(1) == [told]
    other.close()


def test_users_without_role_may_wait(pair: Pair, resp: int) -> None:
    direct, link = Link(pair.server.port), Link(pair.proxy.port)
    direct.ask("ACL", "SETUSER", "narrow", "on", ">pw", "~*", "+set", "+wait", "+hello", "+auth")
    link.ask("HELLO", resp, "AUTH", "narrow", "pw")

    with pair.stopped():
        link.ask("SET", "k", "v")
        assert link.ask("WAIT", 1, 50) == b":0\r\n"
    assert link.ask("WAIT", 1, 5000) == b":1\r\n"
    assert b"role" not in direct.ask("ACL", "LOG").lower()
    direct.ask("ACL", "SETUSER", "narrow", "-wait")
    assert link.ask("WAIT", 0, 0).startswith(b"-NOPERM")
    for each in (direct, link):
        each.close()


def test_waitaof_counts_disks_behind_what_was_written(pair: Pair, link: Link) -> None:
    if pair.kind == "redis":
        assert link.ask("WAITAOF", 0, 1, 0).startswith(b"-ERR unknown command 'WAITAOF'")
        return
    with pair.stopped():
        link.ask("SET", "k", "v")
        assert link.ask("WAITAOF", 1, 1, 100)[-6:] == b"\r\n:0\r\n"
    assert link.ask("WAITAOF", 1, 1, 10_000) == b"*2\r\n:1\r\n:1\r\n"
