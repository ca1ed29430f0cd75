"""A slot for the proxy's own questions. What a slot is, and those of sessions: hot.py and
session.py."""

from __future__ import annotations

from collections.abc import Callable

Done = Callable[[bytes], None]


class AskSlot:
    """Replies for the proxy itself, in one piece; one error line when they do not all come."""

    __slots__ = ("done", "parts", "want")

    def __init__(self, done: Done, want: int = 1) -> None:
        self.want = want
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
    """For an AskSlot whose reply nobody needs."""
