"""A foreign message is shown without its secrets."""

from __future__ import annotations

import pytest
from nearhit.proxy.loading.source import NO_SUCH_THING, WHY_MAX, Loaded, said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no database", "no database"),
        ("two\r\nlines\tof  text", "two lines of text"),
        ("password=hunter2 is wrong", "password=*** is wrong"),
        ("db_passwd=a, DB_PWD=b; Secret=c", "db_passwd=*** DB_PWD=*** Secret=***"),
        ("access_token=abc&x=1 rest", "access_token=*** rest"),
        ("", ""),
    ],
)
def test_secrets_and_line_ends_are_not_shown(text: str, shown: str) -> None:
    assert said(text) == shown


def test_the_password_of_a_url_is_not_shown() -> None:
    shown = said("cannot reach redis://user:hunter2@example.com:6379/0 now")

    assert "hunter2" not in shown
    assert "example.com" in shown


def test_a_long_message_is_cut() -> None:
    assert said("x" * WHY_MAX) == "x" * WHY_MAX
    assert said("x" * (WHY_MAX + 1)) == "x" * WHY_MAX + "..."


def test_what_does_not_exist_has_no_value_and_no_time() -> None:
    assert Loaded(None, None, exact=False) == NO_SUCH_THING
