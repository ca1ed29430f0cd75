"""Clients wait while Sentinels change the master (``hold_writes_on_failover``).

    failover begins ─▶ begin: nobody's requests are read any more ─▶ end: all go on, in their order
                                            └── ``seconds`` later, in any case ──▶

What is written between the promotion of a replica and the news of it is acknowledged by a master
that is none any more, and is lost. Reads wait too: they stand in one line with the writes. What was
sent before is answered. What waits is bounded as for any client that stalls (session.py,
READ_AHEAD). process/wiring.py says when."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from ..log import event
from .clients import Client
from .reasons import STALL_HELD

log = logging.getLogger(__name__)


class Timer(Protocol):
    def cancel(self) -> None: ...


class Holding:
    """``seconds`` is how long clients wait at most; 0: they do not."""

    def __init__(
        self, clients: Iterable[Client] = (), call_later: Callable[..., Timer] | None = None
    ) -> None:
        self.seconds = 0.0
        self._clients = clients
        self._call_later: Callable[..., Timer] | None = call_later
        self._timer: Timer | None = None  # of the end; None: nobody waits

    def __repr__(self) -> str:
        return f"<Holding {'on' if self.on else 'off'} seconds={self.seconds:g}>"

    @property
    def on(self) -> bool:
        return self._timer is not None

    def take(self, client: Client) -> None:
        """A client has just connected."""
        if self.on:
            client.stall(STALL_HELD)

    def begin(self) -> None:
        """A failover begins: clients wait, if they shall."""
        if self.on or not self.seconds or self._call_later is None:
            return
        why = f"it takes longer than {self.seconds:g} s"
        self._timer = self._call_later(self.seconds, self.end, why)
        event(log, logging.WARNING, "requests held", seconds=self.seconds)
        for client in self._clients:
            client.stall(STALL_HELD)

    def end(self, why: str) -> None:
        """It is over: clients go on."""
        timer, self._timer = self._timer, None
        if timer is None:
            return
        timer.cancel()
        event(log, logging.WARNING, "requests go on", reason=why)
        for client in self._clients:
            client.resume(STALL_HELD)
