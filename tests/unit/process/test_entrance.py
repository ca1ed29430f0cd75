"""Clients come in by TLS, or are turned away: in time, within bounds, with a word."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from nearhit.proxy.cli.health import LOCAL
from nearhit.proxy.errors import NOT_TRUSTED, PLAIN_AT_TLS
from nearhit.proxy.process import entrance as module
from nearhit.proxy.process.certificate import Certificate
from nearhit.proxy.process.entrance import HTTP_AT_TLS, Entrance, prefaced, shown_peer
from nearhit.proxy.process.preface import Origin
from nearhit.proxy.settings.trusted import Trusted

from tests.certificates import self_signed
from tests.servers import HOST


class Echo(asyncio.Protocol):
    """Says back what it hears."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Full(socket.socket):
    """A listening socket without a descriptor for the first client."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__()
        self.bind(address)
        self.listen()
        self.tried = False

    def accept(self) -> tuple[socket.socket, object]:
        if not self.tried:
            self.tried = True
            raise OSError(24, "Too many open files")
        return super().accept()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def entrance(files: Path) -> AsyncIterator[tuple[Entrance, int]]:
    """One, and its port."""
    made = Entrance(Echo, Certificate(f"{files}/cert.pem", f"{files}/key.pem"))
    sock = socket.create_server((HOST, 0))
    made.listen(sock)
    yield made, sock.getsockname()[1]
    made.close()
    await until(lambda: "entering=0" in repr(made))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def echoed(port: int, files: Path) -> bytes:
    """What a client with TLS hears of a word."""
    trust = ssl.create_default_context(cafile=files / "cert.pem")
    reader, writer = await asyncio.open_connection(HOST, port, ssl=trust)
    writer.write(b"word")
    heard = await reader.readexactly(4)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return heard


async def test_a_client_with_tls_comes_in(entrance: tuple[Entrance, int], files: Path) -> None:
    made, port = entrance

    assert await echoed(port, files) == b"word"
    assert repr(made) == "<Entrance listening=1 entering=0>"


async def test_many_come_in_at_once(entrance: tuple[Entrance, int], files: Path) -> None:
    _, port = entrance

    heard = await asyncio.gather(*(echoed(port, files) for _ in range(40)))

    assert heard == [b"word"] * 40


async def test_plain_bytes_are_told_and_logged_now_and_then(
    entrance: tuple[Entrance, int], caplog: pytest.LogCaptureFixture
) -> None:
    made, port = entrance

    with caplog.at_level(logging.INFO):
        for _ in range(3):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"PING\r\n")
            assert await reader.read() == PLAIN_AT_TLS
            writer.close()

    assert [one.getMessage() for one in caplog.records] == ["no TLS"]
    await until(lambda: "entering=0" in repr(made))


async def test_a_handshake_that_is_none_is_closed_and_logged(
    entrance: tuple[Entrance, int], caplog: pytest.LogCaptureFixture
) -> None:
    made, port = entrance

    with caplog.at_level(logging.INFO, module.log.name):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"\x16garbage garbage garbage")
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()
        await until(lambda: "entering=0" in repr(made))

    assert [one.getMessage() for one in caplog.records] == ["handshake failed"]


async def test_who_leaves_at_once_is_forgotten(entrance: tuple[Entrance, int]) -> None:
    made, port = entrance
    _, writer = await asyncio.open_connection(HOST, port)
    await until(lambda: "entering=1" in repr(made))

    writer.close()

    await until(lambda: "entering=0" in repr(made))


@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01"], ids=["silent", "half a handshake"])
async def test_who_takes_too_long_is_closed(
    entrance: tuple[Entrance, int], monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    _, port = entrance
    monkeypatch.setattr(module, "ENTER_S", 0.05)
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(begin)

    async with asyncio.timeout(5):
        with contextlib.suppress(OSError):
            assert await reader.read() == b""

    writer.close()


@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01"], ids=["silent", "half a handshake"])
async def test_of_too_many_the_oldest_is_closed_and_a_new_one_comes_in(
    entrance: tuple[Entrance, int], files: Path, monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    made, port = entrance
    monkeypatch.setattr(module, "ENTERING_MAX", 3)
    silent = []
    for count in range(1, 4):
        silent.append(await asyncio.open_connection(HOST, port))
        silent[-1][1].write(begin)
        await until(lambda count=count: f"entering={count}" in repr(made))  # type: ignore[misc]

    assert await echoed(port, files) == b"word"

    with contextlib.suppress(OSError):
        async with asyncio.timeout(5):
            assert await silent[0][0].read() == b""
    for _, writer in silent:
        writer.close()


async def test_without_descriptors_it_waits_and_goes_on(
    files: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "NO_FILES_S", 0.01)
    made = Entrance(Echo, Certificate(f"{files}/cert.pem", f"{files}/key.pem"))
    sock = Full((HOST, 0))
    made.listen(sock)

    with caplog.at_level(logging.INFO):
        assert await echoed(sock.getsockname()[1], files) == b"word"

    made.close()
    assert [one.getMessage() for one in caplog.records] == ["cannot accept"]


def test_who_speaks_http_is_answered_so() -> None:
    head, _, body = HTTP_AT_TLS.partition(b"\r\n\r\n")

    assert b"Content-Length: %d\r\n" % len(body) in head + b"\r\n"


def test_a_peer_that_is_gone_has_no_address() -> None:
    with socket.socket() as sock:
        assert shown_peer(sock) == "unknown"


def test_a_peer_is_shown_with_its_port() -> None:
    with (
        socket.create_server((HOST, 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as peer,
    ):
        assert shown_peer(peer) == f"{HOST}:{client.getsockname()[1]}"


# --- Load balancers

HEADER = b"PROXY TCP4 203.0.113.7 198.51.100.1 5000 6380\r\n"


class Told(Echo):
    """Says first whose connection it is."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(f"{self.origin.peer} ".encode())


