"""One client, over a transport by script: what it is answered, in which pieces its bytes come."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random
import re
import socket
from collections.abc import AsyncIterator
from typing import Any, cast

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nearhit.proxy.http import connection as http_connection
from nearhit.proxy.http.answers import answer, failure
from nearhit.proxy.http.connection import Connection
from nearhit.proxy.http.messages import BodyTooLarge, Request, Response

from tests.unit.http.serving import Proxy, Raw, serving

HOST = "Host: localhost\r\n"


class Wire(asyncio.Transport):
    """A transport by script."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)})
        self.written = bytearray()
        self.closing = False
        self.ended = False
        self.reading = True
        self.unsent = 0
        self.protocol: Connection | None = None

    def write(self, data: Any) -> None:
        self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            assert self.protocol is not None
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Scene:
    """A connection whose handler tells the request, and its body where it is a POST."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.open = set[Connection]()
        self.handled: list[str] = []
        self.gate: asyncio.Event | None = None
        self.most = 1000
        self.connection = self.wire.protocol = Connection(self.handle, self.open)
        self.connection.connection_made(self.wire)

    async def handle(self, request: Request) -> Response:
        self.handled.append(f"{request.method} {request.raw_path}")
        if self.gate is not None:
            await self.gate.wait()
        try:
            body = await request.read(self.most) if request.method == "POST" else b""
        except BodyTooLarge:
            return failure(413, "large")
        except ConnectionError as error:
            return failure(400, str(error))
        return answer(200, {"path": request.raw_path, "body": body.decode()})

    async def send(self, text: str | bytes) -> None:
        if not self.wire.closing:
            data = text.encode("latin-1") if isinstance(text, str) else text
            self.connection.data_received(data)
        await settled()

    def answers(self) -> list[tuple[int, object]]:
        """What is read of the answers by an h11 of the client's side, which is strict."""
        return answers_in(bytes(self.wire.written))

    async def end(self) -> None:
        if self.connection.task is not None:
            self.connection.task.cancel()
        self.connection.abort()
        await settled()
        assert not self.open
        assert self.connection.task is None or self.connection.task.done()


def answers_in(data: bytes) -> list[tuple[int, object]]:
    found: list[tuple[int, object]] = []
    for part in re.split(rb"(?=HTTP/1\.[01] \d)", data)[1:]:
        head, _, body = part.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        found.append((status, json.loads(body) if body else None))
    return found


async def settled() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    await made.end()


def get(path: str, *headers: str, version: str = "1.1") -> str:
    return f"GET {path} HTTP/{version}\r\n{HOST}" + "".join(f"{h}\r\n" for h in headers) + "\r\n"


def post(path: str, body: str) -> str:
    return f"POST {path} HTTP/1.1\r\n{HOST}Content-Length: {len(body)}\r\n\r\n{body}"


def chunked(path: str, *pieces: str) -> str:
    body = "".join(f"{len(piece):x}\r\n{piece}\r\n" for piece in pieces)
    return f"POST {path} HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n"


def ok(path: str, body: str = "") -> tuple[int, object]:
    return 200, {"path": path, "body": body}


# --- Requests -------------------------------------------------------------------------------------

STREAM = get("/a") + post("/b", "body") + chunked("/c", "some", "more") + "\r\n" + get("/d", "X: y")
ANSWERS = [ok("/a"), ok("/b", "body"), ok("/c", "somemore"), ok("/d")]


@settings(max_examples=50)
@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_pipelined_requests_are_answered_in_order_however_their_bytes_come(cuts: list[int]) -> None:
    async def played() -> None:
        scene = Scene()
        at = [0, *sorted(cuts), len(STREAM)]
        for begin, end in itertools.pairwise(at):
            await scene.send(STREAM[begin:end])
        for _ in range(4):
            await settled()
        assert scene.answers() == ANSWERS
        await scene.end()

    asyncio.run(played())


async def test_one_byte_after_the_other_is_the_same(scene: Scene) -> None:
    for sign in STREAM:
        await scene.send(sign)

    assert scene.answers() == ANSWERS
    assert repr(scene.connection) == "<Connection HEAD buffered=0>"


@settings(max_examples=50)
@given(st.binary(max_size=60), st.integers(0, 2**32))
def test_garbage_neither_crashes_nor_hangs_it(noise: bytes, seed: int) -> None:
    """Anywhere in a stream of requests."""
    dice = random.Random(seed)
    at = dice.randrange(len(STREAM))
    data = STREAM[:at].encode() + noise + STREAM[at + dice.randrange(3) :].encode()

    async def played() -> None:
        scene = Scene()
        await scene.send(data)
        for _ in range(4):
            await settled()
        assert all(status in (200, 400, 413, 417) for status, _ in scene.answers())
        await scene.end()

    asyncio.run(played())


