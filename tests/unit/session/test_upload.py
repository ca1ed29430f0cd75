"""Large requests: which are streamed, which gathered, and what is sent on of them."""

from __future__ import annotations

from typing import Any

import pytest
from nearhit.proxy.errors import ProtocolError, ProxyError
from nearhit.proxy.hot.sending import NONE_WRITTEN
from nearhit.proxy.hot.session import UPLOAD_AT
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.resp.routes import Route
from nearhit.proxy.session.upload import GATHER_MAX, Gather, Stream, Upload, first_words, plan
from nearhit.proxy.table.table import Ours, snapshot

PLAIN = snapshot()
VOIDS = snapshot(Ours(voids=True))
NEAR = snapshot(Ours(near=True))
LARGE = bytes(UPLOAD_AT)
SET = encode([b"SET", b"k", bytes(UPLOAD_AT + 1000)])[:-500]


class Lane:
    """A lane that keeps what was sent on, or why it was given up."""

    def __init__(self) -> None:
        self.sent = b""
        self.why: ProxyError | None = None

    def send_part(self, data: bytes) -> None:
        self.sent += data

    def give_up(self, why: ProxyError) -> None:
        self.why = why


@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
def test_what_belongs_to_the_request_is_sent_on_and_no_more(size: int) -> None:
    whole, lane = encode([b"SET", b"k", bytes(3000)]), Lane()
    to: Any = lane
    upload = Upload(b"..." + whole[:50], 3)
    assert not upload.whole
    assert repr(upload).startswith("<Upload canonical skip=")
    stream, pos = whole[50:] + b"*1\r\n$4\r\nPING\r\n", 0

    while not upload.whole:
        pos += upload.more(stream[pos : pos + size], to)

    assert lane.sent == whole[50:]
    assert pos == len(whole) - 50
    assert lane.why is None


def test_bytes_that_servers_frame_differently_end_it() -> None:
    lane = Lane()
    to: Any = lane
    upload = Upload(b"*3\r\n$3\r\nSET\r\n$10\r\n12345", 0)
    data = b"67890\r\n$1\r9\r\n"

    assert upload.more(data, to) == len(data)

    assert isinstance(lane.why, ProtocolError)
    assert not upload.canonical
    assert repr(upload).startswith("<Upload broken")
    assert lane.sent == b""


def test_a_beginning_that_servers_frame_differently_is_not_canonical() -> None:
    assert not Upload(b"*3\r\n$03\r\nSET\r\n", 0).canonical


CASES = [
    pytest.param(PLAIN, SET[:1000], Route.ODD, Gather(UPLOAD_AT), id="small, unread"),
    pytest.param(PLAIN, SET, Route.ODD, Stream(NONE_WRITTEN), id="unread"),
    pytest.param(PLAIN, SET, Route.SCRIPTED, Stream(NONE_WRITTEN), id="a script, unread"),
    pytest.param(VOIDS, SET, Route.SCRIPTED, Gather(GATHER_MAX), id="a script with keys to void"),
    pytest.param(NEAR, SET, Route.ODD, Gather(GATHER_MAX), id="unknown, with keys to forget"),
    pytest.param(NEAR, SET[:1000], Route.WRITE_ONE, Gather(UPLOAD_AT), id="small write"),
    pytest.param(NEAR, SET, Route.WRITE_ONE, Stream([b"k"]), id="write of one key"),
    pytest.param(VOIDS, SET, Route.WRITE, Stream([b"k"]), id="write of one key, to void"),
    pytest.param(NEAR, SET[:60], Route.CUSTOM, Gather(GATHER_MAX), id="to be read"),
    pytest.param(
        NEAR, encode([b"MSET", b"k", LARGE])[:-1], Route.WRITE, Gather(GATHER_MAX), id="many keys"
    ),
    pytest.param(
        NEAR, encode([b"SET", LARGE * 2])[:-500], Route.WRITE, Gather(GATHER_MAX), id="large key"
    ),
    pytest.param(PLAIN, b"SET k " + LARGE, Route.ODD, Gather(GATHER_MAX), id="inline"),
]


@pytest.mark.parametrize(("table", "data", "route", "todo"), CASES)
def test_what_is_to_be_done_with_a_request_that_is_not_whole(
    table: Any, data: bytes, route: Route, todo: Stream | Gather
) -> None:
    for pos in (0, 10):
        told = plan(table, bytes(pos) + data, pos, route, locked=False, holding=False)

        assert told == todo


def test_a_strangers_request_and_one_of_a_session_that_holds_something_are_gathered() -> None:
    assert plan(PLAIN, SET, 0, Route.ODD, locked=True, holding=False) == Gather(GATHER_MAX)
    assert plan(NEAR, SET, 0, Route.WRITE_ONE, locked=False, holding=True) == Gather(GATHER_MAX)


def test_past_the_bound_only_what_need_not_be_read_is_taken() -> None:
    data = encode([b"MSET", b"k", bytes(GATHER_MAX)])[:-1]

    assert plan(NEAR, data, 0, Route.WRITE, locked=False, holding=False) == Stream(None)
    assert plan(VOIDS, data, 0, Route.WRITE, locked=False, holding=False) is None
    assert plan(PLAIN, data, 0, Route.CUSTOM, locked=False, holding=False) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$9\r\n", (b"SET", b"k")),
        (b"*3\r\n$3\r\nSET\r\n$2\r\nk", (b"SET", None)),
        (b"*3\r\n$3\r\nSET\r\n$1", (b"", None)),
        (b"SET k v", (b"", None)),
    ],
)
def test_the_first_words_are_known_as_soon_as_they_are_there(
    data: bytes, words: tuple[bytes, bytes | None]
) -> None:
    assert first_words(data, 0) == words
    assert first_words(b"xx" + data, 2) == words
