"""What all commands have in common at the terminal."""

from __future__ import annotations

import pytest
from nearhit.proxy.cli.terminal import Parser, complain, exit_codes, say
from nearhit.proxy.errors import ExitCode


def test_what_is_said_and_what_is_complained_are_kept_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say("one", "two")
    complain("three", "four")

    told = capsys.readouterr()
    assert told.out == "one\ntwo\n"
    assert told.err == "nearhit: three\nnearhit: four\n"


def test_all_exit_codes_are_shown_with_their_meaning() -> None:
    first, *rows = exit_codes().splitlines()

    assert first == "exit codes:"
    assert [int(row.split()[0]) for row in rows] == list(ExitCode)
    assert "`" not in exit_codes()
    assert rows[2] == "  2  the settings have mistakes"


def test_some_exit_codes_are_shown_alone() -> None:
    rows = exit_codes(ExitCode.BAD_SETTINGS, ExitCode.REFUSED).splitlines()

    assert [row.split()[0] for row in rows[1:]] == ["2", "4"]


def test_a_wrong_word_is_one_line_without_a_password(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Parser(prog="nearhit").parse_args(["--proxy", "redis://:secret@host"])

    assert ended.value.code == ExitCode.BAD_SETTINGS
    said = capsys.readouterr().err
    assert said.startswith("nearhit: unrecognized arguments: --proxy redis://:***@host; ")
    assert said.endswith("; nearhit --help tells the flags\n")
