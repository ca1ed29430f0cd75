"""Kinds of settings: how text becomes a value, and how a mistake is worded."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import pytest
from nearhit.proxy.settings.address import Tcp
from nearhit.proxy.settings.rows import (
    KEY,
    LISTENERS,
    LISTENERS_OR_OFF,
    LOCK_SERVERS,
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
    table_in,
    unfit,
    whole,
    wrong,
)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (whole(-5, 5), "-5", -5),
        (whole(-5, 5), " 3 ", 3),
        (size("0", "1gb"), "1k", 1000),
        (size("0", "1gb"), "1KB", 1024),
        (size("0", "1gb"), "64 mb", 64 << 20),
        (duration("1ms", "1h"), "1ms", 0.001),
        (duration("1ms", "1h"), "1.5", 1.5),
        (duration("1ms", "1h"), "1h", 3600.0),
        (choice("a", "b"), " B ", "b"),
        (choice("a", "b", also={"c": "b"}), "C", "b"),
        (LISTENERS, "h:1", (Tcp("h", 1),)),
        (LISTENERS_OR_OFF, "off", ()),
        (SIZE_OR_OFF, "Off", 0),
        (SIZE_OR_OFF, "1mb", 1 << 20),
        (KEY, "off", ""),
        (KEY, " k ", " k "),
        (SWITCH, "TRUE", True),
        (SWITCH, "false", False),
        (PATH, "a b", "a b"),
        (UPSTREAM, "redis://h", "redis://h"),
    ],
)
def test_a_kind_reads_its_values(kind: Kind[object], text: str, value: object) -> None:
    assert kind.parse(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (whole(-5, 5), "-6"),
        (whole(-5, 5), "1.0"),
        (whole(-5, 5), "1" * 19),
        (whole(0, 5), "\u0661"),
        (size("1", "1gb"), "0"),
        (size("1", "1gb"), "2gb"),
        (size("1", "1gb"), "1.5mb"),
        (size("1", "1gb"), "1tb"),
        (duration("1ms", "1h"), "0.5ms"),
        (duration("1ms", "1h"), "61m"),
        (duration("1ms", "1h"), "1d"),
        (choice("a", "b"), "c"),
        (SIZE_OR_OFF, "0"),
        (KEY, ""),
        (SWITCH, "yes"),
        (PATH, ""),
        (UPSTREAM, "h:1"),
    ],
)
def test_a_kind_refuses_all_else(kind: Kind[object], text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        kind.parse(text)


@pytest.mark.parametrize(("text", "off"), [("off", True), (" OFF\n", True), ("offf", False)])
def test_off_is_a_word_of_its_own(text: str, off: bool) -> None:
    assert is_off(text) is off


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("redis://a,redis://b", "they are 2"),
        ("redis://a", "they are 1"),
        (",".join(f"redis://h{number}" for number in range(17)), "they are 17"),
        ("redis://a,redis://b/1,redis://c", "number 2 names a database: each client's own"),
        ("redis://a,redis://b,redis://A:6379/0", "number 3 is there twice"),
        ("redis://a,redis://b,redis-cluster://c", "see number 3: it is for one server"),
        ("redis://a,redis://b,http://:secret@c", "see number 3"),
        ("redis://a,b,redis://c,redis://d", "see number 1: each begins with its scheme"),
        ("redis://a,,redis://c", "see number 1: each begins with its scheme"),
    ],
)
def test_lock_servers_are_an_odd_number_of_servers_of_their_own(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        LOCK_SERVERS.parse(text)

    assert "secret" not in str(refused.value)


def test_lock_servers_are_read_and_off_is_none() -> None:
    found = LOCK_SERVERS.parse("redis://:a,b@h:1, rediss://h:2,unix:///s")

    assert [(one.host, one.port, one.path, one.tls) for one in found] == [
        ("h", 1, None, False),
        ("h", 2, None, True),
        ("localhost", 6379, "/s", False),
    ]
    assert found[0].password == "a,b"
    assert LOCK_SERVERS.parse("off") == ()


def test_a_row_makes_a_field_with_its_default_as_a_value() -> None:
    @dataclass(frozen=True)
    class Settings:
        wait: float = row(duration("1s", "1h"), "1m", "How long.", env="WAIT")
        file: str | None = optional(PATH, "Which.", unset="none at all", in_file=False)

    rows: dict[str, Row] = {item.name: item.metadata["row"] for item in fields(Settings)}

    assert Settings() == Settings(60.0, None)
    assert (rows["wait"].default, rows["wait"].env, rows["wait"].in_file) == ("1m", "WAIT", True)
    assert (rows["file"].default, rows["file"].unset) == (None, "none at all")
    assert default_of(rows["wait"]) == Given("1m", "default", "default")


def test_a_setting_is_described_without_its_password() -> None:
    about = Row(UPSTREAM, None, "Where.", unset="nowhere")

    assert described("up", about, Given("redis://:secret@h", "--up", "--up")).split() == [
        "up", "=", "redis://:***@h", "#", "--up",
    ]  # fmt: skip
    assert described("up", about, default_of(about)).split()[2] == "nowhere"


@pytest.mark.parametrize(
    ("value", "kind", "why"),
    [
        ({"a": 1}, PATH, "a table is not the path of a file"),
        (["a"], PATH, "a list is not the path of a file"),
        (["a"], LISTENERS, None),
        ("a", PATH, None),
    ],
)
def test_a_toml_value_may_have_no_text(value: object, kind: Kind[Any], why: str | None) -> None:
    assert unfit(value, kind) == why


def test_a_table_is_told_from_other_values() -> None:
    assert table_in({"a": 1}) == {"a": 1}
    assert table_in([1]) is None


@pytest.mark.parametrize(
    ("value", "text"), [(["a", 1], "a,1"), (True, "true"), (1.5, "1.5"), ("True", "True")]
)
def test_a_toml_value_is_written_as_in_a_flag(value: object, text: str) -> None:
    assert as_text(value) == text


def test_what_is_close_is_suggested() -> None:
    assert suggestion("Max-Client", ["max_clients", "workers"]) == "; did you mean max_clients?"
    assert suggestion("zzz", ["max_clients"]) == ""


def test_a_mistake_has_its_place_and_no_password() -> None:
    given = Given("http://:secret@h", "x:1", "x:1: upstream")

    line = wrong(given, UPSTREAM, "")

    assert line == "x:1: upstream: 'http://:***@h' is not a redis://, rediss:// or unix:// URL"
    assert wrong(given, UPSTREAM, "for a reason") == f"{line}: for a reason"
