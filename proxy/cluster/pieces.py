"""One request as several, and several in one piece as one by one. Pure but for its counting of what
is owed; where they are sent is router.py's."""

from __future__ import annotations

from typing import Protocol

from ..hot.answers import Slot
from ..hot.parts import Part
from ..hot.router import RouterCore
from ..resp.kernel import Cutter, split
from ..resp.requests import encode
from ..upstream.ask import AskSlot, Done, Reply
from .plans import Merge

_SCRIPTS = (b"EVAL", b"FCALL")  # and what begins so


class Gatherer(Protocol):
    """Who hands on what several replies come to."""

    def gathered(self, whole: Part, reply: bytes) -> None: ...


class PieceSlot(AskSlot):
    """The place of one of several requests that stand for that of ``whole``. ``session``: whose
    they are."""

    __slots__ = ("session",)

    def __init__(self, done: Done, whole: Slot) -> None:
        super().__init__(done)
        self.session = client_of(whole)
        self.forgoes = isinstance(whole, AskSlot) and whole.forgoes


def client_of(place: Slot) -> object:
    """Who asked; None: the proxy itself."""
    return getattr(place, "session", None)


class Gathering:
    """Several requests that stand for one: when all are answered, the one has its answer."""

    def __init__(
        self, router: RouterCore, gatherer: Gatherer, whole: Part, count: int, merge: Merge
    ) -> None:
        self._router = router
        self._gatherer = gatherer
        self._whole = whole
        self._replies: list[bytes] = [b""] * count
        self._left = count
        self._merge = merge
        router.owing += count

    def part(self, at: int, request: bytes) -> Part:
        """The place of one of them."""

        def done(reply: Reply) -> None:
            self._replies[at] = reply if isinstance(reply, bytes) else reply.line
            self._left -= 1
            if not self._left:
                self._gatherer.gathered(self._whole, self._merge(self._replies))

        place = PieceSlot(done, self._whole.place)
        return Part(self._router, place, request, 1)


def cut(text: bytes, count: int) -> list[bytes]:
    """So many whole replies."""
    cutter, pos, replies = Cutter(), 0, list[bytes]()
    for _ in range(count):
        end = cutter.cut(text, pos, 1)
        replies.append(text[pos:end])
        pos = end
    return replies


def requests_of(part: Part) -> list[bytes]:
    """The requests of a part, one by one."""
    if part.count == 1:
        return [part.data]
    cutter, pos, requests = Cutter(True), 0, list[bytes]()
    for _ in range(part.count):
        end = cutter.cut(part.data, pos, 1)
        requests.append(part.data[pos:end])
        pos = end
    return requests


def singles(router: RouterCore, part: Part) -> list[Part]:
    """The requests of a part, each as a part that has been through the same."""
    made: list[Part] = []
    for at, request in enumerate(requests_of(part)):
        piece = Part(router, part.place, request, 1)
        piece.session, piece.flat = part.session, part.flat
        piece.reads = part.reads and (part.marks is None or part.marks[at])
        piece.lane, piece.tries, piece.until = part.lane, part.tries, part.until
        piece.hops = part.hops
        made.append(piece)
    return made


def give(part: Part, reply: bytes) -> None:
    """The answer that a part gets, where no lane has fed it."""
    if part.flat or part.reads:
        cutter = Cutter()
        cutter.places = []
        cutter.cut(reply, 0, 1)
        if part.reads:
            part.session.turn.hits += cutter.bulks
            part.session.turn.misses += cutter.nulls
        if part.flat and cutter.places:
            reply = cutter.flat(reply, 0, len(reply))
    part.errors = 0
    part.finish(reply)


def end_of(data: bytes, pos: int) -> int:
    """The offset behind the request that begins there."""
    return Cutter(True).cut(data, pos, 1)


def probe_of(request: bytes) -> bytes | None:
    """For a script, which may answer with any error it likes: a question about the same keys to
    which the server redirects if it does so for the script, and which nobody can forge. Without
    keys there is none: b"". None: it is no script."""
    words, _ = split(request, 0)
    if words is None or not words[0].upper().startswith(_SCRIPTS):
        return None
    try:
        count = int(words[2])
    except (IndexError, ValueError):
        return b""
    return encode([b"EXISTS", *words[3 : 3 + count]]) if count > 0 else b""