async def test_head_has_the_length_and_no_body(scene: Scene) -> None:
    await scene.send(get("/a").replace("GET", "HEAD"))

    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="HEAD", target="/a", headers=[("Host", "x")]))
    reader.receive_data(bytes(scene.wire.written))
    head = reader.next_event()
    assert isinstance(head, h11.Response)
    assert dict(head.headers)[b"content-length"] == b"26"
    assert reader.trailing_data == (b"", False)


@pytest.mark.parametrize(
    ("head", "said", "stays"),
    [
        (get("/"), None, True),
        (get("/", "Connection: Close"), "close", False),
        (get("/", "Connection: x, close"), "close", False),
        (get("/", version="1.0"), None, False),
        (get("/", "Connection: keep-alive", version="1.0"), "keep-alive", True),
    ],
)
async def test_a_connection_stays_as_its_client_asks(
    head: str, said: str | None, stays: bool, scene: Scene
) -> None:
    await scene.send(head)

    found = re.search(rb"\r\nConnection: (\S+)\r\n", bytes(scene.wire.written))
    assert (found and found[1].decode()) == said
    assert scene.wire.closing is not stays


async def test_a_client_that_asks_first_is_told_to_go_on(scene: Scene) -> None:
    head, _, body = post("/a", "body").partition("\r\n\r\n")
    await scene.send(f"{head}\r\nExpect: 100-Continue\r\n\r\n")

    assert scene.wire.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    await scene.send(body)
    assert scene.answers()[-1] == ok("/a", "body")


async def test_anything_else_that_is_expected_is_417(scene: Scene) -> None:
    await scene.send(get("/a", "Expect: tea"))

    assert [status for status, _ in scene.answers()] == [417]
    assert scene.handled == []


# --- Bodies ---------------------------------------------------------------------------------------


async def test_a_body_that_nobody_reads_is_dropped_before_the_next_request(scene: Scene) -> None:
    scene.most = 1
    await scene.send(post("/a", "body")[:-2])
    assert [status for status, _ in scene.answers()] == [413]

    await scene.send("dy" + get("/b"))

    assert scene.answers()[1:] == [ok("/b")]


async def test_one_that_does_not_end_is_cut_without_a_reset(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "LINGER_S", 0)
    scene.most = 1
    await scene.send(post("/a", "body")[:-2])

    async with asyncio.timeout(5):
        while not scene.wire.closing:
            await asyncio.sleep(0.001)
    assert scene.wire.ended


async def test_a_body_that_is_not_as_http_has_it_ends_the_connection(scene: Scene) -> None:
    await scene.send(chunked("/a", "some").replace("4\r\n", "zz\r\n"))

    assert [status for status, _ in scene.answers()] == [400]
    assert b"Connection: close" in scene.wire.written
    assert scene.wire.ended


async def test_what_is_far_ahead_is_not_read(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "AHEAD_MAX", 100)
    scene.gate = asyncio.Event()
    await scene.send(get("/a"))
    await scene.send(post("/b", "b" * 200) + get("/c"))
    assert not scene.wire.reading

    scene.gate.set()
    await settled()
    await settled()

    assert scene.wire.reading
    assert scene.answers() == [ok("/a"), ok("/b", "b" * 200), ok("/c")]


# --- Clients that leave or hang -------------------------------------------------------------------


async def test_a_client_that_leaves_does_not_end_its_handler(scene: Scene) -> None:
    scene.gate = asyncio.Event()
    await scene.send(get("/a"))
    scene.wire.close()
    await settled()
    task = scene.connection.task
    assert task is not None
    assert not task.done()

    scene.gate.set()
    await settled()

    assert task.done()
    assert scene.wire.written == b""


async def test_one_that_leaves_within_its_body_has_its_handler_told(scene: Scene) -> None:
    await scene.send(post("/a", "body")[:-2])
    scene.wire.close()
    await settled()

    assert scene.connection.task is not None
    assert scene.connection.task.done()


async def test_one_that_takes_nothing_of_its_answer_is_cut(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "WRITE_S", 0.01)
    scene.connection.pause_writing()
    scene.wire.unsent = 1000
    await scene.send(get("/a"))

    async with asyncio.timeout(5):
        while not scene.wire.closing:
            await asyncio.sleep(0.001)


