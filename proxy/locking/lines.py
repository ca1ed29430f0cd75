"""Those who wait for one lock or lease in this process, in the order in which they came.

    ACQUIRE ─▶ line: [ last ] .. [ second ] [ head ]

Only the head of a line may ask. Owns the order and the watch that the line shares; what the head
asks, and when, is said by locks.py and loading/leases.py."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from ..custom.spec import Watch
from ..errors import ProxyError


@dataclass(slots=True, eq=False)
class Caller:
    """One ACQUIRE. ``nonce``: tells it from others with its token, where that is the client's, who
    may send it again, here or through another proxy; empty: the token is this call's alone.
    ``lost``: why its last attempt was not answered; it may hold the lock all the same."""

    resource: bytes
    token: bytes
    ttl_ms: int
    nonce: bytes = b""
    contended: bool = False
    lost: ProxyError | None = None

    @property
    def named(self) -> bool:
        """Whether the token is the client's."""
        return bool(self.nonce)


# Done with None: the turn has come; with a value: that is what was waited for.
Turn = asyncio.Future[bytes | None]


@dataclass(slots=True, eq=False)
class Line:
    """Those who wait for one thing here, in the order in which they came: each one's turn comes
    when all before it have left."""

    watch: Watch
    # Until then it is known to be held, and the lane that pushes has read it; 0: not known.
    retry_at: float = 0.0
    entered: int = 0  # how many have come so far
    turns: OrderedDict[Turn, int] = field(default_factory=OrderedDict[Turn, int])

    def __repr__(self) -> str:
        return f"<Line waiting={len(self.turns)} fired={self.watch.fired}>"

    def enter(self, turn: Turn) -> None:
        """Stand at the end. ``turn`` is done when all before it have left."""
        self.entered += 1
        self.turns[turn] = self.entered
        self._call_head()

    def tell(self, value: bytes, entered: int) -> None:
        """Answer those of the first ``entered`` that are still here; who came later may know of a
        newer value."""
        for turn, number in self.turns.items():
            if number > entered:
                return
            if not turn.done():
                turn.set_result(value)

    async def due(self, clock: Callable[[], float], deadline: float) -> bool:
        """Wait until there may be news; False: the deadline came first, be it before what fired was
        seen: then it is the next head's to ask."""
        while not self.watch.fired:
            now = clock()
            if now >= self.retry_at:
                return True
            if now >= deadline:
                return False
            await self.watch.wait(min(self.retry_at, deadline) - now)
        return clock() < deadline

    def leave(self, turn: Turn) -> None:
        """Give the place up, wherever it is."""
        del self.turns[turn]
        self._call_head()

    def _call_head(self) -> None:
        head = next(iter(self.turns), None)
        if head is not None and not head.done():
            head.set_result(None)
