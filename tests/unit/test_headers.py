"""Headers: names in any case, and more than one of a name."""

from __future__ import annotations

import pytest
from nearhit.proxy.headers import Headers

ROWS = [(b"a", b"1"), (b"b", b"\xff\xc3\xa4"), (b"a", b"2")]


def test_a_name_is_found_in_any_case_and_the_first_of_it_counts() -> None:
    headers = Headers(ROWS)

    assert (headers["A"], headers.get("a"), headers.get("c")) == ("1", "1", None)
    assert headers.all("A") == ["1", "2"]
    assert (list(headers), len(headers), "B" in headers) == (["a", "b"], 2, True)
    with pytest.raises(KeyError):
        headers["c"]


def test_what_is_no_text_comes_back() -> None:
    assert Headers(ROWS)["b"].encode("utf-8", "surrogateescape") == b"\xff\xc3\xa4"


def test_values_are_not_shown() -> None:
    assert repr(Headers(ROWS)) == "<Headers a b>"
