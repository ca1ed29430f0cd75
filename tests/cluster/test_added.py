"""A node that joins while something is of all nodes, and takes slots of the others."""

from __future__ import annotations

from typing import Any

import pytest
from nearhit.proxy.resp.replies import parsed

from tests import clusters
from tests.clusters import Cluster, Member, slot_of
from tests.servers import Kind, nearhit, wait_for
from tests.wire.link import Link, command

pytestmark = pytest.mark.waits
KEYS = [b"key:%d" % number for number in range(300)]


def take(cluster: Cluster, member: Member, keys: list[bytes]) -> None:
    """The slots of these keys go there; of who else hears of that nobody waits."""
    for slot in sorted({slot_of(key) for key in keys}):
        cluster.move(slot, member).begin().keys().finish(known=False)


def ask_all(link: Link, *requests: bytes) -> list[bytes]:
    link.send(b"".join(requests))
    return link.read(len(requests), 10)


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_a_node_that_joins_is_scanned_swept_and_knows_our_scripts(kind: Kind) -> None:
    with (
        clusters.cluster(kind, 2, 0) as cluster,
        nearhit(cluster.url, "--near-cache", "8mb") as proxy,
    ):
        link = Link(proxy.port)
        wait_for(lambda: link.ask("GET", "x") == b"$-1\r\n", 5, "the proxy knows the cluster")
        sha = parsed(link.ask("SCRIPT", "LOAD", "return redis.call('STRLEN', KEYS[1])"))
        assert isinstance(sha, bytes)
        ask_all(link, *(command("SET", key, "v") for key in KEYS))
        reads = [command("GET", key) for key in KEYS]
        for _ in range(3):
            ask_all(link, *reads)

        found, cursor, pages = set[bytes](), b"", 0
        while cursor != b"0":
            if pages == 3:
                added = cluster.add()
                take(cluster, added, KEYS[:6])
            page: Any = parsed(link.ask("SCAN", cursor or b"0", "COUNT", 50))
            cursor, pages = page[0], pages + 1
            found |= set(page[1])
        assert found == set(KEYS)
        assert pages > 4

        calls = [command("EVALSHA", sha, 1, key) for key in KEYS[:6]]
        assert ask_all(link, *calls) == [b":1\r\n"] * 6

        link.send(command("INVALIDATE", "PATTERN", "key:*"))
        take(cluster, added, KEYS[6:18])
        assert link.read(1, 20)[0].startswith(b":")
        assert set(ask_all(link, *reads)) == {b"$-1\r\n"}
        assert [node.ask("KEYS", "key:*") for node in cluster.nodes] == [[]] * 3
        link.close()
