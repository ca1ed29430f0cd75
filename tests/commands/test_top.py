"""``nearhit top`` before a real proxy: on a pseudo-terminal, and one frame for scripts."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from redis import Redis

from tests.servers import HOST, Process, any_kind, free_port, nearhit, upstream

pytest.importorskip("rich", reason="the extra cli is not installed")

TOP = [sys.executable, "-m", "nearhit.proxy", "top"]
ON, OFF = "\x1b[?1049h", "\x1b[?1049l"  # the terminal's other screen
SHOW = "\x1b[?25h"  # the cursor
WAIT_S = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with upstream(any_kind()) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: Process) -> Iterator[Process]:
    with nearhit(f"redis://{HOST}:{server.port}") as process:
        with Redis(host=HOST, port=process.port, protocol=3) as client:
            client.set("user:1", "Ada")
            while not client.execute_command("STATS", "HOTKEYS"):
                for _ in range(1000):
                    client.get("user:1")
        yield process


def environment(**more: str) -> dict[str, str]:
    ours = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")}
    return {**ours, "TERM": "xterm", **more}


class Terminal:
    """A pseudo-terminal with ``top`` on it, and all that it has written."""

    def __init__(self, *words: str, columns: int = 80, **environ: str) -> None:
        self.fd, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.text = ""
        self.child = subprocess.Popen(
            [*TOP, *words],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=environment(**environ),
            start_new_session=True,
            # Its own, for Ctrl-C to reach it.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def wait_for(self, text: str, behind: int = 0) -> int:
        """Until this was written behind so many letters; where it ends."""
        deadline = time.monotonic() + WAIT_S
        while (at := self.text.find(text, behind)) < 0:
            assert time.monotonic() < deadline, f"{text!r} was not written: {self.text[-4000:]!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                with contextlib.suppress(OSError):
                    self.text += os.read(self.fd, 65536).decode("utf-8", "replace")
        return at + len(text)

    def press(self, keys: str) -> int:
        """How much was written before."""
        os.write(self.fd, keys.encode())
        return len(self.text)

    def ends(self) -> int:
        """Its exit code, once the terminal is as it was."""
        self.wait_for(OFF)
        code = self.child.wait(WAIT_S)
        assert SHOW in self.text
        assert termios.tcgetattr(self.slave) == self.before
        return code

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self.slave)
        os.close(self.fd)


@contextlib.contextmanager
def terminal(*words: str, columns: int = 80, **environ: str) -> Iterator[Terminal]:
    made = Terminal(*words, columns=columns, **environ)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("columns", [80, 120])
def test_it_shows_sorts_and_quits_and_gives_the_terminal_back(columns: int, proxy: Process) -> None:
    with terminal(f"redis://{HOST}:{proxy.port}", "--interval", "200ms", columns=columns) as top:
        top.wait_for(ON)
        for text in ("requests a second", "hit ratio", "near cache", "latency", "reads ▾"):
            top.wait_for(text)
        top.wait_for("user:1")
        here = top.press("s")
        top.wait_for("found ▾", here)
        here = top.press("r")
        top.wait_for("found ▴", here)
        here = top.press("\t")
        top.wait_for("Prefixes", here)
        top.press("q")

        assert top.ends() == 0
        frame = re.sub(r"\x1b\[[0-9;?]*[A-GI-Za-z]", "", top.text).replace("\x1b[H", "\n")
        assert max(map(len, frame.splitlines())) <= columns


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_and_give_the_terminal_back(number: int, proxy: Process) -> None:
    with terminal(f"redis://{HOST}:{proxy.port}", NO_COLOR="1") as top:
        top.wait_for("user:1")
        top.press("\x03") if number == signal.SIGINT else top.child.send_signal(number)

        assert top.ends() == 0
        assert "\x1b[3" not in top.text  # colours


def test_it_says_that_the_proxy_is_away_and_comes_back_by_itself(server: Process) -> None:
    port = free_port()
    url = f"redis://:s3cret@{HOST}:{port}"
    with ExitStack() as stack:
        top = stack.enter_context(terminal(url, "--interval", "200ms"))
        top.wait_for("It is asked again.")
        proxy = stack.enter_context(nearhit(f"redis://{HOST}:{server.port}", port=port))
        here = top.wait_for("serving")
        proxy.kill()
        here = top.wait_for("Below is how it was", here)
        proxy.start()
        top.wait_for("serving", here)
        top.press("q")
        assert top.ends() == 0
        assert "s3cret" not in top.text


def once(url: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TOP, url, "--once", "--interval", "100ms"],
        env=environment(**{"PYTHONIOENCODING": "utf-8", **environ}),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )


@pytest.mark.parametrize("columns", [80, 120])
def test_one_frame_is_plain_text(columns: int, proxy: Process, server: Process) -> None:
    with Redis(host=HOST, port=proxy.port) as client:
        client.execute_command("WARM", "ASYNC", "KEYS", "demo:1")

    done = once(f"redis://{HOST}:{proxy.port}", COLUMNS=str(columns))

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert "\x1b" not in done.stdout
    assert any(line.startswith("serving") for line in lines)
    assert any(line.startswith(f"{HOST}:{server.port}") and " up " in line for line in lines)
    assert any(line.startswith("job WARM") for line in lines)
    assert any(line.startswith("user:1 ") for line in lines)


def test_a_terminal_without_unicode_is_written_to_all_the_same(proxy: Process) -> None:
    done = once(f"redis://{HOST}:{proxy.port}", PYTHONIOENCODING="ascii")

    assert done.returncode == 0
    assert "requests a second" in done.stdout


def test_who_may_not_see_it_is_told_in_one_line(proxy: Process, server: Process) -> None:
    with Redis(host=HOST, port=server.port) as boss:
        boss.execute_command("ACL", "SETUSER", "ann", "on", ">pw", "~*", "+@all", "-info")

    done = once(f"redis://ann:pw@{HOST}:{proxy.port}")

    assert done.returncode == 4
    assert done.stderr.startswith("nearhit: this user may not see the statistics: ")
    assert done.stderr.count("\n") == 1
