"""WAIT in a cluster: of every shard only replicas that have heard are counted."""

from __future__ import annotations

import pytest

from tests.clusters import Cluster, key_in
from tests.servers import nearhit, wait_for
from tests.wire.link import Link, command

KEYS = [key_in(slot) for slot in (100, 6000, 12000)]  # one of each primary


@pytest.mark.parametrize("resp", [2, 3])
def test_who_is_stopped_has_not_heard(cluster: Cluster, resp: int) -> None:
    with nearhit(cluster.url) as proxy:
        link = Link(proxy.port)
        wait_for(lambda: link.ask("GET", "x") == b"$-1\r\n", 5, "the proxy knows the cluster")
        link.ask("HELLO", resp)
        sets = [command("SET", key, "v") for key in KEYS]
        wait_for(lambda: link.ask("WAIT", 1, 100) == b":1\r\n", 10, "the replicas")
        for _ in range(5):
            link.send(b"".join(sets) + command("WAIT", 1, 5000))
            assert link.read(4) == [b"+OK\r\n"] * 3 + [b":1\r\n"]

        replica = cluster.nodes[4]  # of the second shard
        replica.freeze()
        try:
            link.send(sets[1] + command("WAIT", 1, 100) + command("GET", KEYS[1]))
            assert link.read(3) == [b"+OK\r\n", b":0\r\n", b"$1\r\nv\r\n"]
            assert link.ask("WAIT", 0, 0) == b":0\r\n"
            link.send(sets[1] + command("WAIT", 1, 0))
            assert link.read(1) == [b"+OK\r\n"]
        finally:
            replica.thaw()
        assert link.read(1) == [b":1\r\n"]
        assert link.ask("WAITAOF", 0, 1, 100).startswith(b"-ERR WAITAOF is not possible in cluster")
        link.ask("MULTI")
        assert link.ask("WAIT", 1, 0).startswith(b"-ERR 'WAIT' is not possible inside MULTI")
        assert link.ask("DISCARD") == b"+OK\r\n"
        link.close()


def test_a_primary_that_is_one_no_more_counts_nobody(cluster: Cluster) -> None:
    with nearhit(cluster.url) as proxy:
        link = Link(proxy.port)
        wait_for(lambda: link.ask("GET", "x") == b"$-1\r\n", 5, "the proxy knows the cluster")
        link.send(command("WAIT", 2, 0))
        cluster.nodes[3].ask("CLUSTER", "FAILOVER")

        assert link.read(1, 10)[0].startswith((b"-UNBLOCKED", b"-UPSTREAM"))
        link.close()
