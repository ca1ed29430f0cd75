"""Locks that are kept for a client, and those that replicas have, in a cluster."""

from __future__ import annotations

import pytest

from tests.clusters import Cluster
from tests.servers import HOST, any_kind, nearhit, upstream, wait_for
from tests.wire.link import Link


@pytest.mark.parametrize("resp", [2, 3])
def test_a_lock_is_kept_freed_as_its_client_goes_and_told_when_it_is_lost(
    cluster: Cluster, resp: int
) -> None:
    with nearhit(cluster.url) as proxy:
        other, link = Link(proxy.port), Link(proxy.port)
        wait_for(lambda: other.ask("GET", "x") == b"$-1\r\n", 5, "the proxy knows the cluster")
        link.ask("HELLO", str(resp))
        link.ask("LOCK", "ACQUIRE", "kept", "PX", "600", "RENEW")
        link.ask("LOCK", "ACQUIRE", "lost", "PX", "600", "RENEW")
        other.ask("DEL", "lock:{lost}")

        if resp == 3:
            (push,) = link.read(1, 10)
            assert push.startswith(b">3\r\n$9\r\nlock-lost\r\n$4\r\nlost\r\n:")
        else:
            lost = b"locks_lost:0\r\n"
            wait_for(lambda: lost not in other.ask("INFO", "nearhit"), 10, "the loss")
            assert link.ask("LOCK", "HELP").startswith(b"-LOCKLOST the lock 'lost' is not yours")
        wait_for(lambda: renewals(other) >= 4, 10, "more than its time in renewals")
        assert other.ask("EXISTS", "lock:{kept}") == b":1\r\n"
        link.close()
        wait_for(lambda: other.ask("EXISTS", "lock:{kept}") == b":0\r\n", 5, "its end")
        other.close()


def renewals(link: Link) -> int:
    told = link.ask("INFO", "nearhit")
    return int(told.partition(b"locks_renewed:")[2].split(b"\r\n")[0])


@pytest.mark.parametrize("resp", [2, 3])
def test_in_a_cluster_the_replicas_are_those_of_the_lock_s_shard(
    cluster: Cluster, resp: int
) -> None:
    with nearhit(cluster.url) as proxy:
        link = Link(proxy.port)
        wait_for(lambda: link.ask("GET", "x") == b"$-1\r\n", 5, "the proxy knows the cluster")
        link.ask("HELLO", str(resp))

        for name in ("a", "b", "c", "d"):
            granted = link.ask("LOCK", "ACQUIRE", name, "REPLICAS", "1")
            assert granted.startswith(b"$32\r\n"), granted
        too_many = link.ask("LOCK", "ACQUIRE", "e", "PX", "300", "REPLICAS", "2")

        assert too_many == (b"$-1\r\n" if resp == 2 else b"_\r\n")
        assert link.ask("EXISTS", "lock:{e}") == b":0\r\n"
        link.close()


@pytest.mark.parametrize("resp", [2, 3])
def test_locks_in_front_of_a_cluster_may_be_a_vote_of_lock_servers(
    cluster: Cluster, resp: int
) -> None:
    kind = any_kind()
    with upstream(kind) as a, upstream(kind) as b, upstream(kind) as c:
        servers = ",".join(f"redis://{HOST}:{server.port}" for server in (a, b, c))
        with nearhit(cluster.url, "--lock-servers", servers) as proxy:
            link = Link(proxy.port)
            link.ask("HELLO", str(resp))
            c.kill()

            granted = link.ask("LOCK", "ACQUIRE", "r", "FENCE")

            assert granted.startswith(b"*3\r\n$32\r\n"), granted
            assert link.ask("EXISTS", "lock:{r}") == b":0\r\n"
            token = granted.partition(b"$32\r\n")[2][:32]
            assert b"$1\r\nr\r\n:" in link.ask("LOCK", "LIST", "*")
            assert link.ask("LOCK", "RELEASE", "r", token) == b":1\r\n"
            link.close()
