"""The settings file: its values, and the line that each is told by."""

from __future__ import annotations

import re

import pytest
from nearhit.proxy.settings.file import SettingsFile


def file_of(text: str) -> SettingsFile:
    def read(path: str) -> str:
        assert path == "f.toml"
        return text

    return SettingsFile.of("f.toml", read)


def test_no_file_is_an_empty_one() -> None:
    none = SettingsFile()

    assert none.document == {}
    assert none.lines == {}


def test_the_values_are_those_of_the_text() -> None:
    file = file_of("a = 1\n[b.c]\nd = ['x']\n")

    assert file.document == {"a": 1, "b": {"c": {"d": ["x"]}}}


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a = 1", ("a",), 1),
        ("\n# a = 0\na = 1", ("a",), 3),
        ("a = [\n1,\n]\nb = 2", ("b",), 4),
        ('a = """\nb = 1\n"""\nb = 2', ("b",), 4),
        ("a = [ # not ] here\n1,\n]\nb = 2", ("b",), 4),
        ("a.b = 1\na.c = 2", ("a",), 1),
        ("a.b = 1\na.c = 2", ("a", "c"), 2),
        ("a = 1\n[b]\na = 2", ("a",), 1),
        ("a = 1\n[b]\na = 2", ("b", "a"), 3),
        ("[b.c]\nd = 1\n[b.e]\nd = 2", ("b", "c", "d"), 2),
        ("[b.c]\nd = 1\n[b.e]\nd = 2", ("b", "e", "d"), 4),
        ("['x.y']\nd = 1", ("x.y", "d"), 2),
        ("a = 1\r\nb = 2\r\n", ("b",), 2),
    ],
)
def test_a_key_stands_on_the_line_where_its_statement_begins(
    text: str, key: tuple[str, ...], line: int
) -> None:
    assert file_of(text).origin(*key) == f"f.toml:{line}"


@pytest.mark.parametrize(
    ("key", "line"), [(("b", "not there"), 2), (("b", "c", "deep", "down"), 3), (("b",), 2)]
)
def test_a_key_that_is_not_there_has_the_place_of_the_table_around_it(
    key: tuple[str, ...], line: int
) -> None:
    file = file_of("a = 1\n[b]\nc = { deep = 1 }\n")

    # Within an inline table only the first key has a line of its own.
    assert file.origin(*key) == f"f.toml:{line}"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("\n\na 1", "f.toml:3: Expected '=' after a key in a key/value pair (column 3)"),
        ("a = 1\na = 2\n", "f.toml:2: Cannot overwrite a value (column 6)"),
        ("a = 1\nb = [\n\n\n", "f.toml:2: Invalid value (at end of document)"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(text: str, mistake: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(mistake)}$"):
        file_of(text)


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(2, "gone"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start")],
)
def test_what_goes_wrong_in_reading_is_left_to_the_caller(error: Exception) -> None:
    def read(path: str) -> str:
        raise error

    with pytest.raises(type(error)) as caught:
        SettingsFile.of("f.toml", read)

    assert caught.value is error
