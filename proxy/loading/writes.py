"""What a write by a command of the proxy's own makes old: one owner of it.

The near cache forgets the keys, and the loads and leases that run for them, whoever they are of,
are void. A client's plain writes go another way to the same two: the slots of hot/fills.py, and
session/writes.py."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

from ..hot.fills import forget
from ..near.cache import NearCache, Space

SLICE: Final = 1000  # entries looked at in one go: 0.3 ms


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

    async def passed_matching(self, *patterns: re.Pattern[bytes]) -> None:
        """The same for every key that matches one of them, of those that are known here now.

        What runs is void at once. What is near is forgotten by and by, so that nobody waits for the
        hundreds of thousands of entries that a near cache has; all of it in any case."""
        for each in self._running():
            for pattern in patterns:
                each.void_matching(pattern)
        slices = self._known()
        try:
            for keys in slices:
                self._forget_matching(keys, patterns)
                await asyncio.sleep(0)
        finally:
            for keys in slices:  # cancelled: the rest in one go
                self._forget_matching(keys, patterns)

    def passed_tags(self, tags: Sequence[bytes]) -> None:
        """The same for every load whose key would be under one of these. What is kept near is told
        by its keys, as they go."""
        for each in self._running():
            each.void_tags(tags)

    def _known(self) -> Iterator[Iterable[bytes]]:
        """The keys of all that is near or on its way there now, in slices. What comes later was
        read behind the write: it may be among them or not."""
        spaces = [] if self._near is None else list(self._near.spaces.values())
        keys = [key for space in spaces for key in (*space.tickets, *_of_others(space))]
        for at in range(0, len(keys), SLICE):
            yield keys[at : at + SLICE]
        for space in spaces:
            entries = space.entries.values()
            for at in range(0, len(entries), SLICE):
                yield [entry.key for entry in entries[at : at + SLICE]]

    def _forget_matching(
        self, keys: Iterable[bytes], patterns: Sequence[re.Pattern[bytes]]
    ) -> None:
        assert self._near is not None  # or no keys are known
        found = {key for key in keys if any(pattern.fullmatch(key) for pattern in patterns)}
        if found:
            forget(self._near, list(found))


def _of_others(space: Space) -> Iterable[bytes]:
    """The keys that requests other than GET have read."""
    return () if space.others is None else space.others.requests or ()
