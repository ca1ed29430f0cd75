"""Requests and answers apart from the wire."""

from __future__ import annotations

import pytest
from nearhit.proxy.headers import Headers
from nearhit.proxy.http.messages import Request, Response, plain_path, split_target


async def nothing(most: int) -> bytes:
    return b""


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a", "/a", ""),
        ("/a?b=c?d", "/a", "b=c?d"),
        ("/a%2Fb#c?d", "/a%2Fb", ""),
        ("//a", "//a", ""),
        ("/", "/", ""),
        ("http://host:1/a?b", "/a", "b"),
        ("HTTP://host", "/", ""),
        ("http://host?b", "/", "b"),
        ("*", "*", ""),
        ("host:1", "host:1", ""),
        ("ftp://host/a", "ftp://host/a", ""),
    ],
)
def test_a_target_is_a_path_and_a_query(target: str, path: str, query: str) -> None:
    assert split_target(target) == (path, query)


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("/a", "/a"),
        ("/%61", "/a"),
        ("/a%2Fb%2fc", "/a%2Fb%2fc"),
        ("/%25x", "/%25x"),
        ("/%zz", "/%zz"),
        ("/%ff", "/\udcff"),
    ],
)
def test_an_escaped_slash_is_no_slash(raw: str, plain: str) -> None:
    assert plain_path(raw) == plain
    assert Request("GET", raw, "", Headers(), nothing).path == plain


def test_a_request_tells_of_its_body() -> None:
    rows = [(b"content-type", b"Application/JSON; charset=x"), (b"content-length", b"12")]
    request = Request("POST", "/a", "", Headers(rows), nothing)

    assert (request.content_type, request.content_length) == ("application/json", 12)
    bare = Request("POST", "/a", "", Headers(), nothing)
    assert (bare.content_type, bare.content_length) == ("", None)
    assert repr(request) == "<Request POST /a>"


def test_an_answer_has_its_length_and_its_date() -> None:
    head = Response(200, b"abc", "text/plain", {"X": "y"}).head("1.0", "keep-alive", 0)

    assert head == (
        b"HTTP/1.0 200 OK\r\nX: y\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n"
        b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\n\r\n"
    )
