"""Clients that broke the protocol: told so at once, closed a moment later.

    protocol error ─▶ told, and not read from any more ─ WAIT_S ─▶ closed
                        └ more than WAITING_MAX of them: the oldest is closed at once

One that is closed at once, and connects again at once with more of the same, keeps the proxy busy
with accepting, reading and refusing: beside such a flood the p99 of others was four times what it
is without (tests.bench.hostile). A person who has mistyped something does not notice the wait."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

from .reasons import STALL_END

WAIT_S: Final = 0.1
WAITING_MAX: Final = 256


class Offending(Protocol):
    """The session."""

    stalls: int

    @property
    def head(self) -> object: ...
    def stall(self, reason: int) -> object: ...
    def stop_reading(self) -> None: ...
    def take_rest(self) -> bytes: ...
    def close(self) -> None: ...


class Offenders:
    """Those that wait for their end."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[Offending] = deque()  # the oldest first: all wait equally long

    def __repr__(self) -> str:
        return f"<Offenders {len(self._waiting)}>"

    def end(self, session: Offending) -> None:
        """It has been told, and gets nothing more but what it is owed already."""
        if session.head is not None:
            session.stall(STALL_END)  # that, and then its end: it waits for the server anyhow
            return
        session.stalls |= STALL_END
        session.take_rest()
        session.stop_reading()
        self._waiting.append(session)
        asyncio.get_running_loop().call_later(WAIT_S, self._over, session)
        if len(self._waiting) > WAITING_MAX:
            self._waiting.popleft().close()

    def _over(self, session: Offending) -> None:
        if self._waiting and self._waiting[0] is session:
            self._waiting.popleft().close()
