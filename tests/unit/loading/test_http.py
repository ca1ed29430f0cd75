"""The HTTP client of the ``url`` loaders, against servers by script, and what is imported before
one is needed. test_url.py has the answers of another HTTP server than ours."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nearhit.proxy.loading import http as module
from nearhit.proxy.loading import link as link_module
from nearhit.proxy.loading.http import Http, rows_of
from nearhit.proxy.loading.http_errors import HttpError, TooLarge, Unanswered
from nearhit.proxy.loading.urls import Url

from tests.certificates import self_signed
from tests.servers import HOST, free_port

IMPORTED = """
import sys
import nearhit.proxy.process.server
print(*[name for name in ("aiohttp", "h11", "redis") if name in sys.modules])
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nvalue"
END = b""  # a word of a script: the server closes


class Server:
    """Answers each request, on whichever connection, with the next words of its script: bytes that
    it writes, and END where it closes."""

    def __init__(self, *script: list[bytes]) -> None:
        self.script = list(script)
        self.asked: list[bytes] = []
        self.connections = 0
        self.closed = asyncio.Event()  # by a client
        self.writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = Url.parse(f"http://{HOST}:{self.port}/x")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                self.asked.append(await reader.readuntil(b"\r\n\r\n"))
                for word in self.script.pop(0):
                    if word == END:
                        return
                    writer.write(word)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
        finally:
            writer.close()

    async def close(self) -> None:
        self._server.close()
        for writer in self.writers:
            writer.close()
        await self._server.wait_closed()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    made = Http()
    yield made
    await made.close()


async def get(
    http: Http, url: Url, headers: Mapping[str, str] | None = None, most: int = 1000
) -> tuple[int, bytes]:
    async with asyncio.timeout(10), http.request("GET", url, headers or {}) as response:
        return response.status, await response.read(most)


# --- Answers --------------------------------------------------------------------------------------

ANSWERS: list[tuple[bytes, int, bytes, bool]] = [
    (OK, 200, b"value", True),
    (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, 200, b"value", True),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b"", True),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nval\r\n2;x=y\r\nue\r\n0\r\n\r\n",
        200,
        b"value",
        True,
    ),
    (OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), 200, b"value", False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nvalue", 200, b"value", False),
    (b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", 404, b"", True),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "status", "body", "stays"), ANSWERS)
async def test_an_answer_is_read_and_its_connection_kept_where_it_may_be(
    answer: bytes, status: int, body: bytes, stays: bool, server: Server, http: Http
) -> None:
    server.script = [[answer]]

    assert await get(http, server.url) == (status, body)
    assert repr(http) == f"<Http idle={int(stays)}>"


async def test_a_body_without_a_length_ends_with_its_connection(server: Server, http: Http) -> None:
    server.script = [[b"HTTP/1.1 200 OK\r\n\r\nval", b"ue", END]]

    assert await get(http, server.url) == (200, b"value")


@settings(max_examples=20)
@given(st.lists(st.integers(0, len(ANSWERS[4][0])), max_size=5))
def test_it_is_the_same_however_its_bytes_come(cuts: list[int]) -> None:
    answer, status, body, _ = ANSWERS[4]
    at = [0, *sorted(cuts), len(answer)]
    words = [answer[a:b] for a, b in itertools.pairwise(at) if a < b]

    async def played() -> None:
        server, http = Server(words), Http()
        await server.start()
        assert await get(http, server.url) == (status, body)
        await http.close()
        await server.close()

    asyncio.run(played())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nvalue", END], "the answer broke off"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nval\r\n", END],
         "the answer broke off"),
        ([b"HTTP/1.1 200 O", END], "the answer broke off"),
        ([END], "the server closed the connection without an answer"),
        ([b"+PONG\r\n\r\n"], "the server's answer is not HTTP"),
        ([b"HTTP/1.1 200 OK\r\nX y\r\n\r\n"], "the server's answer is not HTTP"),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000], "the server's answer is not HTTP"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
         "the server's answer is not HTTP"),
        ([b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"],
         "the answer is compressed in a way that was not asked for"),
        ([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx"],
         "the answer is not compressed as it says"),
    ],
)  # fmt: skip
async def test_anything_else_is_an_error(
    words: list[bytes], why: str, server: Server, http: Http
) -> None:
    server.script = [words]

    with pytest.raises(HttpError) as caught:
        await get(http, server.url)

    assert str(caught.value) == why
    assert repr(http) == f"<Http idle={int('compressed' in why)}>"


