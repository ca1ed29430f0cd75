"""Which `$` of an XREAD are a moment, and what is put in their place."""

from __future__ import annotations

import pytest
from nearhit.proxy.errors import UpstreamLost
from nearhit.proxy.session.moment import id_of, last_id, moments


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("XREAD BLOCK 0 STREAMS s $", {5: b"s"}),
        ("xread count 2 block 5 streams a b c $ 0-1 $", {9: b"a", 11: b"c"}),
        ("XREAD STREAMS $ 0", {}),
        ("XREAD BLOCK 0 STREAMS s", {}),
        ("XREAD BLOCK 0 STREAMS s $ $", {}),
        ("XREAD BLOCK 0", {}),
        ("XREAD BLOCK", {}),
        ("XREAD NOSUCH 0 STREAMS s $", {}),
        ("XREADGROUP GROUP g c BLOCK 0 STREAMS s $", {}),
        ("BLPOP $ 0", {}),
    ],
)
def test_where_a_moment_stands(text: str, places: dict[int, bytes]) -> None:
    assert moments(text.encode().split()) == places


def test_the_last_id_is_that_of_the_last_entry() -> None:
    assert last_id(b"s") == (b"XREVRANGE", b"s", b"+", b"-", b"COUNT", b"1")
    assert id_of(b"*1\r\n*2\r\n$3\r\n7-1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n") == b"7-1"
    assert id_of(b"*0\r\n") == b"0-0"


@pytest.mark.parametrize(
    "reply",
    [b"-NOPERM no\r\n", b"-WRONGTYPE no\r\n", b"+odd\r\n", b"*1\r\n", UpstreamLost("gone")],
)
def test_what_cannot_be_asked_stays_as_it_is(reply: bytes | UpstreamLost) -> None:
    assert id_of(reply) == b"$"
