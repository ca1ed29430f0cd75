"""Requests the slow way: as leniently as the servers read them, and as strictly."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nearhit.proxy.errors import ProtocolError
from nearhit.proxy.resp.inline import Dialect
from nearhit.proxy.resp.requests import (
    Hello,
    Partial,
    Request,
    encode,
    integer_of,
    is_name,
    parse_hello,
    parse_request,
)

REDIS, VALKEY = Dialect.REDIS, Dialect.VALKEY


def refused(data: bytes, locked: bool = False, dialect: Dialect = REDIS) -> bytes:
    """What is said behind ``-ERR Protocol error: ``."""
    with pytest.raises(ProtocolError) as caught:
        parse_request(data, 0, locked, dialect)
    assert caught.value.line.startswith(b"-ERR Protocol error: ")
    assert caught.value.line.endswith(b"\r\n")
    return caught.value.line[len(b"-ERR Protocol error: ") : -2]


# --- parse_request


@pytest.mark.parametrize(
    ("data", "args"),
    [
        (b"*1\r\n$4\r\nPING\r\n", [b"PING"]),
        (b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", [b"GET", b""]),
        (b"*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\r\n\r\n", [b"ECHO", b"\r\n\r\n"]),
        (b"*1\rX$4\rXPING\r\n", [b"PING"]),  # only the CR of a header counts
        (b"*0\r\n", []),
        (b"*-1\r\n", []),
        (b"*-99\r\n", []),
        (b"\r\n", []),
        (b"\n", []),
        (b"   \r\n", []),
        (b"PING\r\n", [b"PING"]),
        (b"PING\n", [b"PING"]),
        (b"SET  k\t'a b'\r\n", [b"SET", b"k", b"a b"]),
    ],
)
def test_a_request_is_read_as_redis_reads_it(data: bytes, args: list[bytes]) -> None:
    assert parse_request(data, 0) == Request(args, len(data))
    assert parse_request(b"xx" + data + b"*1\r\n", 2) == Request(args, len(data) + 2)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"*\r\n", b"invalid multibulk length"),
        (b"*a\r\n", b"invalid multibulk length"),
        (b"*01\r\n", b"invalid multibulk length"),
        (b"*+1\r\n", b"invalid multibulk length"),
        (b"*2147483648\r\n", b"invalid multibulk length"),
        (b"*99999999999999999999\r\n", b"invalid multibulk length"),
        (b"*1\r\n+4\r\nPING\r\n", b"expected '$', got '+'"),
        (b"*1\r\n\r4\r\nPING\r\n", b"expected '$', got ' '"),
        (b"*1\r\n\x004\r\nPING\r\n", b"expected '$', got ''"),
        (b"*1\r\n\xff4\r\nPING\r\n", b"expected '$', got '\xff'"),
        (b"*1\r\n$\r\n", b"invalid bulk length"),
        (b"*1\r\n$-1\r\n", b"invalid bulk length"),
        (b"*1\r\n$04\r\n", b"invalid bulk length"),
        (b"*1\r\n$536870913\r\n", b"invalid bulk length"),
        (b"*" + b"1" * 65537, b"too big mbulk count string"),
        (b"*1\r\n$" + b"1" * 65537, b"too big bulk count string"),
        (b"x" * 65537, b"too big inline request"),
        (b"'\r\n", b"unbalanced quotes in request"),
        (b'"a\r\n', b"unbalanced quotes in request"),
    ],
)
def test_a_broken_request_gets_the_words_of_redis(data: bytes, line: bytes) -> None:
    assert refused(data) == line


NUL = [b"DEL k\0junk\r\nPING\r\n", b"\0\r\n", b"PING \0\n"]
NUL_COUNTS = [b"*1\0\r\n$4\r\nPING\r\n", b"*1\r\n$4\0\r\nPING\r\n"]


@pytest.mark.parametrize("data", NUL + NUL_COUNTS)
def test_a_line_with_a_nul_in_it_never_ends(data: bytes) -> None:
    """As with strchr in Redis, and in Valkey for inline requests."""
    assert isinstance(parse_request(data, 0), Partial)
    assert b"too big" in refused(data + b"x" * 70000)


@pytest.mark.parametrize("data", NUL)
def test_so_it_is_with_valkey(data: bytes) -> None:
    assert isinstance(parse_request(data, 0, dialect=Dialect.VALKEY), Partial)


@pytest.mark.parametrize("data", NUL_COUNTS)
def test_a_count_with_a_nul_in_it_is_refused_by_valkey(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="invalid"):
        parse_request(data, 0, dialect=Dialect.VALKEY)


def test_a_nul_behind_the_line_is_none_of_it() -> None:
    assert parse_request(b"PING\r\n\0", 0) == Request([b"PING"], 6)


def test_a_long_inline_request_that_is_whole_is_taken() -> None:
    data = b"x" * 70000 + b"\r\n"

    assert parse_request(data, 0) == Request([b"x" * 70000], len(data))


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"*11\r\n", b"unauthenticated multibulk length"),
        (b"*1\r\n$16385\r\n", b"unauthenticated bulk length"),
    ],
)
def test_strangers_may_ask_for_less(data: bytes, line: bytes) -> None:
    assert refused(data, locked=True) == line
    assert isinstance(parse_request(data, 0), Partial)


def test_the_limits_for_strangers_are_inclusive() -> None:
    assert isinstance(parse_request(b"*10\r\n", 0, True), Partial)
    assert isinstance(parse_request(b"*1\r\n$16384\r\n", 0, True), Partial)


def test_only_valkey_wants_the_line_end_behind_a_bulk() -> None:
    data = b"*1\r\n$4\r\nPINGxx"

    assert parse_request(data, 0) == Request([b"PING"], len(data))
    assert refused(data, dialect=VALKEY) == b"invalid CRLF in request"


def test_a_huge_count_costs_nothing() -> None:
    assert isinstance(parse_request(b"*2147483647\r\n$4\r\nPING\r\n", 0), Partial)


def test_a_long_request_asks_for_all_the_words_to_come() -> None:
    # A word takes 6 bytes at least. Asking for one byte more would read all words again for each
    # read: an EVAL of a million words stopped the loop for minutes.
    words = encode([b"EVAL", *[b"a"] * 10000])[8:]
    data = b"*200001\r\n" + words

    answer = parse_request(data, 0)

    assert isinstance(answer, Partial)
    assert answer.need == len(data) + 6 * (190000 - 1)


# --- Numbers


@pytest.mark.parametrize(
    ("digits", "value"),
    [
        (b"0", 0),
        (b"7", 7),
        (b"-7", -7),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"9223372036854775808", None),
        (b"-9223372036854775809", None),
        (b"99999999999999999999", None),
        (b"", None),
        (b"-", None),
        (b"-0", None),
        (b"00", None),
        (b"01", None),
        (b"+1", None),
        (b" 1", None),
        (b"1 ", None),
        (b"1.0", None),
        (b"--1", None),
        ("\u0661".encode(), None),
    ],
)
def test_a_number_is_what_string2ll_takes_for_one(digits: bytes, value: int | None) -> None:
    assert integer_of(digits) == value


# --- Encoding


@given(args=st.lists(st.binary(max_size=30), min_size=1, max_size=6), behind=st.binary(max_size=9))
def test_what_is_encoded_is_read_back(args: list[bytes], behind: bytes) -> None:
    data = encode(args)

    for dialect in Dialect:
        assert parse_request(data + behind, 0, False, dialect) == Request(args, len(data))


# --- HELLO


@pytest.mark.parametrize(
    ("words", "hello"),
    [
        ([b"2"], Hello(2, None, None)),
        ([b"3"], Hello(3, None, None)),
        ([b"3", b"auth", b"u", b"p"], Hello(3, (b"u", b"p"), None)),
        ([b"3", b"SetName", b"n"], Hello(3, None, b"n")),
        ([b"3", b"SETNAME", b"n", b"AUTH", b"u", b"p"], Hello(3, (b"u", b"p"), b"n")),
        ([b"3", b"SETNAME", b""], Hello(3, None, b"")),
        ([b"1"], None),
        ([b"4"], None),
        ([b"03"], None),
        ([b"three"], None),
        ([b"3", b"AUTH", b"u"], None),
        ([b"3", b"SETNAME"], None),
        ([b"3", b"SETNAME", b"a b"], None),
        ([b"3", b"FOO"], None),
    ],
)
def test_hello_is_read_as_redis_reads_it(words: list[bytes], hello: Hello | None) -> None:
    assert parse_hello([b"HELLO", *words]) == hello


def test_a_name_is_printable_ascii_without_spaces() -> None:
    assert is_name(b"a-Z~!")
    assert is_name(b"")
    assert not any(map(is_name, [b"a b", b"a\n", b"\x7f", b"\xff", b"\0"]))


# --- Any bytes

fragments = st.sampled_from(
    [b"*", b"$", b"1", b"3", b"-", b"0", b"\r\n", b"\r", b"\n", b"*2\r\n", b"$3\r\nGET\r\n", b"'",
     b'"', b" ", b"\\x4", b"\0", b"PING", b"*1\r\n$70000\r\n", b"*2147483647\r\n"]
)  # fmt: skip
streams = st.lists(st.one_of(fragments, st.binary(max_size=5)), max_size=12).map(b"".join)


@settings(max_examples=400)
@given(
    data=streams,
    pos=st.integers(0, 3),
    locked=st.booleans(),
    dialect=st.sampled_from(Dialect),
)
def test_any_bytes_are_a_request_a_part_of_one_or_a_protocol_error(
    data: bytes, pos: int, locked: bool, dialect: Dialect
) -> None:
    pos = min(pos, len(data))

    try:
        answer = parse_request(data, pos, locked, dialect)
    except ProtocolError:
        return

    if isinstance(answer, Request):
        assert pos < answer.end <= len(data)
    else:
        assert answer.need > len(data) - pos


@settings(max_examples=200)
@given(
    args=st.lists(st.binary(max_size=20), min_size=1, max_size=5),
    inline=st.booleans(),
    before=st.binary(max_size=4),
)
def test_a_part_needs_more_than_it_has_and_no_more_than_the_whole(
    args: list[bytes], inline: bool, before: bytes
) -> None:
    # One byte too many, and the session waits for ever for what the client has long sent.
    whole = b"PING %d\r\n" % len(args) if inline else encode(args)

    for end in range(len(whole)):
        part = parse_request(before + whole[:end], len(before))

        assert isinstance(part, Partial)
        assert end < part.need <= len(whole)


@pytest.mark.parametrize("size", [0, 1, 9])
def test_a_part_of_a_long_request_needs_no_more_than_the_whole(size: int) -> None:
    whole = encode([b"EVAL", *[b"x" * size] * 15000])

    for end in range(65000, len(whole), 7001):
        part = parse_request(whole[:end], 0)

        assert isinstance(part, Partial)
        assert end < part.need <= len(whole)
