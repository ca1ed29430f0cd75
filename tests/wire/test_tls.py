"""Clients with TLS: redis-cli, redis-py, HTTP; certificates of their own; new files; several
workers; clusters and Sentinels behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from nearhit.proxy.cli.main import main
from redis import Redis
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import ResponseError

from tests.certificates import Secured, openssl, self_signed
from tests.clusters import cluster
from tests.sentinel.trio import trio
from tests.servers import HOST, Process, any_kind, free_port, nearhit, upstream, wait_for

pytestmark = pytest.mark.waits


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cert.pem with key.pem; new.pem with new-key.pem; ca.pem, which signed client.pem."""
    folder = self_signed(tmp_path_factory.mktemp("tls"))
    self_signed(folder, "new.pem", "new-key.pem")
    self_signed(folder, "ca.pem", "ca-key.pem")
    openssl(
        folder,
        *("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=client"),
        *("-keyout", "client-key.pem", "-out", "client.csr"),
    )
    openssl(
        folder,
        *("x509", "-req", "-in", "client.csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem"),
        *("-CAcreateserial", "-out", "client.pem"),
    )
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with upstream(any_kind()) as process:
        yield process


class Proxy:
    """One with TLS beside its plain address."""

    def __init__(self, stack: ExitStack, url: str, files: Path, *flags: str) -> None:
        self.tls_port = free_port()
        self.files = files
        self.process = stack.enter_context(
            nearhit(
                url,
                *("--tls-listen", f"{HOST}:{self.tls_port}"),
                *("--tls-cert", f"{files}/cert.pem", "--tls-key", f"{files}/key.pem"),
                *flags,
            )
        )

    def client(self, **options: Any) -> Redis:
        authorities = f"{self.files}/cert.pem"
        return Redis(HOST, self.tls_port, ssl=True, ssl_ca_certs=authorities, **options)

    @property
    def log(self) -> str:
        return self.process.log.read_text()


@pytest.fixture(scope="module")
def proxy(server: Process, files: Path) -> Iterator[Proxy]:
    with ExitStack() as stack:
        yield Proxy(stack, f"redis://{HOST}:{server.port}", files)


def trusting(files: Path, name: str = "cert.pem") -> ssl.SSLContext:
    return ssl.create_default_context(cafile=files / name)


# --- Clients


def test_redis_cli_works(proxy: Proxy, files: Path) -> None:
    if shutil.which("redis-cli") is None:
        pytest.skip("no redis-cli on this machine")
    cli = ["redis-cli", "-p", str(proxy.tls_port), "--tls", "--cacert", str(files / "cert.pem")]

    def said(*words: str, given: str = "") -> str:
        return subprocess.run(
            [*cli, *words], input=given, capture_output=True, text=True, timeout=20, check=True
        ).stdout.strip()

    assert said("SET", "cli", "1") == "OK"
    assert said(given="INCR cli\nINCR cli\n") == "2\n3"
    assert said("--pipe", given="INCR piped\n" * 5000).endswith("errors: 0, replies: 5000")
    assert said("GET", "piped") == "5000"


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_works(proxy: Proxy, protocol: int) -> None:
    with proxy.client(protocol=protocol) as client:
        large = os.urandom(5_000_000)
        assert client.set("large", large)
        assert client.get("large") == large
        with client.pipeline(transaction=True) as pipe:
            pipe.set("a", 1).incr("a").get("a")
            assert pipe.execute() == [True, 2, b"2"]
        assert client.blpop(["none"], timeout=0.01) is None
        for _ in range(3):  # the third one is near
            assert client.get("a") == b"2"
        with client.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe("news")
            wait_for(lambda: client.publish("news", "x"), what="a subscriber")
            wait_for(lambda: pubsub.get_message(timeout=0.1), what="the news")
        (line,) = client.client_list(client_id=[client.client_id()])  # type: ignore[arg-type]
        assert line["laddr"] == f"{HOST}:{proxy.tls_port}"


