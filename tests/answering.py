"""A client's queue of answers by itself: no loop, no session; a test fills the slots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nearhit.proxy.hot.answers import Answers, Turn


class Queue(Answers):
    """Answers that keep what is written, and what the queue asks of its session."""

    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []
        super().__init__(Turn(self.later.append, 100.0, lambda: 100.0))
        self.socket = Socket()
        wire: Any = self.socket
        self.wire = wire
        self.resumed: list[int] = []
        self.pushes: list[bytes] = []
        self.aborted = ""

    def resume(self, reason: int) -> None:
        self.resumed.append(reason)
        self.stalls &= ~reason

    def pushed(self, frame: bytes) -> None:
        self.pushes.append(frame)

    def abort(self, why: str) -> None:
        self.aborted = why

    def took(self) -> bytes:
        """What has gone to the socket by the end of the turn."""
        later, self.later[:] = list(self.later), []
        for call in later:
            call()
        return self.socket.take()


class Socket:
    """What was written, and in how many pieces."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def take(self) -> bytes:
        taken, self.pieces = b"".join(self.pieces), []
        return taken
