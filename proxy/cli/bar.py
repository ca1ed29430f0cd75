"""The bar that ``nearhit warm`` and ``nearhit invalidate`` show on stderr while they work, by rich
(extra ``cli``); without it progress.py's line is shown.

Shows nothing where stderr is no terminal, and is gone at the end. Knows numbers, not what they
count: bulk.py does. progress.py imports it where rich is there."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text


class Rate(ProgressColumn):
    """How many in a second."""

    def render(self, task: Task) -> Text:
        """``1,234/s``, nothing before the first."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="progress.data.speed")


class Done(ProgressColumn):
    """How many, and of how many where that is known."""

    def render(self, task: Task) -> Text:
        """``5 of 10``, ``5`` where the end is not known."""
        if not task.completed and task.total is None:
            return Text("")
        of = f" of {task.total:,.0f}" if task.total is not None else ""
        return Text(f"{task.completed:,.0f}{of}", style="progress.download")


class Bar:
    """A bar with a title, and a remark that may change; ``total`` None: the end is not known."""

    def __init__(self, title: str, total: int | None) -> None:
        console = Console(stderr=True)
        open_end, known_end = [TimeElapsedColumn()], [TaskProgressColumn(), TimeRemainingColumn()]
        self._bar = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            Done(),
            Rate(),
            *(open_end if total is None else known_end),
            TextColumn("{task.fields[remark]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(title, total=total, remark="")

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, count: int, remark: str = "") -> None:
        """Show so many more as done, and the remark from now on."""
        self._bar.update(self._task, advance=count, remark=remark)
