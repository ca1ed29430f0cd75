"""Slots: what is owed for requests that were sent on a lane, in the order of asking.

A lane holds its slots in one queue and feeds the one at the head; the slot says where the bytes go. Each
slot is filled exactly once: by ``want`` replies, or by ``fail`` for those that will not come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Done = Callable[[bytes], None]


class Slot(Protocol):
    """A place in an answer queue. The lane counts ``want`` down; nobody else touches it."""

    want: int

    def feed(self, chunk: bytes) -> None:
        """Bytes of the replies owed, in any split; ``want`` is already what is still owed after them."""

    def fail(self, line: bytes, inside: bool) -> None:
        """The lane is gone: ``want`` replies will not come, ``line`` stands for each.

        ``inside``: a part of the first of them has been fed already."""


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
