"""The head of a request: its end, and what is none."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nearhit.proxy.http.head import (
    HEAD_MAX,
    HEADER_MAX,
    HEADERS_MAX,
    LINE_MAX,
    BadHead,
    Head,
    take_head,
)

HEAD = b"GET /a HTTP/1.1\r\nHost: x\r\nA-b:\t \xc3\xa4\r\n\r\n"


def status_of(data: bytes) -> int:
    with pytest.raises(BadHead) as caught:
        take_head(bytearray(data))
    return caught.value.status


def test_a_head_is_taken_and_what_follows_stays() -> None:
    buffer = bytearray(b"\r\n\r\n" + HEAD + b"body")

    head = take_head(buffer)

    assert head is not None
    assert (head.method, head.target, head.version, head.raw) == ("GET", "/a", "1.1", HEAD)
    assert head.rows == [(b"host", b"x"), (b"a-b", b"\xc3\xa4")]
    assert not head.has_body
    assert buffer == b"body"


@pytest.mark.parametrize("row", [b"Content-Length: 0", b"transfer-Encoding: chunked"])
def test_it_tells_whether_a_body_follows(row: bytes) -> None:
    head = take_head(bytearray(b"POST / HTTP/1.0\r\n" + row + b"\r\n\r\n"))

    assert head is not None
    assert head.has_body


@given(st.integers(1, len(HEAD) - 1))
def test_it_is_waited_for_wherever_it_is_cut(at: int) -> None:
    buffer = bytearray(HEAD[:at])

    assert take_head(buffer) is None
    buffer += HEAD[at:]
    head = take_head(buffer)
    assert head is not None
    assert head.raw == HEAD


@given(st.lists(st.sampled_from([b"GET ", b"/", b" HTTP/1.1", b"\r\n", b"\n", b"A:", b"\0", b"x"])))
def test_any_bytes_are_taken_waited_for_or_refused(words: list[bytes]) -> None:
    buffer = bytearray(b"".join(words))

    head: Head | None = None
    with contextlib.suppress(BadHead):
        head = take_head(buffer)

    assert head is None or head.raw.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"*1\r\n$4\r\nPING\r\n",
        b"\x16\x03\x01\x02",
        b" ",
        b"get",
        b"GET\t",
        b"GET /a\r\n",
        b"GET /a HTTP/2.0\r\n",
        b"GET /a b HTTP/1.1\r\n",
        b"GET /\xff HTTP/1.1\r\n",
        b"GET /a HTTP/1.1\n",
        b"GET /a HTTP/1.1\nHost: x\n\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nA: x\r\n y\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nA\r\n\r\n",
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nA: \x01\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nA: x\ny\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n",
    ],
)
def test_what_cannot_become_a_request_is_refused_at_once(data: bytes) -> None:
    assert status_of(data) == 400


LINE = b"GET /%s HTTP/1.0\r\n"
NAMED = LINE % b"" + b"A: "


def test_a_line_has_a_bound_whether_it_is_whole_or_not() -> None:
    most = b"k" * (LINE_MAX - 1)

    assert take_head(bytearray(LINE % most + b"\r\n")) is not None
    assert status_of(LINE % (most + b"k") + b"\r\n") == 414
    assert status_of(b"GET /" + b"k" * (LINE_MAX + 64)) == 414


def test_so_has_a_header() -> None:
    assert take_head(bytearray(NAMED + b"k" * (HEADER_MAX - 1) + b"\r\n\r\n")) is not None
    assert status_of(NAMED + b"k" * HEADER_MAX + b"\r\n\r\n") == 431
    assert status_of(NAMED + b"k" * (2 * HEADER_MAX + 64)) == 431


def test_so_have_all_headers() -> None:
    row = b"A: " + b"k" * 8000 + b"\r\n"

    assert take_head(bytearray(LINE % b"" + b"A: b\r\n" * HEADERS_MAX + b"\r\n")) is not None
    assert status_of(LINE % b"" + b"A: b\r\n" * (HEADERS_MAX + 1) + b"\r\n") == 431
    assert status_of(LINE % b"" + row * (HEAD_MAX // len(row) + 1)) == 431
