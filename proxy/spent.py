"""How long a command of the proxy's own has waited for loads, told from where it waits to where it
is answered, with nothing in between that has to hand it on."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Spent:
    """Seconds. Loads side by side add up."""

    load: float = 0.0


_SPENT: ContextVar[Spent | None] = ContextVar("spent", default=None)


def account() -> Spent:
    """What the task that runs, and those that it starts, spend from now on."""
    spent = Spent()
    _SPENT.set(spent)
    return spent


@contextmanager
def loading(clock: Callable[[], float]) -> Generator[None]:
    """A load is waited for."""
    spent = _SPENT.get()
    if spent is None:
        yield
        return
    began = clock()
    try:
        yield
    finally:
        spent.load += clock() - began
