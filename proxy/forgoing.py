"""Whether what is asked can be done without, told from where it is asked to where it would wait.

    with forgoing(loader fails open): ask ──▶ AskSlot.forgoes ──▶ given up where nobody answers

A key whose loader fails open is answered by it where nobody else can. So of a cluster that cannot
answer its question waits a moment, and not for as long as one without a loader."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

_FORGOES: ContextVar[bool] = ContextVar("forgoes", default=False)


def forgoes() -> bool:
    """Whether what is asked now can be done without."""
    return _FORGOES.get()


@contextmanager
def forgoing(does: bool) -> Generator[None]:
    """What is asked inside can be done without, or cannot."""
    token = _FORGOES.set(does)
    try:
        yield
    finally:
        _FORGOES.reset(token)
