"""A request as people are told of it: keys, and never a value."""

from __future__ import annotations

import pytest
from nearhit.commands import COMMANDS
from nearhit.proxy.resp.requests import encode
from nearhit.proxy.session.telling import KEYS_MOST, WORDS_MOST, told, words_in
from nearhit.proxy.table.table import snapshot

TABLE = snapshot()
OURS = {spec.name: spec for spec in COMMANDS}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"PING", "PING"),
        (b"GET k", "GET k"),
        (b"set k secret EX 5", "set k ... (3 more arguments)"),
        (b"MSET a secret b secret", "MSET a b ... (2 more arguments)"),
        (b"AUTH user secret", "AUTH ... (2 more arguments)"),
        (b"CONFIG SET requirepass secret", "CONFIG SET ... (2 more arguments)"),
        (b"EVAL secret 1 k", "EVAL ... (3 more arguments)"),
        (b"UNHEARD secret", "UNHEARD ... (1 more argument)"),
        (b"OBJECT ENCODING k", "OBJECT ENCODING k"),
        (b"GETORSET k secret", "GETORSET k ... (1 more argument)"),
        (b"LOCK ACQUIRE r TOKEN secret", "LOCK ACQUIRE r ... (2 more arguments)"),
        (b"STATS SLOWLOG 3", "STATS SLOWLOG ... (1 more argument)"),
        (b"GET", "GET"),
        (b"", "?"),
    ],
)
def test_a_request_in_one_line(line: bytes, text: str) -> None:
    assert told(line.split(), TABLE, OURS) == text


def test_long_words_and_many_keys_are_shortened() -> None:
    assert told([b"GET", b"k" * 70], TABLE, OURS) == f"GET {'k' * 64}... (6 more bytes)"

    many = told([b"MGET", *(b"k%d" % n for n in range(20))], TABLE, OURS)

    assert many.endswith("k7 ... (12 more arguments)")
    assert many.count("k") == KEYS_MOST


def test_bytes_that_are_no_text_are_escaped() -> None:
    assert told([b"GET", b"\xff"], TABLE, OURS) == r"GET \xff"


@pytest.mark.parametrize(
    ("data", "skip", "words"),
    [
        (encode([b"GET", b"k"]), 0, [b"GET", b"k"]),
        (encode([b"GET", b"a"]) + encode([b"GET", b"b"]), 1, [b"GET", b"b"]),
        (encode([b"GET", b"a"]), 1, []),
        (encode([b"GET", b"a"]), 2, []),
        (encode([b"SET", b"key", b"value"])[:-5], 0, [b"SET", b"key", b"va"]),
        (encode([b"SET", b"key", b"value"])[:16], 0, [b"SET"]),
        (b"*3\r\n$x\r\n", 0, []),
        (b"*3", 0, []),
        (b"GET  k\r\nGET l\r\n", 0, [b"GET", b"k"]),
    ],
)
def test_the_words_are_read_as_far_as_they_are_there(
    data: bytes, skip: int, words: list[bytes]
) -> None:
    assert words_in(data, skip) == words


def test_no_more_words_are_read_of_a_beginning_than_are_needed() -> None:
    assert len(words_in(encode([b"DEL", *[b"k"] * 200])[:-2])) == WORDS_MOST
