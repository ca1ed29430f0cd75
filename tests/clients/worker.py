"""Child processes of the client tests: workers that run until stopped, scripts that print JSON.

Every wait has a deadline, and a process that fails shows its output."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STOP = 10.0  # seconds a worker has to end after SIGTERM


@contextlib.contextmanager
def worker(
    argv: Sequence[str], log: Path, cwd: Path = ROOT, **env: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a worker during the block; ended by SIGTERM, and its output is part of any failure."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield child
    except BaseException as error:
        error.add_note(f"{argv}\n{log.read_text()}")
        raise
    finally:
        child.terminate()
        try:
            child.wait(STOP)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise AssertionError(f"{argv} did not end\n{log.read_text()}") from None


def outcome(argv: Sequence[str], cwd: Path, seconds: float, **env: str) -> dict[str, Any]:
    """Runs a script to its end and returns the JSON of its last line of output."""
    run = subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert run.returncode == 0, f"{argv}\n{run.stdout}\n{run.stderr}"
    parsed: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return parsed