@settings(max_examples=20)
@given(st.binary(max_size=80))
def test_garbage_is_an_answer_or_an_error_and_never_hangs(noise: bytes) -> None:
    async def played() -> None:
        server, http = Server([OK[:20] + noise, END]), Http()
        await server.start()
        with contextlib.suppress(HttpError, TooLarge):
            await get(http, server.url)
        await http.close()
        await server.close()

    asyncio.run(played())


async def test_a_large_body_is_not_read_to_its_end(server: Server, http: Http) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n"
    packed = gzip.compress(b"\0" * 1_000_000)
    bomb = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    server.script = [[head + b"\r\n" + b"x" * 2000], [bomb + packed]]

    for _ in range(2):
        with pytest.raises(TooLarge):
            await get(http, server.url)


async def test_a_body_that_nobody_asks_for_is_not_taken_in(
    server: Server, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "AHEAD_MAX", 1000)
    body = b"x" * 300_000
    server.script = [[b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body]]

    async with http.request("GET", server.url, {}) as response:
        async with asyncio.timeout(10):
            while not response._link._paused:
                await asyncio.sleep(0.001)
        assert await response.read(len(body)) == body
    assert repr(response) == "<Response 200 to GET>"


# --- Requests -------------------------------------------------------------------------------------


async def test_a_request_is_written_as_it_is_meant(server: Server, http: Http) -> None:
    server.script = [[OK]]

    await get(http, Url.parse(f"http://u:p@{HOST}:{server.port}/a%2Fb?c=%41"), {"X-Key": "ä"})

    assert server.asked[0].split(b"\r\n")[:-2] == [
        b"GET /a%2Fb?c=%41 HTTP/1.1",
        f"Host: {HOST}:{server.port}".encode(),
        b"Accept: */*",
        b"Accept-Encoding: gzip, deflate",
        b"User-Agent: nearhit",
        b"X-Key: \xc3\xa4",
        b"Authorization: Basic dTpw",
    ]


def test_what_a_loader_says_wins_in_any_case() -> None:
    given = {"host": "b", "user-Agent": "mine", "Content-length": "9"}

    rows = rows_of(Url.parse("http://a/"), given, b"body")

    assert rows == [
        ("host", "b"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "gzip, deflate"),
        ("user-Agent", "mine"),
        ("Content-Length", "4"),
    ]


@pytest.mark.parametrize("value", ["a\r\nB: c", "a\nb", "a\0b"])
async def test_no_header_smuggles_in_another(value: str, server: Server, http: Http) -> None:
    with pytest.raises(ValueError, match="a header cannot be sent"):
        await get(http, server.url, {"X": value})

    assert server.asked == []


# --- Connections ----------------------------------------------------------------------------------


async def test_one_connection_serves_one_request_after_the_other(
    server: Server, http: Http
) -> None:
    server.script = [[OK]] * 3

    for _ in range(3):
        assert await get(http, server.url) == (200, b"value")

    assert server.connections == 1


async def test_what_came_of_a_body_that_is_not_read_is_dropped(server: Server, http: Http) -> None:
    server.script = [[OK], [OK]]

    async with http.request("GET", server.url, {}):
        await asyncio.sleep(0)
    assert await get(http, server.url) == (200, b"value")

    assert server.connections == 1


