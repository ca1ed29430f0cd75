"""How far ``nearhit warm`` and ``nearhit invalidate`` are, on stderr while they work: a line, or
bar.py's bar where rich is installed.

    warm: 5,000 of 100,000, 2 failed

Shows nothing where stderr is no terminal, and is gone at the end. Knows numbers, not what they
count. bulk.py calls ``shown``."""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from types import TracebackType
from typing import Final, Protocol

EACH_S: Final = 0.1  # between two that are shown
_ERASE: Final = "\r\x1b[2K"


class Progress(Protocol):
    """What shows it: used as a context."""

    def __enter__(self) -> Progress: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None: ...

    def advance(self, count: int, remark: str = "") -> None:
        """Show so many more as done, and the remark from now on."""


class Line:
    """A line with a title, and a remark that may change; ``total`` None: the end is not known."""

    def __init__(self, title: str, total: int | None) -> None:
        self._title, self._total = title, total
        self._done = 0
        self._due = 0.0
        self._is_terminal = sys.stderr.isatty()

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._write(_ERASE)

    def advance(self, count: int, remark: str = "") -> None:
        """Show so many more as done, and the remark from now on."""
        self._done += count
        if (now := time.monotonic()) >= self._due:
            self._due = now + EACH_S
            of = "" if self._total is None else f" of {self._total:,}"
            tail = f", {remark}" if remark else ""
            self._write(f"{_ERASE}{self._title}: {self._done:,}{of}{tail}")

    def _write(self, text: str) -> None:
        if self._is_terminal:
            sys.stderr.write(text)
            sys.stderr.flush()


def shown(title: str, total: int | None) -> Progress:
    """What shows it here."""
    if find_spec("rich") is None:
        return Line(title, total)
    from .bar import Bar

    return Bar(title, total)
