"""The PROXY protocol's header: both versions, what is skipped, and what is refused."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nearhit.proxy.process.preface import (
    ITSELF,
    PREFACE_MAX,
    SIGNATURE,
    BadPreface,
    Origin,
    origin_of,
    size_of,
)


def binary(family: int, rest: bytes, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(rest).to_bytes(2) + rest


def ip(host: str) -> bytes:
    return ipaddress.ip_address(host).packed


PORTS = (5000).to_bytes(2) + (6380).to_bytes(2)
V4 = ip("203.0.113.7") + ip("198.51.100.1") + PORTS
V6 = ip("2001:db8::7") + ip("2001:db8::1") + PORTS
TLVS = b"\x03\x00\x04\x01\x02\x03\x04" + b"\x20\x00\x06\x07\x00\x00\x00\x00\x01"
GOOD = [
    (b"PROXY TCP4 203.0.113.7 198.51.100.1 5000 6380\r\n", ("203.0.113.7", 5000)),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 5000 6380\r\n", ("2001:db8::7", 5000)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN anything at all\r\n", None),
    (binary(0x11, V4), ("203.0.113.7", 5000)),
    (binary(0x11, V4 + TLVS), ("203.0.113.7", 5000)),
    (binary(0x21, V6 + TLVS), ("2001:db8::7", 5000)),
    (binary(0x31, b"/a b\n".ljust(108, b"\0") + b"/run/s".ljust(108, b"\0")), "/a?b?"),
    (binary(0x31, bytes(216)), None),
    (binary(0x11, V4, command=0x20), None),
    (binary(0x00, b"", command=0x20), None),
    (binary(0x00, TLVS), None),
    (binary(0x12, V4), None),
]
BAD = [
    b"PING\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"\x16\x03\x01",
    b"PROXY TCP4 203.0.113.7 198.51.100.1 5000 6380\n",
    b"PROXY TCP4 203.0.113.7 198.51.100.1 5000 65536\r\n",
    b"PROXY TCP4 203.0.113.777 198.51.100.1 5000 6380\r\n",
    b"PROXY TCP6 203.0.113.7 198.51.100.1 5000 6380\r\n",
    b"PROXY TCP4 2001:db8::7 198.51.100.1 5000 6380\r\n",
    b"PROXY TCP6 fe80::1%x fe80::2 5000 6380\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY " + b"x" * 200,
    binary(0x11, V4[:-1]),
    binary(0x21, V6[:-1]),
    binary(0x31, bytes(215)),
    binary(0x11, V4, command=0x11),
    binary(0x11, V4, command=0x22),
    binary(0x11, V4 + bytes(PREFACE_MAX)),
]


@pytest.mark.parametrize(("header", "peer"), GOOD)
def test_a_header_says_whose_connection_it_is(header: bytes, peer: object) -> None:
    assert size_of(header + b"*1\r\n$4\r\nPING\r\n") == len(header)
    assert origin_of(header).peer == peer


@pytest.mark.parametrize(("header", "peer"), GOOD)
def test_a_part_of_one_is_known_to_be_a_part(header: bytes, peer: object) -> None:
    for end in range(len(header)):
        assert size_of(header[:end]) in (None, len(header))


def test_where_it_went_to_is_told_too() -> None:
    assert origin_of(GOOD[0][0]).local == ("198.51.100.1", 6380)
    assert origin_of(GOOD[7][0]) == Origin("/a?b?", "/run/s")
    assert origin_of(binary(0x00, b"", command=0x20)) == ITSELF


@pytest.mark.parametrize("data", BAD)
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(BadPreface):
        origin_of(data[: size_of(data)])


@given(st.binary(max_size=300), st.sampled_from([b"", SIGNATURE, b"PROXY ", SIGNATURE + b"\x21"]))
def test_any_bytes_are_a_header_or_none_and_nothing_else(data: bytes, begin: bytes) -> None:
    data = begin + data
    try:
        size = size_of(data)
        if size is not None and size <= len(data):
            assert 0 < size <= PREFACE_MAX
            origin_of(data[:size])
    except BadPreface:
        pass
