"""What is of all nodes of a cluster at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clusters import Cluster
from tests.servers import Process, nearhit, wait_for
from tests.wire.link import Link, command

pytestmark = pytest.mark.waits
KEYS = [b"user:%d" % number for number in range(300)]


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Process]:
    with nearhit(cluster.url, "--near-cache", "8mb") as process:
        yield process


@pytest.fixture
def client(proxy: Process) -> Iterator[Link]:
    link = Link(proxy.port)
    wait_for(lambda: link.ask("GET", "x") == b"$-1\r\n", 5, "the proxy knows the cluster")
    yield link
    link.close()


def ask_all(link: Link, *requests: bytes) -> list[bytes]:
    link.send(b"".join(requests))
    return link.read(len(requests), 10)


def test_a_pattern_removes_the_keys_of_all_nodes(cluster: Cluster, client: Link) -> None:
    """Values that stand near, and leases, too."""
    ask_all(client, *(command("SET", key, "v") for key in KEYS), command("SET", "order:1", "v"))
    reads = [command("GET", key) for key in KEYS]
    for _ in range(3):
        ask_all(client, *reads)
    lease = client.ask("LEASE", "GET", "user:new", "PX", "60000")
    assert lease.startswith(b"*2\r\n$-1\r\n$"), "it is ours to fill"

    assert client.ask("INVALIDATE", "PATTERN", "user:*", seconds=10) == b":300\r\n"

    assert set(ask_all(client, *reads)) == {b"$-1\r\n"}
    assert [client.ask("EXISTS", key) for key in ("order:1", "lease:{user:new}")] == [
        b":1\r\n",
        b":0\r\n",
    ]
