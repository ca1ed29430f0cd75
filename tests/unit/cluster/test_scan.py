"""Cursors that walk a whole cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nearhit.proxy.cluster.scan import SHARDS_MAX, START, Place, decode, encode, following, starts
from nearhit.proxy.errors import BadInput

FINGERPRINTS = st.integers(0, 1023)
CURSORS = st.integers(0, (1 << 43) - 1)


def text(cursor: int) -> bytes:
    return b"%d" % cursor


@given(FINGERPRINTS, st.integers(0, SHARDS_MAX - 2), CURSORS, st.booleans())
def test_a_cursor_is_a_place_and_small_enough_for_clients(
    fingerprint: int, shard: int, cursor: int, again: bool
) -> None:
    place = Place(shard, cursor, again)
    number = encode(place, fingerprint)

    assert 0 <= number < 1 << 63
    assert number == 0 or decode(text(number), fingerprint, SHARDS_MAX - 1) == place


@given(FINGERPRINTS, st.lists(st.lists(st.integers(1, (1 << 43) - 1), max_size=5), min_size=1))
def test_a_walk_asks_every_shard_for_all_its_pages_and_ends(
    fingerprint: int, shards: list[list[int]]
) -> None:
    # Each shard's pages: 0, then what it gives as cursors, until it gives 0.
    pages = [list(dict.fromkeys(cursors)) for cursors in shards]
    walked: list[tuple[int, int]] = []
    cursor = b"0"
    while True:
        place = decode(cursor, fingerprint, len(pages))
        assert not place.restarted
        if place.shard == len(pages):
            break
        walked.append((place.shard, place.cursor))
        rest = pages[place.shard]
        at = rest.index(place.cursor) + 1 if place.cursor else 0
        given_cursor = rest[at] if at < len(rest) else 0
        cursor = text(following(place, given_cursor, fingerprint))

    assert walked == [(n, c) for n, cursors in enumerate(pages) for c in [0, *cursors]]


@given(FINGERPRINTS, FINGERPRINTS, st.integers(0, 8), st.integers(1, 9999))
def test_after_a_change_of_the_cluster_the_walk_begins_again(
    before: int, now: int, shard: int, cursor: int
) -> None:
    place = decode(text(encode(Place(shard, cursor), before)), now, 9)

    assert place == (Place(shard, cursor) if before == now else Place(0, 0, restarted=True))


def test_a_shard_that_is_no_more_begins_again() -> None:
    assert decode(text(encode(Place(5, 1), 7)), 7, 3).restarted
    assert decode(text(encode(Place(3, 1), 7)), 7, 3).restarted  # behind the last are no keys


def test_0_is_the_beginning_whatever_the_cluster() -> None:
    assert decode(b"0", 1023, 3) == START
    assert not START.restarted


def test_cursors_of_engines_with_a_dictionary_per_slot_fit() -> None:
    assert decode(text(encode(Place(2, 4209799), 1)), 1, 3) == Place(2, 4209799)


@pytest.mark.parametrize("cursor", [b"", b"x", b"-1", b"1.5", b" 1", b"9" * 20, b"9" * 5000])
def test_what_is_no_cursor_is_told_in_the_servers_words(cursor: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        decode(cursor, 1, 3)

    assert caught.value.line == b"-ERR invalid cursor\r\n"


def test_what_has_no_room_is_refused() -> None:
    with pytest.raises(BadInput, match="cursor 8796093022208 is too large"):
        following(START, 1 << 43, 1)
    with pytest.raises(BadInput, match="up to 511 shards"):
        following(Place(SHARDS_MAX - 1, 0), 0, 1)


def test_walks_of_each_shard_end_where_the_next_one_begins() -> None:
    begins = starts(700, 3)

    assert [decode(cursor, 700, 3) for cursor in begins] == [
        Place(0, 0),
        Place(1, 0),
        Place(2, 0),
    ]
    for at, end in enumerate(begins[1:]):
        assert following(Place(at, 7), 0, 700) == int(end)
    assert starts(0, 1) == [b"0"]
