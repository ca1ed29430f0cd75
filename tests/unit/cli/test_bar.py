"""The bar: seen on a terminal only, and its columns."""

from __future__ import annotations

from typing import Any

import pytest
from nearhit.proxy.cli.bar import Bar, Done, Rate
from rich.progress import Progress, Task


def shown_task(total: float | None, completed: float, speed: float | None = None) -> Task:
    bar = Progress(disable=True)
    bar.add_task("keys", total=total, completed=int(completed))
    (task,) = bar.tasks
    task.finished_speed = speed
    return task


@pytest.mark.parametrize(
    ("total", "completed", "text"),
    [
        (None, 0, ""),
        (None, 1234, "1,234"),
        (10, 0, "0 of 10"),
        (100000, 5000, "5,000 of 100,000"),
    ],
)
def test_done_says_of_how_many_where_that_is_known(
    total: float | None, completed: float, text: str
) -> None:
    assert Done().render(shown_task(total, completed)).plain == text


@pytest.mark.parametrize(("speed", "text"), [(None, ""), (1234.5, "1,234/s")])
def test_the_rate_is_shown_once_there_is_one(speed: float | None, text: str) -> None:
    assert Rate().render(shown_task(10, 5, speed)).plain == text


def test_where_there_is_no_terminal_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("warm", 10) as progress:
        progress.advance(5)

    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("total", [10, None])
def test_on_a_terminal_the_bar_shows_title_and_remark_on_stderr_and_goes(
    total: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)

    with Bar("warm", total) as progress:
        progress.advance(5, "2 failed")
        bar: Any = progress
        bar._bar.refresh()

    told = capsys.readouterr()
    assert told.out == ""
    assert "warm" in told.err
    assert "2 failed" in told.err
    assert ("5 of 10" in told.err) is (total is not None)
    assert told.err.endswith("\x1b[2K")  # the line is erased
