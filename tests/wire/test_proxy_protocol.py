"""Through a load balancer: clients are who the balancer says they are, with TLS and without."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from nearhit.proxy.cli.health import LOCAL
from nearhit.proxy.errors import DENIED, NOT_TRUSTED

from tests.certificates import self_signed
from tests.servers import HOST, Kind, Process, free_port, nearhit, upstream, wait_for

from .link import Link, command

V1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 5000 6380\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V2 = SIGNATURE + b"\x21\x11\x00\x13" + bytes([203, 0, 113, 8, 198, 51, 100, 1]) + (
    (5001).to_bytes(2) + (6380).to_bytes(2) + b"\x04\x00\x04NOOP"
)  # fmt: skip


class Balanced(NamedTuple):
    proxy: Process
    tls: int
    path: str
    files: Path


@pytest.fixture(scope="module", params=["redis", "valkey"])
def balanced(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Balanced]:
    kind: Kind = request.param
    folder = tmp_path_factory.mktemp("proxied")
    files, tls, path = self_signed(folder), free_port(), f"{folder}/s"
    flags = [
        *("--proxy-protocol", "on", "--trusted-proxies", HOST, "--protected-mode", "off"),
        *("--tls-listen", f"{HOST}:{tls}", "--tls-cert", f"{files}/cert.pem"),
        *("--tls-key", f"{files}/key.pem", "--listen", f"unix://{path}"),
    ]
    with (
        upstream(kind) as server,
        nearhit(f"redis://{HOST}:{server.port}", *flags, preface=LOCAL) as proxy,
    ):
        yield Balanced(proxy, tls, path, files)


def shown(client: Link, resp: int) -> bytes:
    assert not client.ask("HELLO", resp).startswith(b"-")
    return client.ask("CLIENT", "INFO")


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize(
    ("header", "addr"), [(V1, b"203.0.113.7:5000"), (V2, b"203.0.113.8:5001")], ids=["v1", "v2"]
)
def test_a_client_is_who_the_balancer_says(
    balanced: Balanced, header: bytes, addr: bytes, resp: int
) -> None:
    client, boss = Link(balanced.proxy.port), Link(balanced.proxy.port)
    client.send(header)
    boss.send(LOCAL)
    info = shown(client, resp)
    assert b" addr=%b " % addr in info
    assert b" laddr=198.51.100.1:6380 " in info
    assert b" addr=127.0.0.1:" in shown(boss, resp)
    assert addr in boss.ask("CLIENT", "LIST")

    assert boss.ask("CLIENT", "KILL", "ADDR", addr.decode()) == b":1\r\n"

    assert client.rest() == b""
    boss.close()


def test_header_and_requests_in_one_piece_or_in_many(balanced: Balanced) -> None:
    whole = V2 + command("ECHO", "a") + command("ECHO", "b")
    for step in (1, 7, len(whole)):
        client = Link(balanced.proxy.port)
        for at in range(0, len(whole), step):
            client.send(whole[at : at + step])
        assert client.read(2) == [b"$1\r\na\r\n", b"$1\r\nb\r\n"]
        client.close()


def test_the_header_comes_before_tls(balanced: Balanced) -> None:
    trust = ssl.create_default_context(cafile=balanced.files / "cert.pem")
    with socket.create_connection((HOST, balanced.tls), 5) as plain:
        plain.sendall(V2)
        with trust.wrap_socket(plain, server_hostname=HOST) as link:
            link.sendall(command("CLIENT", "INFO"))
            assert b" addr=203.0.113.8:5001 " in link.recv(65536)


def test_without_a_header_nobody_comes_in(balanced: Balanced) -> None:
    for garbage in (b"PING\r\n", V1.replace(b"203", b"999"), SIGNATURE + b"\x21\x11\xff\xff"):
        client = Link(balanced.proxy.port)
        client.send(garbage)
        assert client.rest() == b""
    wait_for(lambda: b"no PROXY header" in balanced.proxy.log.read_bytes(), 5, "the log line")


def test_a_unix_socket_is_for_plain_clients(balanced: Balanced) -> None:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(5)
        link.connect(balanced.path)
        link.sendall(b"PING\r\n")
        assert link.recv(100) == b"+PONG\r\n"


def test_others_than_the_balancers_are_refused_and_logged() -> None:
    flags = ("--proxy-protocol", "on", "--trusted-proxies", "10.9.9.9,unix")
    with nearhit(f"redis://{HOST}:{free_port()}", *flags, preface=V1) as proxy:
        client = Link(proxy.port)
        client.send(LOCAL + command("PING"))
        assert client.rest() in (NOT_TRUSTED, b"")  # a reset may overtake it
        assert b'"not a trusted proxy" peer=127.0.0.1:' in proxy.log.read_bytes()


def test_protected_mode_sees_the_client_and_not_the_balancer() -> None:
    """A server that says nothing at the start: only this machine's own clients are let in."""
    flags = ("--proxy-protocol", "on", "--trusted-proxies", HOST)
    with nearhit(f"redis://{HOST}:{free_port()}", *flags, preface=V1) as proxy:
        client, own = Link(proxy.port), Link(proxy.port)
        client.send(V1)
        own.send(LOCAL)
        assert client.rest() == DENIED
        assert own.ask("PING").startswith(b"-UPSTREAM")
        own.close()


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_protected_mode_sees_that_a_server_asks_no_more(kind: Kind) -> None:
    flags = ("--proxy-protocol", "on", "--trusted-proxies", HOST)
    with (
        upstream(kind, "--requirepass", "pw") as server,
        nearhit(f"redis://{HOST}:{server.port}", *flags, preface=LOCAL) as proxy,
    ):
        stranger, insider, own = (Link(proxy.port) for _ in range(3))
        direct = Link(server.port)
        for client, header in ((stranger, V1), (insider, V2), (own, LOCAL)):
            client.send(header)
        assert direct.ask("AUTH", "pw") == insider.ask("AUTH", "pw") == b"+OK\r\n"
        assert stranger.ask("PING").startswith(b"-NOAUTH")
        assert own.ask("PING").startswith(b"-NOAUTH")

        assert direct.ask("CONFIG", "SET", "requirepass", "") == b"+OK\r\n"

        assert stranger.rest() == b""
        assert insider.ask("PING") == own.ask("PING") == b"+PONG\r\n"
        late = Link(proxy.port)
        late.send(V1)
        assert late.rest() == DENIED
        assert b'event="protected mode"' in proxy.log.read_bytes()

        assert direct.ask("CONFIG", "SET", "requirepass", "pw") == b"+OK\r\n"

        def asked_again() -> bool:
            again = Link(proxy.port)
            again.send(V1 + command("PING"))
            return again.socket.recv(256).startswith(b"-NOAUTH")

        wait_for(asked_again, what="strangers are asked for a login")
        for client in (insider, own, direct):
            client.close()
