"""Jobs on a cluster: keys of all slots are filled and removed behind their requests."""

from __future__ import annotations

from typing import Any

from redis import Redis

from tests.clusters import Cluster
from tests.servers import HOST, nearhit

from ..commands.behind import ended


def test_keys_of_all_nodes_are_filled_and_removed_behind(cluster: Cluster) -> None:
    pairs = {f"page:{number}": "v" for number in range(300)}
    with (
        nearhit(cluster.url, "--stats-key", "off") as proxy,
        Redis(HOST, proxy.port, protocol=3) as client,
    ):
        words = [word for pair in pairs.items() for word in pair]
        id: Any = client.execute_command("WARM", "ASYNC", "VALUES", *words)
        assert ended(client, "WARM", id)[b"loaded"] == 300
        assert client.mget(*pairs) == [b"v"] * 300
        for number in range(3):
            client.execute_command("GETORSET", f"team:{number}", "v", "TAG", "team")

        id = client.execute_command("INVALIDATE", "ASYNC", "PATTERN", "page:*")
        assert ended(client, "INVALIDATE", id)[b"removed"] == 300
        assert client.mget(*pairs) == [None] * 300
        id = client.execute_command("INVALIDATE", "ASYNC", "TAG", "team")
        assert ended(client, "INVALIDATE", id)[b"removed"] == 3
    left = [key for node in cluster.nodes for key in node.ask("KEYS", "*")]
    assert {*left} <= {b"tagepoch:{team}"}
