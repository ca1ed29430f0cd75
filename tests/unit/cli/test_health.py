"""``nearhit health``: who is asked by which settings, and what is well."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from nearhit.proxy.cli.health import LOCAL, Health, health_of
from nearhit.proxy.cli.main import main
from nearhit.proxy.errors import ExitCode
from nearhit.proxy.settings.config import load

from tests.certificates import self_signed
from tests.servers import HOST, free_port

READY = b'HTTP/1.1 200 OK\r\nServer: nearhit\r\n\r\n{"status": "ok"}'
NOT_READY = b"HTTP/1.1 503 Service Unavailable\r\nServer: nearhit\r\n\r\n"


@contextlib.contextmanager
def answering(listener: socket.socket, *pieces: bytes) -> Iterator[list[bytes]]:
    """One connection is answered with the pieces; keeps what it asked."""
    asked: list[bytes] = []

    def serve() -> None:
        link, _ = listener.accept()
        with link:
            asked.append(link.recv(128))
            for piece in pieces:
                link.sendall(piece)

    thread = threading.Thread(target=serve)
    thread.start()
    yield asked
    thread.join()
    listener.close()


def listener() -> tuple[socket.socket, int]:
    made = socket.create_server((HOST, 0))
    return made, made.getsockname()[1]


def in_tls(plain: socket.socket, folder: Path) -> socket.socket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context.wrap_socket(plain, server_side=True)


def health(**given: str) -> Health:
    return health_of(load(given, {}, lambda path: ""))


# --- /readyz ----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [HOST, "0.0.0.0"])
def test_a_proxy_that_is_ready_is_well(host: str) -> None:
    made, port = listener()
    with answering(made, READY[:20], READY[20:]) as asked:
        found = health(http=f"{host}:{port}", http_token=16 * "t")

    assert found == Health(True, f"http://{host}:{port}/readyz: ready")
    assert asked[0].startswith(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (NOT_READY + b'{"error": "UPSTREAM no connection"}', "UPSTREAM no connection"),
        (NOT_READY + b"busy", "HTTP/1.1 503 Service Unavailable"),
        (b"HTTP/1.1 200 OK\r\nServer: another\r\n\r\n", "no Nearhit answers there"),
        (b"", "it closed the connection"),
    ],
)
def test_any_other_answer_is_not(answer: bytes, why: str) -> None:
    made, port = listener()
    with answering(made, answer):
        found = health(http=f"{HOST}:{port}")

    assert found == Health(False, f"http://{HOST}:{port}/readyz: {why}")


def test_https_is_asked_where_there_is_no_plain_http(tmp_path: Path) -> None:
    folder = self_signed(tmp_path)
    made, port = listener()
    with answering(in_tls(made, folder), READY):
        found = health(
            http="off",
            tls_http=f"{HOST}:{port}",
            tls_cert=str(folder / "cert.pem"),
            tls_key=str(folder / "key.pem"),
        )

    assert found == Health(True, f"https://{HOST}:{port}/readyz: ready")


def test_where_nobody_asked_for_http_and_another_has_its_port_ping_is_asked() -> None:
    (other, http), (made, port) = listener(), listener()
    given = load({}, {}, lambda path: "").given
    config = load({"listen": f"{HOST}:{port}", "http": f"{HOST}:{http}"}, {}, lambda path: "")
    with answering(other, b"HTTP/1.1 200 OK\r\n\r\n"), answering(made, b"+PONG\r\n"):
        found = health_of(replace(config, given=given))

    assert found == Health(True, f"redis://{HOST}:{port}: PONG")


# --- PING -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "well", "told"),
    [
        ([b"+PO", b"NG\r\n"], True, "PONG"),
        ([b"-NOAUTH Authentication required.\r\n"], True, "the server asks for a login"),
        ([b"-UPSTREAM no connection\r\n"], False, "UPSTREAM no connection"),
        ([b"+PO"], False, "it closed the connection"),
        ([], False, "it closed the connection"),
    ],
)
def test_without_http_ping_is_asked(
    pieces: list[bytes],
    well: bool,
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = str(tmp_path / "s")
    made = socket.socket(socket.AF_UNIX)
    made.bind(path)
    made.listen()
    with answering(made, *pieces) as asked:
        code = main(["health", "--http", "off", "--listen", f"unix://{path}"])

    line = f"unix://{path}: {told}\n"
    said = capsys.readouterr()
    assert code == (ExitCode.ALL_DONE if well else ExitCode.SOME_FAILED)
    assert (said.out, said.err) == ((line, "") if well else ("", f"nearhit: {line}"))
    assert asked == [b"PING\r\n"]


def test_an_address_with_tls_is_asked_with_tls(tmp_path: Path) -> None:
    folder = self_signed(tmp_path)
    made, port = listener()
    with answering(in_tls(made, folder), b"+PONG\r\n"):
        found = health(
            http="off",
            listen="off",
            tls_listen=f"{HOST}:{port}",
            tls_cert=str(folder / "cert.pem"),
            tls_key=str(folder / "key.pem"),
        )

    assert found == Health(True, f"rediss://{HOST}:{port}: PONG")


def test_where_balancers_are_expected_it_speaks_for_itself() -> None:
    made, port = listener()
    with answering(made, b"+PONG\r\n") as asked:
        found = health(
            http="off", listen=f"{HOST}:{port}", proxy_protocol="on", trusted_proxies=HOST
        )

    assert found.well
    assert asked[0].startswith(LOCAL)


def test_where_nobody_listens_it_says_so(tmp_path: Path) -> None:
    port = free_port()
    assert health(http=f"{HOST}:{port}") == Health(
        False, f"http://{HOST}:{port}/readyz: Connection refused"
    )
    assert health(http="off", listen=f"unix://{tmp_path}/none") == Health(
        False, f"unix://{tmp_path}/none: No such file or directory"
    )


def test_wrong_settings_are_not_well_either(capsys: pytest.CaptureFixture[str]) -> None:
    # 2 is a code that Docker keeps for itself.
    assert main(["health", "--workers", "x"]) == ExitCode.SOME_FAILED
    assert "--workers: 'x' is not" in capsys.readouterr().err
