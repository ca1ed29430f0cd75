"""Content-Encoding, taken off piece by piece."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nearhit.proxy.loading.coding import PIECE_MAX, Decoder
from nearhit.proxy.loading.http_errors import CodingError


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


CODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("X-GZip ", gzip.compress),
    ("gzip", lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:])),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("", bytes),
    ("identity", bytes),
    ("aws-chunked", bytes),
]


@pytest.mark.parametrize(("coding", "packed"), CODINGS)
@settings(max_examples=30)
@given(data=st.binary(max_size=300), times=st.integers(1, 1000), at=st.integers(0, 300))
def test_what_was_packed_comes_out_however_it_is_cut(
    coding: str, packed: Callable[[bytes], bytes], data: bytes, times: int, at: int
) -> None:
    whole = packed(data * times)
    decoder = Decoder(coding)

    found = [piece for part in (whole[:at], whole[at:]) for piece in decoder.feed(part)]
    decoder.end()

    assert b"".join(found) == data * times


@pytest.mark.parametrize(
    "size", [PIECE_MAX - 1, PIECE_MAX, PIECE_MAX + 1, PIECE_MAX + 100, PIECE_MAX + 258]
)
def test_no_piece_is_larger_and_none_is_lost_at_its_bound(size: int) -> None:
    decoder = Decoder("gzip")

    pieces = list(decoder.feed(gzip.compress(b"x" * size)))
    decoder.end()

    assert sum(map(len, pieces)) == size
    assert max(map(len, pieces)) <= PIECE_MAX


def test_whoever_counts_can_stop_a_bomb() -> None:
    bomb = gzip.compress(b"\0" * 5_000_000)

    assert len(next(Decoder("gzip").feed(bomb))) == PIECE_MAX


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, br"])
def test_what_is_not_known_is_an_error(coding: str) -> None:
    with pytest.raises(CodingError, match="not asked for"):
        Decoder(coding)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_so_is_what_is_not_as_it_says(coding: str) -> None:
    with pytest.raises(CodingError, match="not compressed"):
        list(Decoder(coding).feed(b"\x78plain text"))


def test_so_is_half_of_it() -> None:
    decoder = Decoder("gzip")
    list(decoder.feed(gzip.compress(b"abc" * 100)[:-1]))

    with pytest.raises(CodingError, match="broke off"):
        decoder.end()


@pytest.mark.parametrize(
    ("coding", "shown"), [("", "plain"), ("gzip", "gzip"), ("deflate", "deflate")]
)
def test_nothing_at_all_is_whole(coding: str, shown: str) -> None:
    decoder = Decoder(coding)

    assert list(decoder.feed(b"")) in ([], [b""])
    decoder.end()
    assert repr(decoder) == f"<Decoder {shown}>"
