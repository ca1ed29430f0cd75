"""Where the upstream is, how its TLS is set up, and how often it is tried."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from nearhit.proxy.errors import StartError
from nearhit.proxy.settings.address import AddressMap, Upstream
from nearhit.proxy.upstream.dial import ATTEMPTS, DELAY_DOWN, Dial, Retry, keep_alive
from nearhit.proxy.upstream.tls import tls_of
from nearhit.proxy.upstream.tls_files import renew


def dial(url: str) -> Dial:
    return Dial(Upstream.parse(url), Retry(3))


def tls(options: str) -> ssl.SSLContext:
    files = dial(f"rediss://h/?{options}").tls
    assert files is not None
    return files.context


# --- The retry rule


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 0.05), (2, 0.1), (10, 0.5), (19, 0.95), (20, 2.0), (99, 2.0)]
)
def test_in_production_twenty_attempts_grow_by_50_ms_then_2_s(attempt: int, seconds: float) -> None:
    assert Retry(ATTEMPTS["production"]).delay(attempt) == pytest.approx(seconds)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 0.05), (2, 0.1), (3, 2.0), (4, 2.0)])
def test_in_development_three_attempts_then_2_s(attempt: int, seconds: float) -> None:
    assert Retry(ATTEMPTS["development"]).delay(attempt) == pytest.approx(seconds)


def test_no_delay_is_longer_than_that_of_a_server_that_is_down() -> None:
    assert max(Retry(1000).delay(attempt) for attempt in range(1, 1100)) == DELAY_DOWN


# --- Addresses


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h:7000/3", "h:7000"),
        ("redis://h", "h:6379"),
        ("redis://u:p@[::1]:7000", "::1:7000"),
        ("rediss://h:1", "h:1"),
        ("unix:///run/r.sock?db=2", "/run/r.sock"),
    ],
)
def test_an_address_is_where_the_url_leads(url: str, address: str) -> None:
    assert dial(url).address == address
    assert repr(dial(url)) == f"<Dial {address}>"


def test_no_secret_is_shown() -> None:
    assert "sesame" not in repr(dial("redis://u:sesame@h"))


# --- TLS


def test_only_rediss_is_encrypted() -> None:
    assert dial("redis://h").tls is None
    assert dial("unix:///s").tls is None
    assert dial("rediss://h").tls is not None


@pytest.mark.parametrize(
    ("options", "verify", "host"),
    [
        ("", ssl.CERT_REQUIRED, True),
        ("ssl_cert_reqs=required", ssl.CERT_REQUIRED, True),
        ("ssl_cert_reqs=optional", ssl.CERT_OPTIONAL, True),
        ("ssl_cert_reqs=none", ssl.CERT_NONE, False),
        ("ssl_cert_reqs=NONE", ssl.CERT_NONE, False),
        ("ssl_check_hostname=false", ssl.CERT_REQUIRED, False),
        ("ssl_check_hostname=0", ssl.CERT_REQUIRED, False),
        ("ssl_check_hostname=true", ssl.CERT_REQUIRED, True),
    ],
)
def test_the_options_of_the_url_set_the_checks(
    options: str, verify: ssl.VerifyMode, host: bool
) -> None:
    context = tls(options)

    assert context.verify_mode is verify
    assert context.check_hostname is host


def test_a_file_that_cannot_be_used_is_an_error_at_start(tmp_path: Path) -> None:
    # What else there may be: test_tls.py.
    with pytest.raises(StartError, match="ssl_ca_certs: cannot use"):
        tls(f"ssl_ca_certs={tmp_path}/none.pem")


# --- Connecting


class Loop:
    """An event loop that only notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.contexts: list[object] = []

    async def create_unix_connection(
        self, protocol: object, path: str
    ) -> tuple[asyncio.BaseTransport, None]:
        self.asked.append((path,))
        return asyncio.Transport(), None

    async def create_connection(
        self,
        protocol: object,
        host: str,
        port: int,
        *,
        ssl: object,
        server_hostname: str | None,
        ssl_handshake_timeout: float | None,
    ) -> tuple[asyncio.BaseTransport, None]:
        self.asked.append((host, port, ssl is not None, server_hostname))
        self.contexts.append(ssl)
        return asyncio.Transport(), None


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("unix:///run/r.sock", ("/run/r.sock",)),
        ("redis://h:7000", ("h", 7000, False, None)),
        ("rediss://h:7000", ("h", 7000, True, "h")),
    ],
)
async def test_a_connection_is_opened_as_the_url_says(url: str, asked: tuple[object, ...]) -> None:
    loop = Loop()

    await dial(url).open(loop, asyncio.Protocol)  # type: ignore[arg-type]  # as much as is asked

    assert loop.asked == [asked]


async def test_what_tls_needs_is_taken_anew_for_each_connection() -> None:
    loop, files = Loop(), tls_of(Upstream.parse("rediss://h"))
    assert files is not None
    first = files.context
    two = [Dial(Upstream.parse(f"rediss://{host}"), Retry(3), tls=files) for host in "ab"]

    await two[0].open(loop, asyncio.Protocol)  # type: ignore[arg-type]  # as above
    renew([files])
    await two[0].open(loop, asyncio.Protocol)  # type: ignore[arg-type]  # as above
    await two[1].open(loop, asyncio.Protocol)  # type: ignore[arg-type]  # as above

    assert loop.contexts[0] is first
    assert loop.contexts[1] is loop.contexts[2] is files.context is not first


async def test_an_announced_address_is_dialled_where_the_map_says() -> None:
    loop = Loop()
    upstream = replace(Upstream.parse("rediss://h:7000"), address_map=AddressMap.parse("h=out"))

    await Dial(upstream, Retry(3)).open(loop, asyncio.Protocol)  # type: ignore[arg-type]  # as above

    assert loop.asked == [("out", 7000, True, "out")]


class Stuck(Loop):
    """One whose connections never stand."""

    async def create_unix_connection(
        self, protocol: object, path: str
    ) -> tuple[asyncio.BaseTransport, None]:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_connection_that_does_not_come_in_time_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nearhit.proxy.upstream.dial.CONNECT_TIMEOUT", 0.01)

    with pytest.raises(TimeoutError, match=r"^no connection within 0.01 s$"):
        await dial("unix:///s").open(Stuck(), asyncio.Protocol)  # type: ignore[arg-type]


class Transport(asyncio.Transport):
    def __init__(self, sock: socket.socket | None) -> None:
        super().__init__({"socket": sock})


def test_the_kernel_is_told_to_notice_a_peer_that_vanished() -> None:
    with socket.socket() as sock:
        keep_alive(Transport(sock))

        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


def test_a_unix_socket_needs_no_keep_alive() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        keep_alive(Transport(sock))

        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    keep_alive(Transport(None))


async def test_a_pause_ends_as_the_server_speaks_again() -> None:
    made = dial("redis://h")
    pause = asyncio.ensure_future(made.pause(60, made.moves))
    await asyncio.sleep(0.01)
    assert not pause.done()

    made.wake()

    await asyncio.wait_for(pause, 5)


async def test_a_pause_is_over_where_the_upstream_has_moved_meanwhile() -> None:
    made = dial("redis://h")

    await asyncio.wait_for(made.pause(60, made.moves - 1), 5)
