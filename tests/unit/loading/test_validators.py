"""Validators: of which value they are, which are relied on, and how many are kept."""

from __future__ import annotations

import hashlib

import pytest
from nearhit.proxy.loading.validators import OVERHEAD, TEXT_MAX, Validators, digest_of

ETAG = {"ETag": '"1"'}
OLD = "Sun, 29 Nov 2026 04:00:00 GMT"
DATED = {"Last-Modified": OLD, "Date": "Sun, 29 Nov 2026 04:00:01 GMT"}


def asked(headers: dict[str, str]) -> dict[str, str] | None:
    """What a value that came with these headers is asked for with."""
    validators = Validators()
    validators.keep(b"k", b"v", headers)
    one = validators.of(b"k", digest_of(b"v"))
    return None if one is None else dict(one.headers)


def test_a_digest_is_the_servers_own() -> None:
    assert digest_of(b"v") == hashlib.sha1(b"v").hexdigest().encode()


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        (ETAG, {"If-None-Match": '"1"'}),
        ({"ETag": 'W/"x-y"'}, {"If-None-Match": 'W/"x-y"'}),
        ({"ETag": '""'}, {"If-None-Match": '""'}),
        (ETAG | DATED, {"If-None-Match": '"1"'}),
        (DATED, {"If-Modified-Since": OLD}),
    ],
)
def test_an_answer_is_asked_for_again_by_its_etag_or_its_time(
    headers: dict[str, str], wanted: dict[str, str]
) -> None:
    assert asked(headers) == wanted


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ETag": "1"},
        {"ETag": '"a"b"'},
        {"ETag": '"a b"'},
        {"ETag": "*"},
        {"ETag": '"' + "x" * TEXT_MAX + '"'},
        {"ETag": "1"} | DATED,
        {"Last-Modified": OLD},  # when it was answered is not known
        {"Last-Modified": OLD, "Date": OLD},  # it may change in that very second
        {"Last-Modified": OLD, "Date": "Sat, 28 Nov 2026 04:00:01 GMT"},
        {"Last-Modified": "yesterday GMT", "Date": OLD},
        {"Last-Modified": "yesterday", "Date": OLD},
        {"Last-Modified": "Sun, 99 Nov 2026 04:00:00 GMT", "Date": OLD},
        ETAG | {"Vary": "*"},
        ETAG | {"Vary": "Accept, *"},
    ],
)
def test_what_cannot_be_relied_on_is_not_asked_with(headers: dict[str, str]) -> None:
    assert asked(headers) is None


def test_a_validator_is_of_one_value_alone() -> None:
    validators = Validators()
    validators.keep(b"k", b"v", ETAG)

    assert validators.of(b"k", digest_of(b"w")) is None
    assert validators.of(b"other", digest_of(b"v")) is None
    assert validators.of(b"k", digest_of(b"v")) is not None


def test_a_newer_answer_takes_its_place_also_without_a_validator() -> None:
    validators = Validators()
    validators.keep(b"k", b"v", ETAG)
    validators.keep(b"k", b"w", {"ETag": '"2"'})

    assert validators.of(b"k", digest_of(b"v")) is None
    assert validators.of(b"k", digest_of(b"w")) is not None

    validators.keep(b"k", b"x", {})
    assert (len(validators), repr(validators)) == (0, "<Validators 0 bytes=0>")


def test_what_is_dropped_is_gone() -> None:
    validators = Validators()
    validators.keep(b"k", b"v", ETAG)
    validators.drop(b"k")
    validators.drop(b"k")

    assert repr(validators) == "<Validators 0 bytes=0>"


def test_beyond_its_number_the_longest_unused_goes() -> None:
    validators = Validators(most=2)
    validators.keep(b"a", b"v", ETAG)
    validators.keep(b"b", b"v", ETAG)
    validators.of(b"a", digest_of(b"v"))
    validators.keep(b"c", b"v", ETAG)

    assert [validators.of(key, digest_of(b"v")) is not None for key in (b"a", b"b", b"c")] == [
        True, False, True,
    ]  # fmt: skip


def test_beyond_its_bytes_too() -> None:
    validators = Validators(bytes_max=2 * (OVERHEAD + 10))
    for key in (b"a", b"b", b"c"):
        validators.keep(key, b"v", ETAG)
    assert len(validators) == 2

    validators.keep(b"x" * 2 * OVERHEAD, b"v", ETAG)
    assert repr(validators) == "<Validators 0 bytes=0>"


@pytest.mark.parametrize(
    ("etag", "headers", "fits"),
    [
        ('"1"', {}, True),
        ('"1"', {"ETag": '"1"'}, True),
        ('W/"1"', {"ETag": '"1"'}, True),
        ('"1"', {"ETag": 'W/"2"'}, True),  # a weak one names nothing to the byte
        ('"1"', {"ETag": '"2"'}, False),
    ],
)
def test_a_304_with_a_strong_etag_is_about_what_that_names(
    etag: str, headers: dict[str, str], fits: bool
) -> None:
    validators = Validators()
    validators.keep(b"k", b"v", {"ETag": etag})
    one = validators.of(b"k", digest_of(b"v"))
    assert one is not None

    assert one.confirmed_by(headers) is fits


def test_a_304_to_a_question_by_time_may_have_any_etag() -> None:
    validators = Validators()
    validators.keep(b"k", b"v", DATED)
    one = validators.of(b"k", digest_of(b"v"))

    assert one is not None
    assert one.confirmed_by({"ETag": '"9"'})
