"""Workers: replaced when they die, ended with their parent, and heard when they cannot start."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import pytest
from nearhit.proxy.errors import ExitCode, StartError
from nearhit.proxy.process import workers
from nearhit.proxy.process.listen import Doors
from nearhit.proxy.settings.address import Listen, Tcp

from tests.servers import HOST, free_port, wait_for
from tests.unit.cli.test_main import COMMAND, Served, ask, ping, serving, started
from tests.unit.process.test_embedded import is_gone

# The parent as cli runs it, with work that a test makes up.
PARENT = """
import os, signal, sys, time
from pathlib import Path
from nearhit.proxy.process import workers
from nearhit.proxy import log
from nearhit.proxy.settings.address import Tcp, Unix
from nearhit.proxy.errors import StartError
from nearhit.proxy.process.listen import Doors

def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()

{work}
log.start("info")
with workers.Workers(2, Doors([Tcp("127.0.0.1", 0)]), work=work, drain_timeout=lambda: 0.0,
                     ready=lambda doors, version: say("ready", version, *doors.clients)) as parent:
    try:
        sys.exit(parent.run(None))
    except StartError as error:
        say(error)
        sys.exit(error.exit_code)
"""


@contextmanager
def parent_of(work: str) -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """The process, what it says and what it logs."""
    with started([sys.executable, "-c", PARENT.format(work=textwrap.dedent(work))]) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        yield parent, parent.stdout, parent.stderr


def workers_of(proxy: Served) -> set[int]:
    """Its children, without the embedded server, which is led by itself in a session."""
    return {pid for pid in proxy.children if os.getsid(pid) == os.getsid(proxy.pid)}


# --- The real ones


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGRTMIN + 3])
def test_signals_that_would_kill_it_are_logged_and_no_more(tmp_path: Path, number: int) -> None:
    port = free_port()
    with serving(tmp_path, "--listen", f"{HOST}:{port}", "--workers", "2") as proxy:
        for pid in (proxy.pid, *workers_of(proxy)):
            os.kill(pid, number)

        wait_for(lambda: proxy.log.read_text().count('event="signal ignored"') == 3)
        assert ping((HOST, port)) == b"+PONG\r\n"
        assert proxy.stop() == 0


def test_a_signal_ends_workers_at_once_that_wait_for_the_upstream(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as silent:
        url = f"redis://{HOST}:{silent.getsockname()[1]}"
        argv = [*COMMAND, "--listen", f"{HOST}:0", "--workers", "2", "--upstream", url]
        with started(argv, NEARHIT_ENV="production") as proxy:
            links = [silent.accept()[0] for _ in range(2)]
            began = time.monotonic()

            proxy.terminate()

            assert proxy.wait(10) == 0
            assert time.monotonic() - began < 2
            for link in links:
                link.close()


@pytest.mark.parametrize("signals", [1, 2])
def test_a_signal_ends_it_while_its_own_server_starts_for_workers(
    tmp_path: Path, signals: int
) -> None:
    slow = tmp_path / "valkey-server"
    slow.write_text('#!/bin/sh\n: > "$0.runs"\nsleep 60\n')
    slow.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    code = (
        "import sys, nearhit.proxy.process.embedded as embedded; "
        "embedded.find_spec = lambda name: None; "
        "from nearhit.proxy.cli.main import main; sys.exit(main())"
    )
    argv = [sys.executable, "-c", code, "--listen", f"{HOST}:0", "--workers", "2"]
    with started(argv, **environ) as proxy:
        wait_for(Path(f"{slow}.runs").exists)
        began = time.monotonic()

        for _ in range(signals):
            proxy.terminate()

        assert proxy.wait(10) == 0
        assert time.monotonic() - began < 3


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path, "--listen", f"{HOST}:{port}", "--workers", "2") as proxy:
        before = workers_of(proxy)
        assert len(before) == 2
        killed = min(before)

        os.kill(killed, signal.SIGKILL)

        wait_for(lambda: 'event="worker ready"' in proxy.log.read_text())
        after = workers_of(proxy)
        assert len(after) == 2
        assert after - before
        assert killed not in after
        assert re.search(r'event="worker lost" worker=0 ended=SIGKILL', proxy.log.read_text())
        assert {ping((HOST, port)) for _ in range(20)} == {b"+PONG\r\n"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_with_0(tmp_path: Path, number: signal.Signals) -> None:
    socket = tmp_path / "s"
    with serving(tmp_path, "--listen", f"{HOST}:0,unix://{socket}", "--workers", "3") as proxy:
        children = proxy.children
        assert len(children) == 4

        assert proxy.stop(number) == 0

        assert all(map(is_gone, children))
        assert [path.name for path in tmp_path.iterdir()] == ["log"]
        assert not re.search("worker (lost|killed)", proxy.log.read_text())


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_killed_it_leaves_neither_workers_nor_embedded_server(tmp_path: Path) -> None:
    with serving(tmp_path, "--listen", f"{HOST}:0", "--workers", "2") as proxy:
        children = proxy.children
        assert len(children) == 3

        proxy.process.kill()

        wait_for(lambda: all(map(is_gone, children)))
        wait_for(lambda: [path.name for path in tmp_path.iterdir()] == ["log"])


def test_an_embedded_server_that_dies_is_replaced_by_the_parent(tmp_path: Path) -> None:
    with serving(tmp_path, "--listen", f"{HOST}:0", "--workers", "2") as proxy:
        (embedded,) = set(proxy.children) - workers_of(proxy)

        os.kill(embedded, signal.SIGKILL)

        wait_for(lambda: 'event="embedded server restarted"' in proxy.log.read_text())
        (again,) = set(proxy.children) - workers_of(proxy)
        assert again != embedded


def test_metrics_are_those_of_all_workers_and_never_go_back(tmp_path: Path) -> None:
    port = free_port()
    http = free_port()
    flags = ("--listen", f"{HOST}:{port}", "--http", f"{HOST}:{http}", "--workers", "3")

    def hits() -> float:
        with urllib.request.urlopen(f"http://{HOST}:{http}/metrics") as answer:
            found = re.search(rb"^nearhit_hits_total (\S+)$", answer.read(), re.MULTILINE)
        assert found is not None
        return float(found[1])

    with serving(tmp_path, *flags) as proxy:
        ask((HOST, port), b"SET k v")
        for _ in range(20):
            ask((HOST, port), b"GET k")
        wait_for(lambda: hits() == 20)

        os.kill(min(workers_of(proxy)), signal.SIGKILL)
        wait_for(lambda: 'event="worker ready"' in proxy.log.read_text())

        assert {hits() for _ in range(12)} == {20}


def test_a_unix_socket_is_shared_and_outlives_a_worker(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving(tmp_path, "--listen", f"unix://{path}", "--workers", "2") as proxy:
        os.kill(min(workers_of(proxy)), signal.SIGTERM)

        wait_for(lambda: 'event="worker ready"' in proxy.log.read_text())
        assert {ping(str(path)) for _ in range(20)} == {b"+PONG\r\n"}


def test_ctrl_c_at_the_terminal_reaches_the_parent_alone(tmp_path: Path) -> None:
    with serving(tmp_path, "--listen", f"{HOST}:0", "--workers", "2") as proxy:
        groups = {os.getpgid(pid) for pid in proxy.children}

        assert os.getpgid(proxy.pid) not in groups


# --- Made-up ones


def test_the_ready_line_comes_once_all_are_ready() -> None:
    work = """
        def work(index, doors, ready):
            assert len(doors.clients) == 1
            ready(f"Valkey {index}")
            signal.pause()
    """
    with parent_of(work) as (parent, said, _):
        line = said.readline()
        parent.terminate()

        assert re.fullmatch(rf"ready Valkey [01] {HOST}:[1-9]\d*\n", line)
        assert said.read() == ""
        assert parent.wait(15) == 0


def test_a_worker_that_cannot_start_ends_all_with_its_reason_and_exit_code() -> None:
    work = """
        def work(index, doors, ready):
            if index == 1:
                raise StartError("the upstream said\\n\\tno", 4)
            ready("x")
            signal.pause()
    """
    with parent_of(work) as (parent, said, _):
        assert said.read() == "the upstream said no\n"
        assert parent.wait(15) == 4


def test_a_worker_that_crashes_at_the_start_ends_all() -> None:
    work = """
        def work(index, doors, ready):
            1 / 0
    """
    with parent_of(work) as (parent, said, logged):
        assert re.fullmatch(r"worker [01] ended: exit status 1\n", said.read())
        assert parent.wait(15) == 1
        assert "ZeroDivisionError" in logged.read()


def test_a_worker_that_keeps_dying_is_restarted_later_each_time(tmp_path: Path) -> None:
    go = tmp_path / "go"
    work = f"""
        def work(index, doors, ready):
            ready("x")
            while index == 1 or not Path({str(go)!r}).exists():
                time.sleep(0.001)
            say(time.monotonic())
            return 3
    """
    with parent_of(work) as (parent, said, logged):
        assert said.readline().startswith("ready")
        go.touch()
        times = [float(said.readline()) for _ in range(5)]
        parent.terminate()

        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert all(gap >= 0.05 * attempt for attempt, gap in enumerate(gaps, 1))
        assert 'event="worker lost" worker=0 ended="exit status 3"' in logged.read()
        assert parent.wait(15) == 0


def test_a_worker_that_later_fails_to_start_tells_why_in_the_log(tmp_path: Path) -> None:
    work = f"""
        def work(index, doors, ready):
            if Path({str(tmp_path / "later")!r}).exists():
                raise StartError("refused now", 4)
            ready("x")
            signal.pause()
    """
    with parent_of(work) as (parent, said, logged):
        assert said.readline().startswith("ready")
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()

        (tmp_path / "later").touch()
        os.kill(int(children[0]), signal.SIGKILL)

        lost = 'event="worker lost" worker=0 ended='
        assert f"{lost}SIGKILL" in logged.readline()
        assert f'{lost}"exit status 4" error="refused now"' in logged.readline()
        parent.terminate()
        assert parent.wait(15) == 0


@pytest.mark.parametrize(("grace", "signals"), [(0.1, 1), (3600.0, 2)])
def test_a_worker_that_does_not_end_is_killed(grace: float, signals: int) -> None:
    work = f"""
        workers._GRACE = {grace}
        def work(index, doors, ready):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            ready("x")
            while True:
                signal.pause()
    """
    with parent_of(work) as (parent, said, logged):
        assert said.readline().startswith("ready")

        parent.terminate()
        assert 'event="stopping workers" signal=SIGTERM' in logged.readline()
        if signals == 2:
            parent.send_signal(signal.SIGINT)

        assert logged.read().count('event="worker killed"') == 2
        assert parent.wait(15) == 0


def test_a_worker_keeps_nothing_of_its_parents_signals() -> None:
    work = """
        def work(index, doors, ready):
            numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
            assert {signal.getsignal(number) for number in numbers} == {signal.SIG_DFL}
            assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
            assert signal.set_wakeup_fd(-1) == -1
            ready("x")
            signal.pause()
    """
    with parent_of(work) as (parent, said, _):
        assert said.readline().startswith("ready")
        parent.terminate()
        assert parent.wait(15) == 0


def test_a_worker_that_gets_ready_while_all_are_stopped_changes_nothing() -> None:
    work = """
        workers._GRACE = 0.2
        def work(index, doors, ready):
            signal.signal(signal.SIGTERM, lambda *_: index and ready("too late"))
            if index == 0:
                ready("in time")
            say("waits")
            while True:
                signal.pause()
    """
    with parent_of(work) as (parent, said, _):
        assert [said.readline(), said.readline()] == ["waits\n", "waits\n"]

        parent.terminate()

        assert parent.wait(15) == 0
        assert said.read() == ""


def test_a_worker_that_is_stopped_with_its_parent_is_not_lost() -> None:
    work = """
        def work(index, doors, ready):
            say(os.getpid())
            signal.pause()
    """
    with parent_of(work) as (parent, said, _):
        workers = [int(said.readline()) for _ in range(2)]

        parent.send_signal(signal.SIGSTOP)  # so that it hears of both at once
        os.kill(workers[0], signal.SIGTERM)
        wait_for(lambda: is_gone(workers[0]))
        parent.terminate()
        parent.send_signal(signal.SIGCONT)

        assert parent.wait(15) == 0
        assert said.read() == ""


# --- The parent's decisions, in this process


class Children:
    """Stands in for fork: each child is a process that waits for its end, started beforehand, and
    reports what the script says."""

    def __init__(self, *reports: str) -> None:
        self.parent: workers.Workers | None = None
        self.forked = 0
        self.processes = [
            subprocess.Popen(["sh", "-c", "read word; exit 7"], stdin=subprocess.PIPE)
            for _ in reports
        ]
        self._reports = reports

    def fork(self) -> int:
        assert self.parent is not None
        number = self.forked
        self.forked += 1
        report, index = self._reports[number], number % 2
        if report == "refused":
            self.parent._report(index, ExitCode.REFUSED, "the upstream refused us")
        elif report == "ready":
            self.parent._report(index, ExitCode.ALL_DONE, "Valkey 9.0.1")
        elif report == "dies":
            self._let_end(self.processes[number])
        return self.processes[number].pid

    def end(self) -> None:
        for child in self.processes:
            self._let_end(child)
            child.wait()

    @staticmethod
    def _let_end(child: subprocess.Popen[bytes]) -> None:
        assert child.stdin is not None
        child.stdin.close()


@contextmanager
def parent_with(
    children: Children, monkeypatch: pytest.MonkeyPatch, **more: Any
) -> Iterator[tuple[workers.Workers, list[str]]]:
    """Two workers on a free port, and what is said when they are ready."""
    said: list[str] = []

    def ready(doors: Doors[Listen], version: str) -> None:
        said.append(version)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(workers.os, "fork", children.fork)
    with workers.Workers(
        2, Doors([Tcp(HOST, 0)]), work=lambda *_: 0, ready=ready, drain_timeout=lambda: 0.0, **more
    ) as parent:
        children.parent = parent
        try:
            yield parent, said
        finally:
            parent._end()
            children.end()


def test_the_parent_says_once_that_all_are_ready_and_ends_at_a_signal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tended: list[float] = []

    def tend(now: float) -> None:
        tended.append(now)

    with parent_with(Children("ready", "ready"), monkeypatch) as (parent, said):
        assert repr(parent) == "<Workers STARTING 0:DEAD 1:DEAD>"

        assert parent.run(tend) == ExitCode.ALL_DONE

        assert repr(parent) == "<Workers STOPPING 0:GONE 1:GONE>"
    assert said == ["Valkey 9.0.1"]
    assert tended
    assert "stopping workers" in caplog.text
    assert "worker lost" not in caplog.text


def test_the_parent_ends_with_the_reason_of_a_worker_that_cannot_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    children = Children("refused", "nothing")

    with parent_with(children, monkeypatch) as (parent, said), parent._catching_signals():
        parent._turn(None)
        children.processes[0].terminate()
        with pytest.raises(StartError, match="refused us") as caught:
            parent.run(None)

    assert caught.value.exit_code is ExitCode.REFUSED
    assert said == []


def test_the_parent_names_a_worker_that_ends_without_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (
        parent_with(Children("dies", "nothing"), monkeypatch) as (parent, _),
        pytest.raises(StartError, match="worker 0 ended: exit status 7") as caught,
    ):
        parent.run(None)

    assert caught.value.exit_code is ExitCode.SOME_FAILED


def test_the_parent_starts_a_lost_worker_again_and_logs_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    children = Children("ready", "ready", "ready")

    with parent_with(children, monkeypatch) as (parent, _), parent._catching_signals():
        parent._ready = lambda doors, version: None
        parent._turn(None)
        while parent._stage is not workers.Stage.SERVING:
            parent._turn(None)
        children.processes[0].kill()
        while children.forked < 3 or not parent._workers[0].alive:
            parent._turn(None)
        while parent._workers[0].state is not workers.State.READY:
            parent._turn(None)
        os.kill(os.getpid(), signal.SIGTERM)

        assert parent.run(None) == ExitCode.ALL_DONE

    assert "worker lost" in caplog.text
    assert "worker ready" in caplog.text


def test_the_parent_kills_who_does_not_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(workers, "_GRACE", 0.0)
    children = Children("ready", "ready")

    with parent_with(children, monkeypatch) as (parent, _), parent._catching_signals():
        # Stopped, it does not see the signal to end.
        parent._ready = lambda doors, version: os.kill(os.getpid(), signal.SIGTERM)
        parent._turn(None)
        os.kill(children.processes[0].pid, signal.SIGSTOP)

        assert parent.run(None) == ExitCode.ALL_DONE

    assert "worker killed" in caplog.text


class Exited(BaseException):
    """os._exit, here."""


@pytest.mark.parametrize(
    ("error", "status", "report"),
    [
        (None, 5, b"0\t0\tValkey 9.0.1\n"),
        (StartError("it was refused", ExitCode.REFUSED), 4, b"0\t4\tit was refused\n"),
        (ZeroDivisionError("it broke"), 1, b""),
    ],
)
def test_a_worker_reports_how_it_starts_and_ends_with_its_status(
    error: Exception | None,
    status: int,
    report: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ended: list[int] = []

    def end(status: int) -> None:
        ended.append(status)
        raise Exited

    def work(index: int, doors: Doors[socket.socket], ready: workers.Ready) -> int:
        assert len(doors.clients) == 1
        if error is not None:
            raise error
        ready("Valkey 9.0.1")
        return 5

    monkeypatch.setattr(workers.os, "_exit", end)
    # It changes the process that it is in: its group, its signals.
    monkeypatch.setattr(workers.Workers, "_let_go_of_the_parent", lambda self: None)
    with parent_with(Children(), monkeypatch) as (parent, _):
        parent._work = work
        with pytest.raises(Exited):
            parent._be(0)

        try:
            said = os.read(parent._reports[0], 1000)
        except BlockingIOError:
            said = b""

    assert (ended, said) == ([status], report)
    assert ("it broke" in capsys.readouterr().err) is isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize("found", [True, False])
def test_sighup_reaches_the_workers_where_the_parent_finds_nothing_wrong(
    found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[tuple[int, int]] = []
    with parent_with(Children("ready", "ready"), monkeypatch, reload=lambda: found) as (parent, _):
        parent._heed(signal.SIGHUP, 0.0)  # nobody serves yet: ignored
        parent._stage = workers.Stage.SERVING
        for number, worker in enumerate(parent._workers, 1000):
            worker.become(workers.State.STARTING)
            worker.pid = number
        with monkeypatch.context() as patch:
            patch.setattr(workers.os, "kill", lambda pid, number: killed.append((pid, number)))
            parent._heed(signal.SIGHUP, 0.0)
        for worker in parent._workers:
            worker.become(workers.State.GONE)

    assert killed == ([(1000, signal.SIGHUP), (1001, signal.SIGHUP)] if found else [])


def test_a_worker_that_ends_at_once_again_and_again_ends_them_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "retry_delay", lambda attempt: 0.0)
    monkeypatch.setattr(workers, "GIVE_UP", 2)
    children = Children("ready", "ready", "dies", "dies", "dies")

    def ready(doors: Doors[Listen], version: str) -> None:
        children.processes[0].terminate()

    with parent_with(children, monkeypatch) as (parent, _):
        parent._ready = ready
        with pytest.raises(StartError, match="worker 0 ended 3 times at once: exit status 7") as it:
            parent.run(None)

    assert it.value.exit_code is ExitCode.SOME_FAILED
    assert "worker given up" in caplog.text
