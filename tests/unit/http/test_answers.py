"""Values as JSON."""

from __future__ import annotations

import json

import pytest
from nearhit.proxy.errors import ServerError
from nearhit.proxy.http.answers import answer, failure, fields_of, plain
from nearhit.proxy.resp.replies import Value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"v\xc3\xa4lue", "välue"),
        (b"\xff", "\\xff"),
        (ServerError(b"-ERR no\r\n"), "ERR no"),
        ({"a": [b"b", 1, None, "c"]}, {"a": ["b", 1, None, "c"]}),
        (0.5, 0.5),
    ],
)
def test_a_reply_is_plain(value: Value, expected: object) -> None:
    assert plain(value) == expected


def test_a_word_that_is_no_text_has_a_field_of_its_own() -> None:
    assert fields_of("key", b"k") == {"key": "k"}
    assert fields_of("key", None) == {"key": None}
    assert fields_of("key", b"\xff") == {"key": None, "key_base64": "/w=="}


def test_answers_tell_no_version_and_when_to_come_again() -> None:
    assert answer(200, {}).headers["Server"] == "nearhit"
    failed = failure(503, "not now")
    assert json.loads(failed.body) == {"error": "not now"}
    assert failed.headers["Retry-After"] == "1"
