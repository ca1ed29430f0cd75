"""A bound on the callers that wait at once (the setting max_waiters).

Owns the count only: what the callers wait for, and how long, is theirs to say. Flights and locks
have a room each."""

from __future__ import annotations

from collections.abc import Callable

from .errors import ProxyError


class WaitingRoom:
    """Callers wait inside ``with room:``. One who comes when ``limit`` are inside gets the error
    that ``busy`` makes."""

    def __init__(self, limit: int, what: str, busy: Callable[[str], ProxyError]) -> None:
        self.limit = limit
        self.waiting = 0
        self._what = what
        self._busy = busy

    def __repr__(self) -> str:
        return f"<WaitingRoom {self.waiting}/{self.limit}>"

    def __enter__(self) -> None:
        if self.waiting >= self.limit:
            raise self._busy(f"{self.limit} callers wait for {self._what} already (max_waiters)")
        self.waiting += 1

    def __exit__(self, *_: object) -> None:
        assert self.waiting > 0
        self.waiting -= 1
