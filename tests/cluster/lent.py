"""What tests of connections that are lent to one client see of them in a cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.clusters import Cluster
from tests.servers import HOST, Process
from tests.wire.link import Link

SLOT, OTHER = 100, 9000


@pytest.fixture
def client(proxy: Process) -> Iterator[Any]:
    made: Any = redis.Redis(port=proxy.port, host=HOST, socket_timeout=20)
    yield made
    made.close()


@pytest.fixture
def link(proxy: Process) -> Iterator[Link]:
    made = Link(proxy.port)
    yield made
    made.close()


def blocked(cluster: Cluster) -> int:
    total = 0
    for member in cluster.nodes:
        info: Any = member.ask("INFO", "clients")
        total += int(info.partition(b"blocked_clients:")[2].split(b"\r\n")[0])
    return total


def pops(client: Any, *args: Any) -> tuple[threading.Thread, list[Any]]:
    got: list[Any] = []

    def run() -> None:
        got.append(client.blpop(*args))

    thread = threading.Thread(target=run)
    thread.start()
    return thread, got


def heard(pubsub: Any, count: int, seconds: float = 5.0) -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    end = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < end:
        message = pubsub.get_message(timeout=0.1)
        if message is not None:
            found.append((message["type"], message["channel"], message["data"]))
    return found
