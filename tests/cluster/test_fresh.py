"""Grace on a cluster: what is stale is handed out and loaded behind, wherever its slot is."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.clusters import Cluster
from tests.servers import nearhit, wait_for
from tests.wire.link import Link

from ..stampede.fresh import SETTINGS, longest, overlapping, prepare, read_past_a_kill
from ..stampede.scene import Scene

LOADER = """
[loaders.made]
match = "made:{id}"
demo = true
ttl = "60s"
grace = "10m"
read_through = true
"""
GRACE_MS = 600_000
LEASE_S = 1.2  # a dead proxy's, behind which nobody waits


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


@pytest.mark.waits
async def test_within_grace_nobody_misses_the_proxy_that_was_killed_as_it_loaded(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Of two, each with readers of both protocols."""
    here, time = Scene(tmp_path, cluster.nodes[1]), f"{LEASE_S * 1000:.0f}ms"
    prepare(here.folder)
    with (tmp_path / "nearhit.toml").open("a") as file:
        file.write(
            SETTINGS.format(name="far", function="calm", ttl="150ms", timeout=time, backoff="1s")
        )
    with ExitStack() as stack:
        for _ in range(2):
            here.proxy(stack)
        seen, after = await read_past_a_kill(here, "far:kill", LEASE_S + 1.8)

    assert seen.errors == []
    assert seen.lost == 20
    assert longest(seen) < 1000 * (LEASE_S - 0.2), "somebody waited for the dead one"
    # Waited for, loads of 300 ms would delay each third read.
    assert longest(seen, 0.9) < 225
    assert after  # the other loads, when the lease of the dead one is over
    assert overlapping(after) == 0
