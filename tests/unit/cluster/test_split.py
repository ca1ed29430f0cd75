"""Requests of several slots, cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nearhit.proxy.cluster.split import CROSSSLOT, Piece, one_slot, split
from nearhit.proxy.cluster.table import row
from nearhit.proxy.errors import ServerError
from nearhit.proxy.resp.kernel import hash_slot as slot_of
from nearhit.proxy.table.table import snapshot

SHIPPED = snapshot().commands
A, B = slot_of(b"a"), slot_of(b"b")


def cut(text: str) -> list[Piece]:
    words = text.encode().split()
    return split(words, row(words, SHIPPED))


def piece(slot: int, text: str, *places: int) -> Piece:
    return Piece(slot, tuple(text.encode().split()), places)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("MGET a b a", [piece(A, "MGET a a", 0, 2), piece(B, "MGET b", 1)]),
        ("mget b a", [piece(B, "mget b", 0), piece(A, "mget a", 1)]),
        ("MGET a {a}x", [piece(A, "MGET a {a}x", 0, 1)]),
        ("EXISTS a a", [piece(A, "EXISTS a a", 0, 1)]),
        ("DEL b a b", [piece(B, "DEL b b", 0, 2), piece(A, "DEL a", 1)]),
        ("MSET a 1 b 2 a 3", [piece(A, "MSET a 1 a 3", 0, 2), piece(B, "MSET b 2", 1)]),
        (
            "MSETEX 3 a 1 b 2 a 3 EX 5",
            [piece(A, "MSETEX 2 a 1 a 3 EX 5", 0, 2), piece(B, "MSETEX 1 b 2 EX 5", 1)],
        ),
        ("MSETEX 2 a 1 {a} 2 NX", [piece(A, "MSETEX 2 a 1 {a} 2 NX", 0, 1)]),
    ],
)
def test_each_slot_gets_its_keys_in_their_order(text: str, pieces: list[Piece]) -> None:
    assert cut(text) == pieces


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("MGET", "MGET"),
        ("DEL", "DEL"),
        ("MSET", "MSET"),
        ("MSET a 1 b", "MSET a"),
        ("MSETEX", "MSETEX"),
        ("MSETEX x a 1", "MSETEX x a 1"),
        ("MSETEX 0 a 1", "MSETEX 0 a 1"),
        ("MSETEX 2 a 1 b", "MSETEX 2 a 1 b"),
        ("MSETEX " + "9" * 5000, "MSETEX " + "9" * 5000),
    ],
)
def test_what_is_malformed_is_for_the_server_to_refuse(text: str, words: str) -> None:
    (whole,) = cut(text)

    assert (whole.words, whole.places) == (tuple(words.encode().split()), ())
    assert 0 <= whole.slot < 16384


@pytest.mark.parametrize("option", ["NX", "xx", "EX 5 NX"])
def test_all_keys_or_none_cannot_be_cut(option: str) -> None:
    with pytest.raises(ServerError) as caught:
        cut(f"MSETEX 2 a 1 b 2 {option}")

    assert caught.value.line == CROSSSLOT + b"\r\n"


def test_a_request_that_is_not_cut_has_one_slot() -> None:
    assert one_slot([b"a", b"{a}x", b"a"]) == A
    assert one_slot([]) is None
    with pytest.raises(ServerError):
        one_slot([b"a", b"b"])


@given(st.lists(st.sampled_from([b"k%d" % at for at in range(9)]), min_size=1))
def test_the_pieces_are_the_whole(keys: list[bytes]) -> None:
    pieces = split([b"MGET", *keys], row([b"MGET"], SHIPPED))

    back = {place: key for p in pieces for place, key in zip(p.places, p.words[1:], strict=True)}
    assert [back[place] for place in range(len(keys))] == keys
    assert len({p.slot for p in pieces}) == len(pieces)
    assert all(slot_of(key) == p.slot for p in pieces for key in p.words[1:])
    assert all(list(p.places) == sorted(p.places) for p in pieces)
