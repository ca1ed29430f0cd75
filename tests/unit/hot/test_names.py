"""Which commands a client has sent: only the first of each is unknown."""

from __future__ import annotations

from nearhit.proxy.hot.names import NAMES_MAX, Names
from nearhit.proxy.resp.requests import encode


def test_only_the_first_of_a_command_is_unknown() -> None:
    names = Names()
    seen = [b"GET", b"GET", b"LRANGE", b"GET", b"LRANGE"]

    assert [names.unknown(encode([name, b"k"]), 0) for name in seen] == [
        True, False, True, False, False,
    ]  # fmt: skip


def test_how_many_words_a_request_has_makes_no_difference() -> None:
    names = Names()
    names.unknown(encode([b"MGET", b"a"]), 0)

    assert not names.unknown(encode([b"MGET", *[b"a"] * 200]), 0)


def test_it_looks_at_the_place_that_it_is_told() -> None:
    names = Names()
    names.unknown(encode([b"GET", b"a"]), 0)
    data = encode([b"GET", b"a"]) + encode([b"HGETALL", b"a"])

    assert names.unknown(data, len(encode([b"GET", b"a"])))


def test_bytes_that_are_no_request_are_looked_at_too() -> None:
    names = Names()

    assert names.unknown(b"DBSIZE  some\r\n", 0)
    assert not names.unknown(b"DBSIZE  some\r\n", 0)
    names.unknown(b"P", 0)  # nothing is where a name would be, and no harm


def test_invented_names_are_forgotten() -> None:
    names = Names()
    for number in range(10 * NAMES_MAX):
        names.unknown(encode([b"X%d" % number]), 0)

    assert len(names.known) <= NAMES_MAX
    assert repr(names) == f"<Names {len(names.known)}>"
