"""The settings file: values with the lines on which they stand."""

from __future__ import annotations

import pytest
from nearhit.proxy.settings.file import SettingsFile

TEXT = (
    """\
# a comment
workers = 2
listen = [
  "a:1",
  "b:2",
]
http.nested = "x"

[loaders.users]
match = "user:{id}"
headers = """
    + '"""'
    + """
two
lines"""
    + '"""'
    + """
ttl = "60s"
"""
)


def file(text: str) -> SettingsFile:
    return SettingsFile.of("nearhit.toml", lambda path: text)


def test_values_are_those_of_the_document() -> None:
    found = file(TEXT).document

    assert found["workers"] == 2
    assert found["listen"] == ["a:1", "b:2"]


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("workers",), 2),
        (("listen",), 3),
        (("http", "nested"), 7),
        (("loaders",), 9),
        (("loaders", "users"), 9),
        (("loaders", "users", "match"), 10),
        (("loaders", "users", "headers"), 11),
        (("loaders", "users", "ttl"), 14),
    ],
)
def test_a_key_has_the_line_on_which_it_begins(key: tuple[str, ...], line: int) -> None:
    assert file(TEXT).origin(*key) == f"nearhit.toml:{line}"


def test_what_does_not_stand_in_the_file_has_the_line_of_its_table() -> None:
    assert file(TEXT).origin("loaders", "users", "absent") == "nearhit.toml:9"


def test_no_file_is_an_empty_one() -> None:
    assert SettingsFile().document == {}


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a = 1\nb = \n", "nearhit.toml:2: Invalid value (column 5)"),
        ("a = 1\na = 2\n", "nearhit.toml:2: Cannot overwrite a value (column 6)"),
        ("a = 1\n\n[b", "nearhit.toml:3: "),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(text: str, mistake: str) -> None:
    with pytest.raises(ValueError, match=r"^nearhit\.toml:") as caught:
        file(text)

    assert str(caught.value).startswith(mistake)


def test_a_file_that_cannot_be_read_is_the_callers_error() -> None:
    def read(path: str) -> str:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(PermissionError):
        SettingsFile.of("nearhit.toml", read)
