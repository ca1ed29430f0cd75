"""A private folder goes with its process, however that ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from nearhit.proxy.process import sweeper
from nearhit.proxy.process.sweeper import swept

from tests.servers import wait_for

HOLDER = """
import sys
from pathlib import Path
from nearhit.proxy.process.sweeper import swept
with swept(Path(sys.argv[1])):
    sys.stdout.write("swept\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_a_process_that_is_killed_leaves_no_folder(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "-rf it's $HOME"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "file").touch()
    (tmp_path / "other").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "swept\n"
        assert folder.exists()

        process.send_signal(number)
        process.wait()

    wait_for(lambda: not folder.exists())
    assert (tmp_path / "other").exists()


def test_it_is_removed_at_the_end_of_the_block_too(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()

    with swept(folder):
        assert folder.exists()

    wait_for(lambda: not folder.exists())


def test_without_a_shell_nothing_is_swept_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(sweeper.subprocess, "run", run)

    with swept(tmp_path):
        pass

    assert tmp_path.exists()