def test_replies_of_many_megabytes_wait_for_a_slow_reader(proxy: Proxy) -> None:
    with proxy.client() as client:
        assert client.set("large", b"x" * 1_000_000)
    with (
        socket.create_connection((HOST, proxy.tls_port)) as plain,
        trusting(proxy.files).wrap_socket(plain, server_hostname=HOST) as link,
    ):
        link.settimeout(20)
        link.sendall(b"GET large\r\n" * 30 + b"ECHO end\r\n")
        heard = bytearray()
        while not heard.endswith(b"$3\r\nend\r\n"):
            heard += link.recv(1 << 20)

    assert len(heard) == 30 * len(b"$1000000\r\n" + b"x" * 1_000_000 + b"\r\n") + 9


def test_who_ends_its_side_costs_no_warning(proxy: Proxy) -> None:
    for _ in range(3):
        with (
            socket.create_connection((HOST, proxy.tls_port)) as plain,
            trusting(proxy.files).wrap_socket(plain, server_hostname=HOST) as link,
        ):
            link.sendall(b"BLPOP nothing 0\r\nPING\r\n")
            plain_again = link.unwrap()
            plain_again.close()
    with proxy.client() as client:
        wait_for(lambda: len(client.client_list()) == 1, what="they are gone")

    assert "eof_received" not in proxy.log
    assert "Traceback" not in proxy.log


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_newer_is_spoken(proxy: Proxy, version: ssl.TLSVersion) -> None:
    context = trusting(proxy.files)
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection((HOST, proxy.tls_port)) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as link,
    ):
        link.sendall(b"PING\r\n")
        assert link.recv(64) == b"+PONG\r\n"


# --- Those at the wrong address


def test_plain_bytes_at_the_tls_address_are_told(proxy: Proxy) -> None:
    with pytest.raises(ResponseError, match="this address wants TLS"):
        Redis(HOST, proxy.tls_port, retry=None).ping()
    assert 'event="no TLS"' in proxy.log


def test_tls_at_the_plain_address_ends_at_once(proxy: Proxy) -> None:
    with socket.create_connection((HOST, proxy.process.port)) as plain:
        plain.settimeout(10)
        with pytest.raises(ssl.SSLError):
            trusting(proxy.files).wrap_socket(plain, server_hostname=HOST)
    wait_for(lambda: 'event="TLS unexpected"' in proxy.log, what="a line in the log")


# --- Certificates of clients


@pytest.mark.parametrize("auth", ["optional", "required"])
def test_a_client_shows_a_certificate(server: Process, files: Path, auth: str) -> None:
    with ExitStack() as stack:
        proxy = Proxy(
            stack,
            f"redis://{HOST}:{server.port}",
            files,
            *("--tls-client-auth", auth, "--tls-client-ca", f"{files}/ca.pem"),
        )
        good = {"ssl_certfile": f"{files}/client.pem", "ssl_keyfile": f"{files}/client-key.pem"}
        stranger = {"ssl_certfile": f"{files}/new.pem", "ssl_keyfile": f"{files}/new-key.pem"}

        assert proxy.client(**good).ping()
        with pytest.raises(NoConnection):
            proxy.client(**stranger, retry=None).ping()
        if auth == "optional":
            assert proxy.client().ping()
        else:
            with pytest.raises(NoConnection):
                proxy.client(retry=None).ping()


# --- New files


def test_new_files_are_taken_while_it_runs(server: Process, files: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(files, tmp_path / "tls"))
    with ExitStack() as stack:
        proxy = Proxy(stack, f"redis://{HOST}:{server.port}", mine, "--workers", "2")
        stays = proxy.client()
        assert stays.ping()
        (mine / "key.pem").write_text("garbage")
        wait_for(lambda: proxy.log.count("certificate unusable") == 2, what="each worker tells it")
        assert Redis(HOST, proxy.tls_port, ssl=True, ssl_ca_certs=f"{files}/cert.pem").ping()

        (mine / "new.pem").replace(mine / "cert.pem")
        (mine / "new-key.pem").replace(mine / "key.pem")
        wait_for(lambda: proxy.log.count("certificate renewed") == 2, what="each worker takes it")

        for _ in range(8):
            assert proxy.client().ping()
        assert stays.ping()
        assert proxy.log.count("certificate unusable") == 2


