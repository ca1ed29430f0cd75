"""What traces are told of: the proxy's own commands, its jobs, and the loads of its loaders.

    command, job ─▶ the span of its task ◀─ a load is its child ─▶ headers of the load's request

The context of a task has its span, and asyncio hands contexts on to the tasks that it starts: so a
load finds what it is for, through flights that know nothing of it. ``Traces`` makes none, which is
what ``traces = off`` is, and OpenTelemetry's are stats/otlp.py's. Values are in no span, and keys
are shortened as the slow log does."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Final, Protocol


class Span(Protocol):
    """What takes its time while it is open. An error that leaves it is the span's."""

    def tell(self, name: str, value: str) -> None:
        """One more fact of it."""
        ...


class _Unseen(AbstractContextManager["_Unseen", None]):
    """A span that nobody sees; one for all."""

    __slots__ = ()

    def __exit__(self, *_: object) -> None: ...

    def tell(self, name: str, value: str) -> None: ...


UNSEEN: Final = _Unseen()
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Traces:
    """None are made."""

    on = False

    def __repr__(self) -> str:
        return "<Traces off>"

    def command(self, name: str, text: str, db: int) -> AbstractContextManager[Span]:
        """A command of the proxy's own runs. ``name``: with the word behind it, where that says
        what it is; ``text``: the request as it may be shown."""
        return UNSEEN

    def job(self, command: str, id: str, db: int) -> AbstractContextManager[Span]:
        """A job of the command runs."""
        return UNSEEN

    def load(
        self, loader: str, kind: str, address: str, key: bytes
    ) -> AbstractContextManager[Span]:
        """A loader is asked for a key. ``kind``: what it loads from; ``address``: of the server
        that it asks, as ``host:port`` or a path; empty: it asks none."""
        return UNSEEN

    def joined(self) -> None:
        """What runs waits for a load that others began."""

    def headers(self) -> Mapping[str, str]:
        """By which a server that is asked now finds the span that runs (W3C Trace Context)."""
        return NO_HEADERS

    async def close(self) -> None:
        """Send what is left, within a bound."""


OFF: Final = Traces()
