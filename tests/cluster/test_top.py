"""``nearhit top`` before a cluster: one frame has all nodes."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.clusters import Cluster
from tests.servers import HOST, nearhit

pytest.importorskip("rich", reason="the extra cli is not installed")


@pytest.mark.parametrize("engine", ["valkey"], indirect=True)
def test_one_frame_has_all_nodes_with_their_slots(cluster: Cluster) -> None:
    with nearhit(cluster.url) as proxy:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "nearhit.proxy", "top", f"redis://{HOST}:{proxy.port}"),
                *("--once", "--interval", "100ms"),
            ],
            capture_output=True,
            text=True,
            timeout=30,
        )

    assert (done.returncode, done.stderr) == (0, "")
    nodes = re.findall(rf"^{HOST}:\d+ (primary|replica) +(\S.*?)  +(\S+) ", done.stdout, re.M)
    primaries = [row for row in nodes if row[0] == "primary"]
    assert len(nodes) == len(cluster.nodes)
    assert {state for _, state, _ in primaries} <= {"up", "unused"}
    assert sum(int(slots.replace(",", "")) for _, _, slots in primaries) == 16384
