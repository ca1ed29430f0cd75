"""``nearhit ping``: the answer of what listens at an address."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from nearhit.proxy.cli.main import main
from nearhit.proxy.cli.ping import LOCAL, answer_of
from nearhit.proxy.errors import ExitCode
from nearhit.proxy.settings.address import Tcp, Unix

from tests.certificates import self_signed
from tests.servers import HOST, free_port


@contextlib.contextmanager
def answering(listener: socket.socket, *pieces: bytes) -> Iterator[list[bytes]]:
    """One connection is answered with the pieces; keeps what it asked."""
    asked: list[bytes] = []

    def serve() -> None:
        link, _ = listener.accept()
        with link:
            asked.append(link.recv(64))
            for piece in pieces:
                link.sendall(piece)

    thread = threading.Thread(target=serve)
    thread.start()
    yield asked
    thread.join()
    listener.close()


@pytest.mark.parametrize("host", [HOST, "0.0.0.0"])
def test_the_first_line_is_the_answer(host: str) -> None:
    listener = socket.create_server((HOST, 0))
    with answering(listener, b"+PO", b"NG\r\n") as asked:
        assert answer_of(Tcp(host, listener.getsockname()[1])) == "+PONG"
    assert asked == [b"PING\r\n"]


@pytest.mark.parametrize(
    ("pieces", "code", "complaint"),
    [
        ([b"+PONG\r\n"], ExitCode.ALL_DONE, ""),
        ([b"-UPSTREAM no connection\r\n"], ExitCode.UNREACHABLE, "UPSTREAM no connection"),
        ([b"-NOAUTH Authentication required.\r\n"], ExitCode.UNREACHABLE, "NOAUTH"),
        ([], ExitCode.UNREACHABLE, "it closed the connection"),
    ],
)
def test_only_a_pong_is_well(
    pieces: list[bytes],
    code: ExitCode,
    complaint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = str(tmp_path / "s")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    monkeypatch.setenv("NEARHIT_LISTEN", f"unix://{path}")
    monkeypatch.delenv("PORT", raising=False)
    with answering(listener, *pieces):
        assert main(["ping"]) == code

    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == (1 if complaint else 0)


def test_where_nobody_listens_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="refused"):
        answer_of(Tcp(HOST, free_port()))
    with pytest.raises(FileNotFoundError):
        answer_of(Unix(str(tmp_path / "none")))


def test_an_address_with_tls_is_asked_with_tls(tmp_path: Path) -> None:
    folder = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    plain = socket.create_server((HOST, 0))
    port = plain.getsockname()[1]
    with answering(context.wrap_socket(plain, server_side=True), b"+PONG\r\n") as asked:
        assert answer_of(Tcp(HOST, port), tls=True) == "+PONG"
    assert asked == [b"PING\r\n"]


def test_where_balancers_are_expected_it_speaks_for_itself() -> None:
    listener = socket.create_server((HOST, 0))
    with answering(listener, b"+PONG\r\n") as asked:
        assert answer_of(Tcp(HOST, listener.getsockname()[1]), prefaced=True) == "+PONG"
    assert asked[0].startswith(LOCAL)
