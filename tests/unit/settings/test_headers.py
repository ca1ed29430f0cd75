"""Headers of loaders: what stands elsewhere is put in, and no value is in any word about them."""

from __future__ import annotations

import pytest
from nearhit.proxy.settings.headers import (
    MOST,
    REFUSED,
    VALUE_MAX,
    Elsewhere,
    Headers,
    headers_of,
)

ENVIRON = {"TOKEN": "s3cret", "EMPTY": "", "BREAK": "s3cret\r\nX: y", "_a1": "b"}
FILES = {"/run/key": "s3cret\n", "/run/two": "s3\ncret", "/run/blank": "\n", "/run/dos": "s\r\n"}


def read(path: str) -> str:
    if path == "/run/bin":
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid")
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory", path)
    return FILES[path]


HERE = Elsewhere(ENVIRON, read)


def found(table: dict[str, object]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in headers_of(table, HERE)]


def mistake(name: str, value: object) -> str:
    ((_, error),) = headers_of({name: value}, HERE)
    assert isinstance(error, ValueError)
    return str(error)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("Bearer ${TOKEN}", "Bearer s3cret"),
        ("${TOKEN}${_a1}", "s3cretb"),
        ("${file:/run/key}", "s3cret"),
        ("Bearer ${file:/run/dos}!", "Bearer s!"),
        ("$${TOKEN}", "${TOKEN}"),
        ("a$b$$c {x}", "a$b$$c {x}"),
        ("$", "$"),
    ],
)
def test_what_stands_elsewhere_is_put_in(text: str, value: str) -> None:
    assert found({"X-Key": text}) == [("X-Key", value)]


def test_what_is_put_in_is_not_looked_at_again() -> None:
    elsewhere = Elsewhere({"A": "${B}", "B": "no"}, read)

    assert elsewhere.put_into("${A}") == "${B}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("${NONE}", "the variable NONE is not set, or empty"),
        ("${EMPTY}", "the variable EMPTY is not set, or empty"),
        ("${file:/run/none}", "cannot read /run/none: No such file or directory"),
        ("${file:/run/bin}", "/run/bin is not UTF-8 text"),
        ("${file:/run/blank}", "/run/blank is empty"),
        ("${}", "${...} has the name of a variable in it, or file:/path"),
        ("${a b}", "${...} has the name of a variable in it, or file:/path"),
        ("x ${TOKEN", "a ${ is not closed ($${ is a literal one)"),
        ("", "it is empty"),
        (7, "it is not in quotes"),
        ({"a": "b"}, "it is not in quotes"),
        (
            "${BREAK}",
            "its value has a line break, a space at its begin or end, or what is not ASCII",
        ),
        (
            "${file:/run/two}",
            "its value has a line break, a space at its begin or end, or what is not ASCII",
        ),
        ("s3cret\x00", "its value has a line break, a space at its begin or end, or what is not "
         "ASCII"),
        (" s3cret", "its value has a line break, a space at its begin or end, or what is not "
         "ASCII"),
        ("s3crét", "its value has a line break, a space at its begin or end, or what is not "
         "ASCII"),
        ("s3cret" + "x" * VALUE_MAX, f"its value is longer than {VALUE_MAX} bytes"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_sent_says_why_and_never_what(text: object, why: str) -> None:
    assert mistake("X-Key", text) == why


@pytest.mark.parametrize("name", ["", "X Key", "X:Key", "X\r\nY", "Ü", "x" * 129])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    assert mistake(name, "v") == "it is no name of a header: letters, digits and -"


@pytest.mark.parametrize("name", [*REFUSED, "Transfer-Encoding", "HOST"])
def test_headers_of_the_connection_the_body_and_conditions_are_refused(name: str) -> None:
    assert mistake(name, "v") == f"it cannot be given: {REFUSED[name.lower()]}"


def test_a_name_stands_there_once() -> None:
    assert found({"X-Key": "a", "x-kEY": "b"}) == [("X-Key", "a"), ("x-kEY", "it is there twice")]


def test_there_are_so_many_and_no_more() -> None:
    values = found({f"X-{n}": "v" for n in range(MOST + 1)})

    assert values[MOST - 1] == (f"X-{MOST - 1}", "v")
    assert values[MOST] == (f"X-{MOST}", f"more than {MOST} headers")


def test_headers_show_their_names_alone() -> None:
    headers = Headers((("Authorization", "s3cret"), ("X-Key", "s3cret")))

    assert repr(headers) == "<Headers Authorization, X-Key>"
    assert str(headers) == "Authorization, X-Key"
    assert "s3cret" not in f"{HERE!r}"
    assert "authorization" in headers
    assert "Host" not in headers
