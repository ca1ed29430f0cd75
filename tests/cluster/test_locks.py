"""Locks that are kept for a client, in a cluster."""

from __future__ import annotations

import pytest

from tests.clusters import Cluster
from tests.servers import nearhit, wait_for
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
