"""Tells the operator that a loader fails: a line when it begins, then one in so many seconds with
how often it did since.

Says the class of what was raised, and why only in words of our own: a foreign exception may quote
the URL that it was about, and what is secret there. Told by flights.py of each load that failed."""

from __future__ import annotations

import logging
from typing import Final

from ..errors import LoadError, LoadTimeout
from ..log import event
from .source import SourceError

log = logging.getLogger(__name__)

EVERY: Final = 10.0  # seconds between two lines of one loader


class Complaint:
    def __init__(self, loader: str) -> None:
        self._loader = loader
        self._quiet_until = 0.0
        self._failures = 0  # since the last line

    def __repr__(self) -> str:
        return f"<Complaint {self._loader} failures={self._failures}>"

    def failed(self, error: LoadError | LoadTimeout, now: float) -> None:
        """One more load has failed; ``now`` in seconds, monotonic."""
        self._failures += 1
        if now < self._quiet_until:
            return
        first = raised_first(error)
        told: dict[str, object] = {"loader": self._loader, "kind": type(first).__name__}
        if isinstance(first, SourceError | LoadTimeout):
            told["error"] = error
        event(log, logging.WARNING, "loader fails", **told, failures=self._failures)
        self._failures = 0
        self._quiet_until = now + EVERY


def raised_first(error: BaseException) -> BaseException:
    """What an error of ours was made of; one of ours where the source itself found what is
    wrong."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
