"""Kinds of values and rows of settings: what a text means, and how a mistake in it is worded."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest
from nearhit.proxy.settings.address import Tcp, Unix
from nearhit.proxy.settings.rows import (
    KEY,
    LISTENERS,
    LISTENERS_OR_OFF,
    PATH,
    SIZE_OR_OFF,
    SWITCH,
    UPSTREAM,
    Given,
    Kind,
    Row,
    as_text,
    choice,
    default_of,
    described,
    duration,
    is_off,
    optional,
    row,
    size,
    suggestion,
    unfit,
    whole,
    wrong,
)

# --- Kinds


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (whole(-1, 10), "-1", -1),
        (whole(-1, 10), " 10 ", 10),
        (size("1k", "1gb"), "1k", 1000),
        (size("1k", "1gb"), "1kb", 1024),
        (size("1k", "1gb"), "1000", 1000),
        (size("1k", "1gb"), "2 MB", 2 << 20),
        (size("1k", "1gb"), "1g", 10**9),
        (size("0", "1gb"), "7b", 7),
        (duration("1ms", "1h"), "1ms", 0.001),
        (duration("1ms", "1h"), "1.5", 1.5),
        (duration("1ms", "1h"), "1.5 s", 1.5),
        (duration("1ms", "1h"), "60M", 3600.0),
        (choice("on", "auto"), " Auto ", "auto"),
        (LISTENERS, "h:1,unix:///s", (Tcp("h", 1), Unix("/s"))),
        (LISTENERS_OR_OFF, "h:1", (Tcp("h", 1),)),
        (LISTENERS_OR_OFF, " OFF", ()),
        (UPSTREAM, "redis://u:p@h", "redis://u:p@h"),
        (SIZE_OR_OFF, "1mb", 1 << 20),
        (SIZE_OR_OFF, "off", 0),
        (KEY, "Some Key ", "Some Key "),
        (KEY, "Off", ""),
        (SWITCH, "TRUE", True),
        (SWITCH, " false", False),
        (PATH, "a b", "a b"),
    ],
)
def test_a_text_of_a_kind_has_its_value(kind: Kind[object], text: str, value: object) -> None:
    assert kind.parse(text) == value


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (whole(-1, 10), ["", "x", "-2", "11", "1.0", "1k", "٣", "9" * 5000, "+1"]),
        (size("1k", "1gb"), ["", "999", "1073741825", "1.5mb", "-1", "1tb", "kb", "1 m b"]),
        (duration("1ms", "1h"), ["", "0", "61m", "1d", "nan", "inf", "1e1", "-1s", "1.s", ".5"]),
        (choice("on", "auto"), ["", "off", "on,auto"]),
        (LISTENERS, ["", "off", "h"]),
        (LISTENERS_OR_OFF, ["", "off,h:1"]),
        (UPSTREAM, ["", "h:1", "http://h"]),
        (SIZE_OR_OFF, ["", "0", "65gb"]),
        (KEY, [""]),
        (SWITCH, ["", "1", "yes", "off"]),
        (PATH, [""]),
    ],
)
def test_a_text_of_another_kind_is_refused(kind: Kind[object], texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ValueError, match=r"^(see '.*')?$"):
            kind.parse(text)


@pytest.mark.parametrize(
    ("kind", "wants", "metavar"),
    [
        (whole(1, 64), "a whole number from 1 to 64", "N"),
        (size("0", "1gb"), "a size from 0 to 1gb (such as 64mb)", "SIZE"),
        (duration("1s", "1h"), "a duration from 1s to 1h (such as 30s or 500ms)", "TIME"),
        (choice("a", "b"), "one of a, b", "a|b"),
        (SIZE_OR_OFF, "a size from 1mb to 64gb (such as 64mb), or off", "SIZE"),
        (
            LISTENERS_OR_OFF,
            "host:port, [v6]:port or unix:///path, or off",
            "ADDRESS",
        ),
    ],
)
def test_a_kind_says_what_it_wants(kind: Kind[object], wants: str, metavar: str) -> None:
    assert (kind.wants, kind.metavar) == (wants, metavar)


def test_only_addresses_may_be_given_many_times() -> None:
    kinds = (LISTENERS, LISTENERS_OR_OFF, UPSTREAM, SIZE_OR_OFF, KEY, SWITCH, PATH, whole(1, 2))

    assert [kind for kind in kinds if kind.many] == [LISTENERS, LISTENERS_OR_OFF]


def test_off_is_read_in_any_case() -> None:
    assert is_off(" Off ")
    assert not is_off("offline")


# --- Rows


@dataclass(frozen=True)
class Example:
    """A settings class as config.py has one."""

    count: int = row(whole(1, 9), "3", "How many.", env="COUNT", port_env="PORT")
    url: str | None = optional(UPSTREAM, "Where.", env="URL", unset="nowhere", in_file=False)


def test_a_row_is_a_field_with_its_default_as_a_value() -> None:
    about = next(item.metadata["row"] for item in fields(Example) if item.name == "count")

    assert Example().count == 3
    assert (about.default, about.meaning, about.env, about.port_env) == (
        "3",
        "How many.",
        "COUNT",
        "PORT",
    )
    assert about.in_file
    assert default_of(about) == Given("3", "default", "default")


def test_a_row_that_may_be_left_out_says_what_that_means() -> None:
    about = next(item.metadata["row"] for item in fields(Example) if item.name == "url")

    assert Example().url is None
    assert (about.unset, about.env, about.in_file) == ("nowhere", "URL", False)
    assert default_of(about) == Given(None, "default", "default")


def test_what_may_hold_a_password_is_not_in_the_repr() -> None:
    assert repr(Example(url="redis://:secret@h")) == "Example(count=3)"


def test_a_default_that_is_no_value_cannot_be_written() -> None:
    with pytest.raises(ValueError, match=r"^$"):
        row(whole(1, 9), "10", "Too many.")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (Given("3", "--count", "--count"), "count = 3                               # --count"),
        (Given(None, "default", "default"), "count = nothing                         # default"),
        (
            Given("redis://u:secret@h", "URL", "URL"),
            "count = redis://u:***@h                 # URL",
        ),
    ],
)
def test_a_setting_is_described_by_its_value_and_its_origin(given: Given, line: str) -> None:
    about = Row(whole(1, 9), "3", "How many.", unset="nothing")

    assert described("count", about, given).split() == line.split()
    assert described("count", about, given).index("#") == 42


# --- Values of TOML, and mistakes


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.5, "1.5"),
        (True, "true"),
        (False, "false"),
        ("Text", "Text"),
        (["a:1", "b:2"], "a:1,b:2"),
        ([], ""),
    ],
)
def test_a_toml_value_is_written_as_a_flag_would_have_it(value: object, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        ({"a": 1}, SWITCH, "a table is not true or false"),
        ({"a": 1}, LISTENERS, "a table is not host:port, [v6]:port or unix:///path"),
        ([True], SWITCH, "a list is not true or false"),
        (["a:1"], LISTENERS, None),
        ("x", SWITCH, None),
    ],
)
def test_a_table_and_most_lists_are_no_text(
    value: object, kind: Kind[object], reason: str | None
) -> None:
    assert unfit(value, kind) == reason


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("worker", "; did you mean workers?"),
        ("MAX-CLIENTS", "; did you mean max_clients?"),
        ("something else", ""),
    ],
)
def test_a_close_name_is_suggested(name: str, end: str) -> None:
    assert suggestion(name, ["workers", "max_clients"]) == end


def test_a_mistake_has_its_place_and_a_reason_where_there_is_one() -> None:
    given = Given("x", "f:1", "f:1: count")

    assert wrong(given, SWITCH, "") == "f:1: count: 'x' is not true or false"
    assert wrong(given, SWITCH, "because") == "f:1: count: 'x' is not true or false: because"


def test_a_mistake_shows_no_password() -> None:
    given = Given("redis://u:secret@h:x", "URL", "URL")

    assert wrong(given, UPSTREAM, "") == (
        "URL: 'redis://u:***@h:x' is not a redis://, rediss:// or unix:// URL"
    )


def test_a_mistake_in_what_was_not_given_quotes_nothing() -> None:
    assert wrong(Given(None, "x", "x"), SWITCH, "") == "x: '' is not true or false"
