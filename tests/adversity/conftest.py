"""A real server, and the proxy in front of it, straight or through the fault relay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.servers import HOST, Kind, Process, nearhit, server_binary, upstream

from .fault import Fault, fault

KIND: Kind = "redis" if server_binary("redis") else "valkey"


class Pair(NamedTuple):
    server: Process
    proxy: Process


class Relayed(NamedTuple):
    server: Process
    relay: Fault
    proxy: Process


def url(port: int) -> str:
    return f"redis://{HOST}:{port}"


@pytest.fixture
def server() -> Iterator[Process]:
    """A server that the test may kill."""
    with upstream(KIND) as process:
        yield process


@pytest.fixture
def pair(server: Process) -> Iterator[Pair]:
    """A server and a proxy that the test may do anything to."""
    with nearhit(url(server.port)) as proxy:
        yield Pair(server, proxy)


@pytest.fixture
def relayed(server: Process) -> Iterator[Relayed]:
    """The same with the fault relay between them."""
    with fault(server.port) as relay, nearhit(url(relay.port)) as proxy:
        yield Relayed(server, relay, proxy)


@pytest.fixture(scope="module")
def steady() -> Iterator[Pair]:
    """A server and a proxy for tests that leave both as they found them."""
    with upstream(KIND) as process, nearhit(url(process.port)) as proxy:
        yield Pair(process, proxy)
