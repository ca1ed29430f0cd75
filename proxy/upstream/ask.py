"""A slot for the proxy's own questions. What a slot is, and those of sessions: hot.py and
session.py."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ProxyError

# Replies, whole, or why they will not all come.
Reply = bytes | ProxyError
Done = Callable[[Reply], None]


class AskSlot:
    """Replies for the proxy itself, in one piece; one error when they do not all come."""

    __slots__ = ("done", "parts", "want")

    def __init__(self, done: Done, want: int = 1) -> None:
        self.want = want
        self.done = done
        self.parts: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        self.parts.append(chunk)
        if not self.want:
            self.done(b"".join(self.parts))

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0
        self.done(why)


def drop(_reply: Reply) -> None:
    """For an AskSlot whose reply nobody needs."""
