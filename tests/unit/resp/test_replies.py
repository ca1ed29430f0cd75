"""Replies: worded for clients, and read where the proxy must understand them."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import OddReply, ServerError
from nearhit.proxy.resp.replies import (
    BULK,
    Value,
    bulk,
    error,
    integer,
    items,
    null,
    number,
    parsed,
    parsed_many,
    patch_id,
    reply,
    verbatim,
)


def test_replies_of_our_own_are_worded_as_the_protocol_wants() -> None:
    assert bulk(b"a\r\n") == b"$3\r\na\r\n\r\n"
    assert (null(2), null(3)) == (b"$-1\r\n", b"_\r\n")
    assert integer(-5) == b":-5\r\n"
    assert error("a\r\nb") == b"-ERR a  b\r\n"
    assert verbatim(b"ab", 2) == b"$2\r\nab\r\n"
    assert verbatim(b"ab", 3) == b"=6\r\ntxt:ab\r\n"


@pytest.mark.parametrize("head", [b"*4\r\n", b"%2\r\n"])
def test_the_id_in_hello_is_ours_and_nothing_else_changes(head: bytes) -> None:
    hello = head + b"$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:977\r\n$2\r\nid\r\n:1\r\n"

    assert patch_id(hello, 12) == hello.replace(b":977", b":12")
    assert patch_id(b"-ERR no\r\n", 12) == b"-ERR no\r\n"


@pytest.mark.parametrize(
    ("value", "resp2", "resp3"),
    [
        (None, b"$-1\r\n", b"_\r\n"),
        (b"a", b"$1\r\na\r\n", b"$1\r\na\r\n"),
        (True, b":1\r\n", b"#t\r\n"),
        (False, b":0\r\n", b"#f\r\n"),
        (7, b":7\r\n", b":7\r\n"),
        (1.5, b"$3\r\n1.5\r\n", b",1.5\r\n"),
        ("OK", b"+OK\r\n", b"+OK\r\n"),
        (ServerError(b"-ERR no"), b"-ERR no\r\n", b"-ERR no\r\n"),
        ({"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
        ([1, [None]], b"*2\r\n:1\r\n*1\r\n$-1\r\n", b"*2\r\n:1\r\n*1\r\n_\r\n"),
    ],
)
def test_a_value_is_worded_in_the_clients_protocol(
    value: Value, resp2: bytes, resp3: bytes
) -> None:
    assert (reply(value, 2), reply(value, 3)) == (resp2, resp3)


def test_a_whole_reply_is_read_as_a_value() -> None:
    assert parsed(b"*3\r\n$1\r\na\r\n:5\r\n$-1\r\n") == [b"a", 5, None]
    assert parsed(b"xx:5\r\nyy", 2, 6) == 5


def test_an_error_is_a_value_with_the_line_of_the_server() -> None:
    alone, inside = parsed(b"-ERR \xc3\xa9\r\n"), parsed(b"*1\r\n-ERR a\r\n")

    assert isinstance(alone, ServerError)
    assert alone.line == b"-ERR \xc3\xa9\r\n"
    assert isinstance(inside, list)
    assert isinstance(inside[0], ServerError)


def test_many_replies_are_read_at_once() -> None:
    first, second, third = parsed_many(b"+OK\r\n-ERR a\r\n$1\r\nb\r\n", 3)

    assert (first, third) == (b"OK", b"b")
    assert isinstance(second, ServerError)


@pytest.mark.parametrize("data", [b"", b"$5\r\nab", b"*2\r\n:1\r\n", b"zz\r\n"])
def test_what_is_no_whole_reply_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a whole reply|Protocol error"):
        parsed(data)


ODD = [None, 5, b"v", "OK", [], [1], [1, 2, 3], [b"v", 1], [None, b"v"], [1, [b"v"]], {"a": 1}]


@pytest.mark.parametrize("value", ODD)
def test_an_array_of_another_shape_than_was_asked_for_is_an_odd_reply(value: Value) -> None:
    with pytest.raises(OddReply, match=r"^UPSTREAM the server's answer to a script makes no sense"):
        items(value, "a script", int, bytes)


def test_an_array_of_the_shape_that_was_asked_for_gives_its_items() -> None:
    assert items([1, None], "a script", int, BULK) == [1, None]
    assert items([b"x", b"v"], "a script", bytes, BULK) == [b"x", b"v"]


def test_only_an_integer_is_a_number() -> None:
    assert number(3, "a script") == 3
    for value in (None, b"3", "OK", [3]):
        with pytest.raises(OddReply):
            number(value, "a script")
