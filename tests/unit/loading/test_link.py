"""One connection to an HTTP server, over a transport by script; test_http.py has real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from nearhit.proxy.loading.http_errors import HttpError, Unanswered
from nearhit.proxy.loading.link import Link

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nvalue"


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closing = False
        self.reading = True

    def write(self, data: Any) -> None:
        self.written += data

    def abort(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Asked:
    """A link on which a request is."""

    def __init__(self) -> None:
        self.wire, self.link = Wire(), Link()
        self.link.connection_made(self.wire)
        self.head = self.begin(self.link.ask("GET", "/x", [("Host", "h")], None))

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return asyncio.ensure_future(work)

    async def hears(self, *parts: bytes) -> None:
        await asyncio.sleep(0)
        for part in parts:
            self.link.data_received(part)
            await asyncio.sleep(0)


@pytest.fixture
async def asked() -> Asked:
    return Asked()


async def test_it_asks_and_hears_and_is_ready_for_the_next(asked: Asked) -> None:
    await asked.hears(OK)

    assert asked.wire.written == b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
    assert (await asked.head).status_code == 200
    assert [await asked.link.piece(), await asked.link.piece()] == [b"value", None]
    assert asked.link.ready()
    assert repr(asked.link) == "<Link IDLE used=1>"


async def test_a_body_that_has_come_may_stay_unread(asked: Asked) -> None:
    await asked.hears(OK)
    await asked.head

    assert asked.link.ready()


@pytest.mark.parametrize(
    "heard",
    [OK[:-1], OK + b"more", b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
)  # fmt: skip
async def test_otherwise_it_is_ready_for_none(heard: bytes, asked: Asked) -> None:
    await asked.hears(heard)
    await asked.head

    assert not asked.link.ready()


async def test_who_is_not_answered_yet_is_ready_for_none(asked: Asked) -> None:
    await asked.hears()
    assert not asked.link.ready()

    asked.link.close()
    with pytest.raises(Unanswered):
        await asked.head


async def test_what_comes_unasked_ends_it(asked: Asked) -> None:
    await asked.hears(OK)
    await asked.head
    assert asked.link.ready()

    await asked.hears(b"HTTP/1.1 408 Request Timeout\r\n\r\n")

    assert not asked.link.is_open
    assert asked.wire.closing


async def test_a_reset_is_no_end_of_a_body_without_a_length(asked: Asked) -> None:
    await asked.hears(b"HTTP/1.1 200 OK\r\n\r\nval")
    await asked.head
    assert await asked.link.piece() == b"val"

    asked.link.connection_lost(ConnectionResetError())

    with pytest.raises(HttpError, match="broke off"):
        await asked.link.piece()


async def test_a_fin_is(asked: Asked) -> None:
    await asked.hears(b"HTTP/1.1 200 OK\r\n\r\nval")
    await asked.head
    asked.link.eof_received()
    asked.link.connection_lost(None)

    assert [await asked.link.piece(), await asked.link.piece()] == [b"val", None]


async def test_an_upgrade_that_nobody_asked_for_is_no_answer(asked: Asked) -> None:
    await asked.hears(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")

    with pytest.raises(HttpError):
        await asked.head


async def test_a_header_that_cannot_be_sent_is_not_sent() -> None:
    wire, link = Wire(), Link()
    link.connection_made(wire)

    with pytest.raises(ValueError, match="a header cannot be sent"):
        await link.ask("GET", "/", [("Host", "h"), ("X", "a\r\nb")], None)

    assert wire.written == b""
