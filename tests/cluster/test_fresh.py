"""Grace on a cluster: what is stale is handed out and loaded behind, wherever its slot is."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.clusters import Cluster
from tests.servers import nearhit, wait_for
from tests.wire.link import Link

LOADER = """
[loaders.made]
match = "made:{id}"
demo = true
ttl = "60s"
grace = "10m"
read_through = true
"""
GRACE_MS = 600_000


@pytest.mark.parametrize("resp", [2, 3])
def test_what_is_stale_is_handed_out_and_loaded_behind(
    cluster: Cluster, tmp_path: Path, resp: int
) -> None:
    path = tmp_path / "nearhit.toml"
    path.write_text(LOADER)
    keys = [f"made:{resp}{at}" for at in range(20)]
    with (
        nearhit(cluster.url, "--config", str(path)) as proxy,
        closing(Link(proxy.port)) as link,
    ):
        link.ask("HELLO", str(resp))
        texts = [f"demo value of {key}" for key in keys]
        values = [f"${len(text)}\r\n{text}\r\n".encode() for text in texts]
        whole = b"*20\r\n" + b"".join(values)
        assert link.ask("MGETORSET", "20", *keys) == whole

        def lasts() -> list[int]:
            return [int(link.ask("PTTL", key)[1:]) for key in keys]

        assert min(lasts()) > GRACE_MS
        for read in (("MGETORSET", "20", *keys), ("MGET", *keys), ("GETORSET",), ("GET",)):
            for key in keys:
                link.ask("PEXPIRE", key, "300000")
            if len(read) > 1:
                assert link.ask(*read) == whole
            else:
                assert [link.ask(*read, key) for key in keys] == values
            wait_for(lambda: min(lasts()) > GRACE_MS, 10, "20 loads behind")
