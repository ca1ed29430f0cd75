"""Those who wait for one lock in this process, in the order in which they came.

    ACQUIRE ─▶ line: [ last ] .. [ second ] [ head ]

Only the head of a line may ask. Owns the order and the watch that the line shares; what the head
asks, and when, is locks.py's."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from ..custom.spec import Watch


@dataclass(slots=True, eq=False)
class Caller:
    """One ACQUIRE. ``nonce``: tells it from others with its token, where that is the client's, who
    may send it again, here or through another proxy; empty: the token is this call's alone."""

    resource: bytes
    token: bytes
    ttl_ms: int
    nonce: bytes = b""
    contended: bool = False

    @property
    def named(self) -> bool:
        """Whether the token is the client's."""
        return bool(self.nonce)


@dataclass(slots=True, eq=False)
class Line:
    """Those who wait for one lock here, in the order in which they came: each one's turn comes when
    all before it have left."""

    watch: Watch
    # Until then the lock is known to be held, and the lane that pushes has read it; 0: not known.
    retry_at: float = 0.0
    turns: OrderedDict[asyncio.Future[None], None] = field(
        default_factory=OrderedDict[asyncio.Future[None], None]
    )

    def __repr__(self) -> str:
        return f"<Line waiting={len(self.turns)} fired={self.watch.fired}>"

    def enter(self, turn: asyncio.Future[None]) -> None:
        """Stand at the end. ``turn`` is done when all before it have left."""
        self.turns[turn] = None
        self._call_head()

    def leave(self, turn: asyncio.Future[None]) -> None:
        """Give the place up, wherever it is."""
        del self.turns[turn]
        self._call_head()

    def _call_head(self) -> None:
        head = next(iter(self.turns), None)
        if head is not None and not head.done():
            head.set_result(None)
