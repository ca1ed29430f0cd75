"""What a service manager hears, and when."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from nearhit.proxy.process.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A manager's socket, and what NOTIFY_SOCKET says of it."""
    path = str(tmp_path / "notify")
    name = path if request.param == "path" else f"@nearhit-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name if name.startswith("/") else "\0" + name[1:])
        sock.settimeout(5)
        yield sock, name


def heard(sock: socket.socket) -> list[str]:
    return sock.recv(4096).decode().split("\n")


def test_the_manager_hears_of_each_stage(manager: tuple[socket.socket, str]) -> None:
    sock, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})

    notifier.ready("ready: here")
    assert heard(sock) == ["READY=1", "STATUS=ready: here"]
    notifier.reloading()
    first, second = heard(sock)
    assert (first, second.split("=")[0]) == ("RELOADING=1", "MONOTONIC_USEC")
    notifier.ready()
    assert heard(sock) == ["READY=1"]
    notifier.stopping()
    assert heard(sock) == ["STOPPING=1"]


def test_the_watchdog_is_told_twice_in_its_time(manager: tuple[socket.socket, str]) -> None:
    sock, name = manager
    mine = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(mine)

    assert notifier.beat(10.0) == 11.5
    assert heard(sock) == ["WATCHDOG=1"]
    assert notifier.beat(11.0) == 11.5
    assert notifier.beat(11.5) == 13.0
    assert heard(sock) == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    "watchdog",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "x"},
        {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"},
    ],
)
def test_without_a_watchdog_of_ours_none_is_told(
    manager: tuple[socket.socket, str], watchdog: dict[str, str]
) -> None:
    sock, name = manager

    assert Notifier({"NOTIFY_SOCKET": name, **watchdog}).beat(10.0) == math.inf
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.recv(1)


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_where_there_is_no_manager_nobody_is_told(environ: dict[str, str]) -> None:
    notifier = Notifier({**environ, "WATCHDOG_USEC": "5"})

    notifier.ready()

    assert notifier.beat(1.0) == math.inf


def test_a_manager_that_is_gone_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()

    assert "service manager not told" in caplog.text