@contextlib.asynccontextmanager
async def behind(trusted: str, files: Path | None = None) -> AsyncIterator[tuple[Entrance, int]]:
    """An entrance for balancers, with TLS or without; its port."""
    certificate = Certificate(f"{files}/cert.pem", f"{files}/key.pem") if files else None
    made = Entrance(Told, certificate, NOT_TRUSTED, Trusted.parse(trusted))
    sock = socket.create_server((HOST, 0))
    made.listen(sock)
    yield made, sock.getsockname()[1]
    made.close()
    await until(lambda: "entering=0" in repr(made))


async def said(port: int, *pieces: bytes) -> bytes:
    """What is answered to the pieces, until it ends or is enough."""
    reader, writer = await asyncio.open_connection(HOST, port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        heard = await reader.read(200)
        while heard and not heard.endswith((b"word", b"\n")):
            more = await reader.read(200)
            heard += more
            if not more:
                break
    writer.close()
    return heard


async def test_a_balancer_says_whose_connection_it_is_and_not_a_byte_behind_is_lost() -> None:
    async with behind(HOST) as (_, port):
        assert await said(port, HEADER + b"word") == b"('203.0.113.7', 5000) word"
        assert await said(port, HEADER, b"word") == b"('203.0.113.7', 5000) word"
        bytewise = [HEADER[at : at + 1] for at in range(len(HEADER))]
        assert await said(port, *bytewise, b"word") == b"('203.0.113.7', 5000) word"
        assert await said(port, LOCAL, b"word") == b"None word"
        assert await said(port, LOCAL[:14], LOCAL[14:] + b"word") == b"None word"


async def test_the_header_comes_before_tls(files: Path) -> None:
    trust = ssl.create_default_context(cafile=files / "cert.pem")
    async with behind(HOST, files) as (_, port):
        loop = asyncio.get_running_loop()

        def ask() -> bytes:
            with socket.create_connection((HOST, port), 5) as plain:
                plain.sendall(HEADER)
                with trust.wrap_socket(plain, server_hostname=HOST) as link:
                    link.sendall(b"word")
                    heard = b""
                    while not heard.endswith(b"word"):
                        heard += link.recv(100)
                    return heard

        assert await loop.run_in_executor(None, ask) == b"('203.0.113.7', 5000) word"


async def test_others_than_balancers_are_told_and_closed(caplog: pytest.LogCaptureFixture) -> None:
    async with behind("10.0.0.0/8,unix") as (_, port):
        assert await said(port, HEADER + b"word") == NOT_TRUSTED

    assert [one.getMessage() for one in caplog.records] == ["not a trusted proxy"]


async def test_a_balancer_without_a_header_is_closed_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with behind(HOST) as (_, port):
        with contextlib.suppress(OSError):
            assert await said(port, b"PING\r\n") == b""

    assert [one.getMessage() for one in caplog.records] == ["no PROXY header"]


async def test_one_that_only_looks_is_nothing_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    async with behind(HOST) as (made, port):
        _, writer = await asyncio.open_connection(HOST, port)
        await until(lambda: "entering=1" in repr(made))
        writer.close()
        await until(lambda: "entering=0" in repr(made))

    assert caplog.records == []


async def test_a_header_that_takes_too_long_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "ENTER_S", 0.05)
    async with behind(HOST) as (_, port):
        with contextlib.suppress(OSError):
            assert await said(port, HEADER[:10]) == b""

    assert [one.getMessage() for one in caplog.records] == ["no PROXY header"]


async def test_who_may_connect_to_a_unix_socket_may_speak_for_others(tmp_path: Path) -> None:
    for trusted, heard in (("unix", b"('203.0.113.7', 5000) word"), (HOST, NOT_TRUSTED)):
        made = Entrance(Told, None, NOT_TRUSTED, Trusted.parse(trusted))
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(tmp_path / trusted))
        sock.listen()
        made.listen(sock)
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / trusted))
        writer.write(HEADER + b"word")
        async with asyncio.timeout(5):
            assert await reader.readexactly(len(heard)) == heard
        writer.close()
        made.close()
        assert prefaced(sock, Trusted.parse("unix"))
        assert not prefaced(sock, Trusted.parse(HOST))
        await until(lambda: "entering=0" in repr(made))  # noqa: B023
