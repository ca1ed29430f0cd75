"""SIGHUP in a process that serves, SIGTERM with a delay, and what a service manager hears."""

from __future__ import annotations

import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import HOST, Process, free_port, nearhit, wait_for

from .conftest import Pair, url
from .links import bulk, command, link

pytestmark = pytest.mark.waits

DEMO = '[loaders.made_up]\nmatch = "{kind}:{{id}}"\ndemo = true\n'


@contextmanager
def configured(pair: Pair, file: Path, *flags: str, text: str = "") -> Iterator[Process]:
    """A proxy with a settings file, which says no more at first."""
    file.write_text(text)
    with nearhit(url(pair[0].port), "--config", str(file), *flags) as proxy:
        wait_for(lambda: " ready: " in proxy.log.read_text(), 10, "all workers ready")
        yield proxy


def told(proxy: Process, event: str, times: int = 1) -> None:
    try:
        wait_for(lambda: proxy.log.read_text().count(f'event="{event}"') >= times, 10, event)
    except AssertionError as late:
        raise AssertionError(f"{late}\n{proxy.log.read_text()}") from None


@pytest.mark.parametrize("workers", [1, 2])
def test_new_settings_are_in_force_and_nobody_is_disturbed(
    pair: Pair, tmp_path: Path, workers: int
) -> None:
    file = tmp_path / "nearhit.toml"
    with (
        configured(pair, file, "--workers", str(workers), "--env", "production") as proxy,
        link(proxy.port) as client,
    ):
        assert client.ask("GETORSET", "a:1").startswith(b"-NOLOADER")
        file.write_text('max_clients = 9\nnear_reads = "all"\n' + DEMO.format(kind="a"))

        proxy.signal(signal.SIGHUP)
        told(proxy, "settings reloaded", workers + (workers > 1))

        assert client.ask("GETORSET", "a:1").startswith(b"$")
        assert client.ask("SET", "a:1", "mine") == b"+OK\r\n"
        assert client.ask("GETORSET", "a:1") == bulk(b"mine")
        log = proxy.log.read_text()
        assert "changed=max_clients,loaders restart=near_reads" in log
        with link(proxy.port) as newcomer:
            assert newcomer.ask("GETORSET", "a:2").startswith(b"$")


def test_a_loader_that_goes_lets_its_keys_go(pair: Pair, tmp_path: Path) -> None:
    file = tmp_path / "nearhit.toml"
    flags = ("--env", "production")
    with (
        configured(pair, file, *flags, text=DEMO.format(kind="b")) as proxy,
        link(proxy.port) as client,
    ):
        assert client.ask("GETORSET", "b:1").startswith(b"$")
        file.write_text("")

        proxy.signal(signal.SIGHUP)
        told(proxy, "settings reloaded")

        assert client.ask("GETORSET", "b:2").startswith(b"-NOLOADER")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("max_clients = 0\n", "max_clients"),
        ('[loaders.x]\nmatch = "x:{id}"\ncall = "no.such:function"\n', "no.such"),
    ],
)
def test_a_bad_file_changes_nothing_and_says_why(
    pair: Pair, tmp_path: Path, workers: int, text: str, why: str
) -> None:
    file = tmp_path / "nearhit.toml"
    with (
        configured(
            pair, file, "--workers", str(workers), "--env", "production",
            text=DEMO.format(kind="c"),
        ) as proxy,
        link(proxy.port) as client,
    ):  # fmt: skip
        file.write_text(text)

        proxy.signal(signal.SIGHUP)
        told(proxy, "settings not reloaded")

        assert client.ask("GETORSET", "c:1").startswith(b"$")
        assert why in proxy.log.read_text()
        assert "settings reloaded" not in proxy.log.read_text()


def ready(port: int) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def test_a_delay_serves_on_while_it_is_ready_no_more(pair: Pair) -> None:
    http = free_port()
    with nearhit(
        url(pair[0].port), "--http", f"{HOST}:{http}", "--drain-delay", "1h"
    ) as proxy, link(proxy.port) as client:  # fmt: skip
        assert ready(http)[0] == 200

        proxy.signal(signal.SIGTERM)
        wait_for(lambda: ready(http)[0] == 503, 10, "not ready")

        assert b"about to stop" in ready(http)[1]
        assert client.ask("PING") == b"+PONG\r\n"
        with link(proxy.port) as late:
            assert late.ask("PING") == b"+PONG\r\n"
        proxy.signal(signal.SIGTERM)  # no more patience
        assert proxy.end() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_manager_hears_of_each_stage(pair: Pair, tmp_path: Path, workers: str) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(10)
        env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        with nearhit(url(pair[0].port), "--workers", workers, env=env) as proxy:

            def heard(what: bytes) -> bytes:
                while True:
                    said = manager.recv(4096)
                    if said.startswith(what):
                        return said

            assert b"STATUS=ready: redis://" in heard(b"READY=1")
            assert heard(b"WATCHDOG=1")
            proxy.signal(signal.SIGHUP)
            assert b"MONOTONIC_USEC=" in heard(b"RELOADING=1")
            assert heard(b"READY=1")
            assert heard(b"WATCHDOG=1")
            with link(proxy.port) as client:
                client.send(command("PING"))
                assert client.read(1) == [b"+PONG\r\n"]
            proxy.signal(signal.SIGTERM)
            assert heard(b"STOPPING=1")
            assert proxy.end() == 0
