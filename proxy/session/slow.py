"""What a client's command that was slow is told as: the client's name and address are with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..stats.slowlog import Slow
from .clients import Client
from .context import Context
from .telling import told


class Slowed(Protocol):
    """A session."""

    @property
    def context(self) -> Context: ...
    @property
    def client(self) -> Client: ...


def noted(
    session: Slowed,
    command: str,
    seconds: float,
    *,
    queue: float = 0.0,
    upstream: float = 0.0,
    load: float = 0.0,
) -> None:
    """Have it in the slow log."""
    slow, who = session.context.slow, session.client.identity
    slow.note(
        Slow(
            at=slow.wall(),
            seconds=seconds,
            queue=queue,
            upstream=upstream,
            load=load,
            command=command,
            peer=who.peer,
            name=who.name.decode("utf-8", "replace"),
            db=session.client.berth.lane_key.db,
            client=who.id,
        )
    )


def own_noted(session: Slowed, words: Sequence[bytes], seconds: float, load: float) -> None:
    """The same of a command of the proxy's own; what it did not wait for a load for, it did for the
    server."""
    context, load = session.context, min(load, seconds)
    command = told(words, context.table, context.customs)
    noted(session, command, seconds, upstream=seconds - load, load=load)
