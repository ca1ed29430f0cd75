"""The line that is shown where rich is not installed."""

from __future__ import annotations

import sys

import pytest
from nearhit.proxy.cli import progress as module
from nearhit.proxy.cli.bar import Bar
from nearhit.proxy.cli.progress import Line, shown


@pytest.mark.parametrize(("total", "of"), [(100000, " of 100,000"), (None, "")])
def test_on_a_terminal_a_line_is_shown_and_goes(
    total: int | None,
    of: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "EACH_S", 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    with Line("warm", total) as progress:
        progress.advance(4000)
        progress.advance(1000, "2 failed")

    erase = "\r\x1b[2K"
    assert capsys.readouterr() == (
        "",
        f"{erase}warm: 4,000{of}{erase}warm: 5,000{of}, 2 failed{erase}",
    )


def test_it_is_written_now_and_then_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "EACH_S", 3600)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    with Line("warm", 9) as progress:
        for _ in range(9):
            progress.advance(1)

    assert capsys.readouterr().err.count("warm: ") == 1


def test_where_there_is_no_terminal_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with Line("warm", 10) as progress:
        progress.advance(5)

    assert capsys.readouterr() == ("", "")


def test_a_bar_is_shown_where_rich_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(shown("warm", 1), Bar)

    monkeypatch.setattr(module, "find_spec", lambda name: None)

    assert type(shown("warm", 1)) is Line
