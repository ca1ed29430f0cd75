"""The answers of a virtual connection, in the order in which they were asked for.

    place, place, place ── filled in any order ──▶ handed out from the front ──▶ out
    push ─────────────────────────────── between two replies ───────────────────▶

Owns the order and the bytes that wait for their turn. Knows no request; connection.py does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..errors import ProxyError


class Place:
    """Where one answer goes (hot.answers.Slot). ``session``: who reads it, for the lanes."""

    __slots__ = ("_begun", "_behind", "_parts", "_replies", "session", "want")

    def __init__(self, replies: Replies, want: int = 1) -> None:
        self.want = want
        self.session = replies.reader
        self._replies = replies
        self._parts: list[bytes] = []
        self._behind: list[bytes] = []  # pushes that came while this was being handed out
        self._begun = False

    def feed(self, chunk: bytes) -> None:
        self._parts.append(chunk)
        self._replies.advance(self)

    def fail(self, why: ProxyError, inside: bool) -> None:
        want, self.want = self.want, 0
        if inside and self._begun:
            self._replies.broken("the server went away in the middle of a reply")
        elif inside:
            self._parts.clear()
        self.feed(why.line * want)

    def fill(self, reply: bytes) -> None:
        """The whole answer."""
        self.want = 0
        self.feed(reply)

    # Of Replies.

    def take(self) -> list[bytes]:
        """What there is of it by now."""
        parts, self._parts = self._parts, []
        self._begun = self._begun or bool(parts)
        if not self.want:
            parts += self._behind
        return parts

    def push(self, frame: bytes) -> bool:
        """Keep a push for the end of the answer, where it has begun."""
        if self._begun:
            self._behind.append(frame)
        return self._begun


class Replies:
    """``ready`` is called when there is something to take that was not there; ``broken`` when
    nothing can follow any more."""

    def __init__(
        self, reader: object, ready: Callable[[], None], broken: Callable[[str], None]
    ) -> None:
        self.reader = reader
        self.broken = broken
        self._ready = ready
        self._places: deque[Place] = deque()
        self._out: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Replies owing={len(self._places)} parts={len(self._out)}>"

    @property
    def owing(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._places)

    def place(self, want: int = 1) -> Place:
        """The next place."""
        place = Place(self, want)
        self._places.append(place)
        return place

    def say(self, reply: bytes) -> None:
        """An answer that is there already."""
        self.place().fill(reply)

    def push(self, frame: bytes) -> None:
        """A frame that answers nothing."""
        if not self._places or not self._places[0].push(frame):
            self._add([frame])

    def advance(self, place: Place) -> None:
        """A place has got something."""
        while self._places and self._places[0] is place:
            self._add(place.take())
            if place.want:
                return
            self._places.popleft()
            if self._places:
                place = self._places[0]

    def _add(self, parts: list[bytes]) -> None:
        if parts:
            if not self._out:
                self._ready()
            self._out += parts

    def take(self) -> bytes:
        """All that may be handed out."""
        data = b"".join(self._out)
        self._out.clear()
        return data
