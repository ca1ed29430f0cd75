"""The slot for the proxy's own questions: it collects the replies and hands them to a function.

A slot is what waits on a lane for the replies to one request (hot/ has the protocol Slot, and the
slots of sessions). Pure: no loop, no lane."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ProxyError
from ..forgoing import forgoes

# All the replies as one piece, or why they will not all come.
Reply = bytes | ProxyError
Done = Callable[[Reply], None]


class AskSlot:
    """Waits for ``want`` replies, then calls ``done`` once: with all of them, or with the error
    when they do not all come. ``forgoes``: who asked can do without (forgoing.py)."""

    __slots__ = ("done", "forgoes", "parts", "want")

    def __init__(self, done: Done, want: int = 1) -> None:
        self.want = want
        self.forgoes = forgoes()
        self.done = done
        self.parts: list[bytes] = []

    def __repr__(self) -> str:
        return f"<AskSlot want={self.want}>"

    def feed(self, chunk: bytes) -> None:
        self.parts.append(chunk)
        if not self.want:
            self.done(b"".join(self.parts))

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0
        self.done(why)


def drop(_reply: Reply) -> None:
    """Ignore a reply: the ``done`` of an AskSlot whose reply nobody needs."""
