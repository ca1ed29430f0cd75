"""A slot for the proxy's own questions. What a slot is, and those of sessions: hot.py and
session.py."""

from __future__ import annotations

from collections.abc import Callable

Done = Callable[[bytes], None]


class Ask:
    """One reply for the proxy itself, whole; also the error line when it does not come."""

    __slots__ = ("done", "parts", "want")

    def __init__(self, done: Done) -> None:
        self.want = 1
        self.done = done
        self.parts: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        self.parts.append(chunk)
        if not self.want:
            self.done(b"".join(self.parts))

    def fail(self, line: bytes, inside: bool) -> None:
        self.want = 0
        self.done(line)


def drop(_reply: bytes) -> None:
    """For an Ask whose reply nobody needs."""