def test_new_files_for_the_server_hold_for_new_connections(files: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(files, tmp_path / "tls"))
    behind = Secured(tmp_path / "server", files)
    with ExitStack() as stack:
        stack.callback(behind.kill)
        behind.start()
        url = f"rediss://{HOST}:{behind.tls_port}"
        proxy = stack.enter_context(nearhit(url, "--tls-ca", f"{mine}/cert.pem"))
        client = stack.enter_context(Redis(HOST, proxy.port))
        assert client.ping()

        shutil.copy(mine / "new.pem", mine / "cert.pem")  # which has not signed for the server
        proxy.signal(signal.SIGHUP)
        wait_for(lambda: proxy.log.read_text().count("upstream TLS renewed") == 1, what="a line")
        assert client.ping()  # over the connection that stands
        Redis(HOST, behind.port).client_kill_filter(_type="normal", skipme=True)
        # The first error may still be that of the connection which was cut.
        wait_for(
            lambda: not serves(client) and "CERTIFICATE_VERIFY_FAILED" in proxy.log.read_text(),
            what="a connection that is refused",
        )

        (mine / "cert.pem").write_text("garbage")
        proxy.signal(signal.SIGHUP)
        wait_for(lambda: "settings not reloaded" in proxy.log.read_text(), what="a line")
        assert f"tls_ca: cannot use {mine}/cert.pem" in proxy.log.read_text()
        shutil.copy(files / "cert.pem", mine / "cert.pem")
        wait_for(lambda: serves(client), what="a connection that stands again")
        assert proxy.log.read_text().count("upstream TLS renewed") == 2


def serves(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except ResponseError:
        return False


# --- HTTP


def test_http_is_served_with_the_same_certificate(server: Process, files: Path) -> None:
    port = free_port()
    with ExitStack() as stack:
        Proxy(stack, f"redis://{HOST}:{server.port}", files, "--tls-http", f"{HOST}:{port}")
        url = f"https://{HOST}:{port}/healthz"

        with urllib.request.urlopen(url, context=trusting(files), timeout=10) as response:
            assert json.load(response) == {"status": "ok"}
        with socket.create_connection((HOST, port)) as plain:
            plain.settimeout(10)
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert plain.recv(4096).startswith(b"HTTP/1.1 400 ")


# --- What is behind


def test_sentinels_and_a_cluster_are_behind(files: Path) -> None:
    with trio(any_kind()) as three, ExitStack() as stack:
        proxy = Proxy(stack, three.url, files)
        with proxy.client() as client:
            assert client.set("k", 1)
            assert client.get("k") == b"1"
    with cluster(any_kind(), 3, 0) as nodes, ExitStack() as stack:
        proxy = Proxy(stack, f"redis-cluster://{HOST}:{nodes.nodes[0].port}", files)
        with proxy.client() as client:
            assert client.mset({"a": 1, "b": 2, "c": 3})
            assert client.mget("a", "b", "c") == [b"1", b"2", b"3"]


# --- Its beginning and its end


def test_it_says_where_and_ends_on_sigterm_with_clients(server: Process, files: Path) -> None:
    with ExitStack() as stack:
        proxy = Proxy(stack, f"redis://{HOST}:{server.port}", files)
        client = proxy.client()
        assert client.ping()
        said = proxy.log
        with socket.create_connection((HOST, proxy.tls_port)):  # in no hurry
            proxy.process.signal(signal.SIGTERM)
            assert proxy.process.end(8) == 0
    assert f", rediss://{HOST}:{proxy.tls_port} -> " in said


def test_health_asks_over_tls_where_there_is_nothing_else(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    flags = ["--listen", "off", "--http", "off", "--tls-listen", f"{HOST}:{proxy.tls_port}"]

    code = main(["health", *flags, "--tls-cert", f"{proxy.files}/cert.pem"])

    assert (code, capsys.readouterr().err) == (0, "")