@pytest.mark.parametrize("word", [END, b"unasked"])
async def test_an_idle_connection_that_ends_or_speaks_is_no_more(
    word: bytes, server: Server, http: Http
) -> None:
    server.script = [[OK], [OK]]
    await get(http, server.url)
    (link,) = http._idle
    writer = server.writers[0]
    writer.close() if word == END else writer.write(word)
    async with asyncio.timeout(10):
        while link.is_open:
            await asyncio.sleep(0.001)

    assert await get(http, server.url) == (200, b"value")
    assert server.connections == 2


async def test_a_get_on_one_that_the_server_gave_up_is_asked_again(
    server: Server, http: Http
) -> None:
    server.script = [[OK], [END], [OK]]
    await get(http, server.url)

    assert await get(http, server.url) == (200, b"value")
    assert (len(server.asked), server.connections) == (3, 2)


async def test_once_and_no_more_and_a_post_never(server: Server, http: Http) -> None:
    server.script = [[OK], [END], [END], [OK], [END]]
    await get(http, server.url)
    with pytest.raises(Unanswered):
        await get(http, server.url)

    await get(http, server.url)
    with pytest.raises(Unanswered):
        async with http.request("POST", server.url, {}, b"[]"):
            pass

    assert len(server.asked) == 5


async def test_idle_ones_are_closed_after_a_while_and_beyond_a_number(
    server: Server, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = [[OK]] * 2
    monkeypatch.setattr(module, "IDLE_MAX", 1)
    async with http.request("GET", server.url, {}) as first:
        assert await get(http, server.url) == (200, b"value")
        await first.read(1000)
    assert repr(http) == "<Http idle=1>"

    monkeypatch.setattr(module, "IDLE_S", 0)
    server.script = [[OK]]
    await get(http, server.url)
    async with asyncio.timeout(10):
        while repr(http) != "<Http idle=0>":
            await asyncio.sleep(0.001)


async def test_a_request_that_is_cancelled_closes_its_connection(
    server: Server, http: Http
) -> None:
    server.script = [[]]
    asking = asyncio.create_task(get(http, server.url))
    async with asyncio.timeout(10):
        while not server.asked:
            await asyncio.sleep(0.001)

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    async with asyncio.timeout(10):
        await server.closed.wait()
    assert repr(http) == "<Http idle=0>"


async def test_a_name_that_is_none_is_told(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*args: object, **kwargs: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)

    with pytest.raises(HttpError, match=r"^its name cannot be resolved$"):
        await get(http, Url.parse("http://nowhere.invalid/"))


async def test_of_several_addresses_the_first_that_answers_is_taken(
    server: Server, http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def two(host: str, *args: Any, **kwargs: Any) -> object:
        if host != "twice.example":
            return await real(host, *args, **kwargs)
        kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
        return [(*kind, (HOST, free_port())), (*kind, (HOST, server.port))]

    server.script = [[OK]]
    monkeypatch.setattr(loop, "getaddrinfo", two)

    assert await get(http, Url.parse("http://twice.example/")) == (200, b"value")


async def test_a_server_that_is_not_there_is_the_systems_error(http: Http) -> None:
    with pytest.raises(ConnectionRefusedError):
        await get(http, Url.parse(f"http://{HOST}:{free_port()}/"))


async def test_a_certificate_of_nobodys_is_refused(http: Http, tmp_path: Path) -> None:
    self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
        writer.close()

    server = await asyncio.start_server(served, HOST, 0, ssl=context)
    url = Url.parse(f"https://{HOST}:{server.sockets[0].getsockname()[1]}/")
    with pytest.raises(ssl.SSLCertVerificationError):
        await get(http, url)

    http._tls = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    assert await get(http, url) == (200, b"value")
    server.close()
    await http.close()


def test_a_start_without_such_loads_imports_no_client_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True, timeout=30
    )

    assert done.stdout == "\n"