async def test_one_that_takes_it_slowly_is_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = itertools.count(1_000_000_000, -1)
    monkeypatch.setattr(http_connection, "WRITE_S", 0)
    monkeypatch.setattr(scene.wire, "get_write_buffer_size", lambda: next(sizes))
    scene.connection.pause_writing()
    await scene.send(get("/a"))
    await asyncio.sleep(0.01)
    assert not scene.wire.closing

    scene.connection.resume_writing()
    await scene.send(get("/b"))

    assert scene.answers() == [ok("/a"), ok("/b")]


async def test_between_requests_it_waits_so_long(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "KEEPALIVE_S", 0)
    await scene.send(get("/a") + "GET /b")

    async with asyncio.timeout(5):
        while not scene.wire.closing:
            await asyncio.sleep(0.001)
    assert scene.answers() == [ok("/a")]


async def test_what_comes_behind_a_refusal_is_dropped(scene: Scene) -> None:
    await scene.send("PING\r\n\r\n")
    await scene.send(get("/a"))

    assert [status for status, _ in scene.answers()] == [400]
    assert scene.wire.ended
    assert not scene.wire.closing
    assert "LEAVING" in repr(scene.connection)


async def test_over_tls_which_ends_both_ways_at_once_it_is_closed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.wire, "can_write_eof", lambda: False)
    await scene.send("PING\r\n\r\n")

    assert scene.wire.closing


async def test_a_defect_is_logged_and_costs_its_connection_alone(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(request: Request) -> Response:
        raise RuntimeError("handlers do not raise")

    scene.connection._handler = broken
    await scene.send(get("/a"))

    assert scene.wire.closing
    assert [record.message for record in caplog.records] == ["an HTTP request failed"]


# --- The end --------------------------------------------------------------------------------------


async def test_at_the_end_who_is_idle_goes_and_who_is_busy_is_answered(scene: Scene) -> None:
    idle = Scene()
    scene.gate = asyncio.Event()
    await scene.send(get("/a") + get("/b"))

    for one in (idle, scene):
        one.connection.finish()
    await settled()
    assert idle.wire.closing
    assert not scene.wire.closing
    scene.gate.set()
    await settled()

    assert scene.answers() == [ok("/a")]
    assert b"Connection: close" in scene.wire.written
    assert scene.wire.ended
    await idle.end()


async def test_a_half_sent_upload_is_not_waited_for(scene: Scene) -> None:
    await scene.send(post("/a", "body")[:-2])

    scene.connection.finish()
    scene.connection.give_up_body()
    await settled()

    assert scene.answers() == [(400, {"error": "the body did not come whole"})]
    assert scene.wire.ended


async def test_stop_does_not_wait_for_a_half_sent_upload() -> None:
    async with asyncio.timeout(5), serving(Proxy()) as (served, port):
        one = await Raw.to(port)
        await one.begin("/api/cache/warm", 50)

        await served.stop(60)

        assert (await one.answer())[0] == 400
        assert await one.closed()
        await one.close()


async def test_an_answer_that_is_written_is_taken_before_stop_ends_it() -> None:
    proxy = Proxy()
    proxy.values[b"k"] = b"v" * 30_000_000
    async with asyncio.timeout(30), serving(proxy) as (served, port):
        one = await Raw.to(port)
        one.send(f"GET /api/cache/k HTTP/1.1\r\n{HOST}\r\n")
        await one.reader.readuntil(b"\r\n")

        stopping = asyncio.ensure_future(served.stop(20))
        rest = await one.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", rest)
        assert length is not None
        assert len(await one.reader.readexactly(int(length[1]))) > 30_000_000
        assert await one.closed()
        await stopping
        await one.close()


async def test_who_takes_nothing_holds_neither_stop_nor_a_place(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "WRITE_S", 0)
    aborted = asyncio.Event()
    monkeypatch.setattr(scene.wire, "close", lambda: None)  # what is unsent goes first
    monkeypatch.setattr(scene.wire, "abort", aborted.set)

    scene.connection.close()

    async with asyncio.timeout(5):
        await aborted.wait()
    monkeypatch.undo()


async def test_a_refusal_arrives_though_the_client_still_sends() -> None:
    """A reset would overtake it."""
    async with serving(Proxy()) as (_, port):
        one = await Raw.to(port)
        sock = cast(socket.socket, one.writer.get_extra_info("socket"))
        one.send("PING\r\n\r\n" + "x" * 300_000)
        assert (await one.answer())[0] == 400
        assert await one.closed()
        assert sock.fileno() >= 0
        await one.close()


async def test_a_bad_request_leaves_a_line_for_who_looks(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await scene.send("PING\r\n\r\n")

    assert [record.message for record in caplog.records if record.name.endswith("connection")] == [
        "bad HTTP request"
    ]
