"""A loop in time of its own: time passes only while nothing is ready, so that seconds of waiting
cost nothing and are exact. For what has no sockets."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class Skipping(selectors.DefaultSelector):
    """Lets no time pass but on the clock."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "nothing will ever happen again"
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = Skipping()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now
