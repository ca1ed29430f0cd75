"""``nearhit top`` before Sentinels: one frame has the master that they name."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.sentinel.trio import Trio
from tests.servers import HOST, Process

pytest.importorskip("rich", reason="the extra cli is not installed")


@pytest.mark.parametrize("whole", ["valkey"], indirect=True)
def test_one_frame_has_the_master_and_how_many_sentinels_are_heard(
    three: Trio, proxy: Process
) -> None:
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
    assert "Sentinel" in done.stdout
    assert re.search(rf" at\s+up .*\n{HOST}:{three.master.port} ", done.stdout)
