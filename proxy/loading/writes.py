"""What a write by a command of the proxy's own makes old: one owner of it.

The near cache forgets the keys, and the loads and leases that run for them, whoever they are of,
are void. A client's plain writes go another way to the same two: the slots of hot/fills.py, and
session/writes.py."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from ..hot.fills import forget
from ..near.cache import NearCache


class Voidable(Protocol):
    """Loads or leases that a write ends (Flights, Leases)."""

    def void(self, keys: Sequence[bytes]) -> None: ...
    def void_matching(self, pattern: re.Pattern[bytes]) -> None: ...
    def void_tags(self, tags: Sequence[bytes]) -> None: ...


class Writes:
    """``running``: what runs in the db that is written, of all its users."""

    def __init__(self, near: NearCache | None, running: Callable[[], Iterable[Voidable]]) -> None:
        self._near = near
        self._running = running

    def __repr__(self) -> str:
        return f"<Writes near={self._near!r}>"

    def passed(self, keys: Sequence[bytes]) -> None:
        """These keys are being written, or have been: what was read before them is old."""
        if self._near is not None:
            forget(self._near, list(keys))
        for each in self._running():
            each.void(keys)

    def passed_matching(self, pattern: re.Pattern[bytes]) -> None:
        """The same for every key that matches, of those that are known here."""
        if self._near is not None:
            spaces = self._near.spaces.values()
            cached = {key for space in spaces for key in (*space.entries, *space.tickets)}
            forget(self._near, [key for key in cached if pattern.fullmatch(key)])
        for each in self._running():
            each.void_matching(pattern)

    def passed_tags(self, tags: Sequence[bytes]) -> None:
        """The same for every load whose key would be under one of these. What is kept near is told
        by its keys, as they go."""
        for each in self._running():
            each.void_tags(tags)
