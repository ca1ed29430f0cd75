"""LOCK ACQUIRE REPLICAS with a real replica: granted where it has heard of the lock, else nil."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from tests.servers import HOST, Process, nearhit, upstream, wait_for
from tests.wire.link import Link

from .conftest import KINDS

NIL = {2: b"$-1\r\n", 3: b"_\r\n"}


@dataclass
class Pair:
    """A server, its replica, and a proxy before the server."""

    replica: Process
    link: Link
    direct: Redis


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with (
        upstream(request.param, "--repl-diskless-sync-delay", "0") as server,
        upstream(request.param, "--replicaof", f"{HOST} {server.port}") as replica,
        Redis(host=HOST, port=server.port) as direct,
        nearhit(f"redis://{HOST}:{server.port}") as proxy,
    ):
        linked = lambda: direct.info("replication").get("slave0", {}).get("state") == "online"  # noqa: E731
        wait_for(linked, 15, "the replica")
        yield Pair(replica, Link(proxy.port), direct)


def test_a_lock_is_granted_that_the_replica_has(pair: Pair, resp: int) -> None:
    pair.link.ask("HELLO", str(resp))

    granted = pair.link.ask("LOCK", "ACQUIRE", f"r{resp}", "REPLICAS", "1", "FENCE")

    assert granted.startswith(b"*3\r\n$32\r\n"), granted
    with Redis(host=HOST, port=pair.replica.port) as replica:
        assert replica.exists(f"lock:{{r{resp}}}")


@pytest.mark.parametrize("words", [(), ("TOKEN", "t"), ("RENEW",)], ids=["plain", "named", "renew"])
def test_it_is_nil_and_given_back_where_too_few_have_it(
    pair: Pair, resp: int, words: tuple[str, ...]
) -> None:
    pair.link.ask("HELLO", resp)
    began = time.monotonic()

    told = pair.link.ask("LOCK", "ACQUIRE", "few", "PX", "600", "REPLICAS", "2", *words)

    assert told == NIL[resp]

    assert time.monotonic() - began >= 0.2, "a third of its time"
    assert not pair.direct.exists("lock:{few}")
    assert pair.link.ask("LOCK", "ACQUIRE", "few", "TOKEN", "t") == b"$1\r\nt\r\n"
    pair.link.ask("LOCK", "RELEASE", "few", "t")


def test_a_replica_that_hangs_has_heard_of_nothing(pair: Pair, resp: int) -> None:
    pair.link.ask("HELLO", resp)
    pair.replica.signal(signal.SIGSTOP)
    try:
        wait_for(lambda: _state(pair.replica.pid) == "T", 5, "its stop")
        told = pair.link.ask("LOCK", "ACQUIRE", "hangs", "PX", "600", "REPLICAS", "1")
    finally:
        pair.replica.signal(signal.SIGCONT)

    assert told == NIL[resp]
    assert not pair.direct.exists("lock:{hangs}")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_client_that_leaves_meanwhile_holds_nothing(pair: Pair) -> None:
    pair.link.ask("HELLO", "2")
    before = pair.direct.info("clients")["blocked_clients"]
    with Redis(host=HOST, port=int(pair.link.socket.getpeername()[1])) as leaving:
        leaving.connection_pool.get_connection().send_command(
            "LOCK", "ACQUIRE", "left", "PX", 60_000, "REPLICAS", 5
        )
        wait_for(
            lambda: pair.direct.info("clients")["blocked_clients"] > before, 5, "WAIT at the server"
        )
        assert pair.direct.exists("lock:{left}")
        leaving.connection_pool.disconnect()
        wait_for(lambda: not pair.direct.exists("lock:{left}"), 5, "its end")
