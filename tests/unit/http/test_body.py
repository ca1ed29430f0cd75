"""The fields of a JSON body, each asked for by its type, and refused by its name."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from nearhit.proxy.http.body import MS_MAX, Body, Refusal

KNOWN = ("key", "keys", "ttl", "ms")


def body(**fields: object) -> Body:
    return Body(json.dumps(fields).encode(), KNOWN)


def refused(read: Callable[[], object]) -> str:
    with pytest.raises(Refusal) as caught:
        read()
    assert caught.value.status == 400
    return str(caught.value)


def test_a_field_is_read_by_its_type() -> None:
    given = body(key="ключ", keys=["a", "\0"], ttl=1.5, ms=20)

    assert given.text("key") == "ключ".encode()
    assert given.texts("keys") == [b"a", b"\0"]
    assert given.seconds("ttl") == [b"PX", b"1500"]
    assert given.milliseconds("ms") == [b"PX", b"20"]


def test_a_time_that_is_not_there_is_no_option() -> None:
    assert body().seconds("ttl") == []
    assert body().milliseconds("ms") == []
    assert "ttl" not in body()
    assert "ttl" in body(ttl=None)  # null is there, and a wrong type


def test_a_time_that_is_hardly_any_is_a_millisecond() -> None:
    assert body(ttl=1e-9).seconds("ttl") == [b"PX", b"1"]


@pytest.mark.parametrize("value", [None, True, "1", 0, -1, [], 1e400 * 0])
def test_what_is_no_length_of_time_is_refused(value: object) -> None:
    if value != value:  # JSON knows no NaN
        assert refused(lambda: body(ttl=value)) == "the body is not JSON"
        return
    assert refused(lambda: body(ttl=value).seconds("ttl")).startswith("ttl must be a number")
    assert refused(lambda: body(ms=value).milliseconds("ms")).startswith("ms must be a whole")


def test_a_fraction_of_a_millisecond_is_refused() -> None:
    assert refused(lambda: body(ms=1.0).milliseconds("ms")).startswith("ms must be a whole")


@pytest.mark.parametrize(
    "read", [lambda: body(ttl=1e300).seconds("ttl"), lambda: body(ms=MS_MAX + 1).milliseconds("ms")]
)
def test_a_time_beyond_all_integers_is_refused(read: Callable[[], object]) -> None:
    assert refused(read).endswith(" is too large")


@pytest.mark.parametrize("value", [None, 1, ["a"], {}])
def test_what_is_no_string_is_refused(value: object) -> None:
    assert refused(lambda: body(key=value).text("key")) == "key must be a string"


@pytest.mark.parametrize("value", [None, "a", [], {}])
def test_what_is_no_list_is_refused(value: object) -> None:
    assert refused(lambda: body(keys=value).texts("keys")).startswith("keys must be a list")


def test_a_wrong_item_is_named_by_its_place() -> None:
    assert refused(lambda: body(keys=["a", 1]).texts("keys")) == "keys[1] must be a string"


def test_what_is_missing_is_named() -> None:
    assert refused(lambda: body().text("key")) == "key is missing"
    assert refused(lambda: body().texts("keys")) == "keys is missing"


def test_half_of_a_surrogate_pair_is_refused() -> None:
    assert "surrogate" in refused(lambda: Body(b'{"key": "\\ud800"}', KNOWN).text("key"))


def test_an_unknown_field_is_named_with_those_that_there_are() -> None:
    assert refused(lambda: body(kye="a")) == ("unknown field 'kye'; there are key, keys, ttl, ms")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b'{"ttl": NaN}'])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    assert refused(lambda: Body(data, KNOWN)) == "the body is not JSON"


@pytest.mark.parametrize("data", [b"[]", b"1", b'"key"', b"null"])
def test_json_that_is_no_object_is_refused(data: bytes) -> None:
    assert refused(lambda: Body(data, KNOWN)) == "the body must be a JSON object"
