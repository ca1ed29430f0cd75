# cython: annotation_typing=False, language_level=3
"""What went to several servers comes back as if it had gone to one.

    RouterCore ─┬─ Part ─▶ lane of node A ─┐              a run for several nodes in turn:
                ├─ Part ─▶ lane of node B ─┤ in any order a Braid, and a Part for each
                └─ ...                     │
    place  ◀── fed from the front ── Weave ◀

A part holds its requests until they are answered, for what is answered with a redirection is sent
again. What is sent where is router.py's; what redirections mean is cluster/'s."""

from __future__ import annotations

# Names with _ are C functions, which the other files of this room call too.
# pyright: reportPrivateUsage=false
from typing import Any

from ..errors import ProxyError
from ..resp.kernel import Cutter, weave
from .answers import RunSlot, Slot
from .fills import Fill
from .lane import LaneCore, PartCore, Router
from .own import GetOrSetRun

# Who reads the replies to the proxy's own questions: no client.
NOBODY: Any = None
# One reply is passed on as it comes from this size on; smaller ones are looked at whole.
STREAM_AT = 64 * 1024

_STREAM_AT = STREAM_AT


class Part(PartCore):
    """The place of consecutive requests in one lane. Their replies are gathered: only when all are
    there is known whether any is to be asked for elsewhere."""

    def __init__(self, router: Router, place: Slot, data: bytes, count: int) -> None:
        super().__init__(NOBODY, count)
        self.router = router
        self.place = place
        self.data = data
        self.weave: Weave | None = None
        self.next: Part | None = None
        self.lane: LaneCore | None = None  # where it was sent
        self.hash_slot = -1  # of its request, where it is one and that is known
        self.size = 0
        self.whole = False
        self.streams = False
        self.tries = 0  # how often it was sent again
        self.hops = 0  # and of these, because a node named another
        self.until = 0.0  # to be given up then; 0: was never sent again
        self.fill: Fill | None = None  # what its reply would be kept by, if it is not redirected
        self.caching = False  # what it reads is to be remembered by its node
        self.braid: Braid | None = None  # which has its replies, while they are all answers
        self.piece = 0  # of the braid

    def feed(self, chunk: bytes) -> None:
        if not self.want and self.parts is None and not (self.errors or self.streams):
            self._answered(chunk)  # in one piece, as nearly always
            return
        if self.streams:
            self._stream(chunk)
            return
        if self.parts is None:
            self.parts = [chunk]
        else:
            self.parts.append(chunk)
        self.size += len(chunk)
        if not self.want:
            if self.errors:
                self._unbraid()
                self.router.look(self)
            else:
                self._finish()
        elif self._may_stream() and self._is_first():
            self.streams = True
            chunk = b"".join(self.parts)
            self.parts = None
            self._stream(chunk)

    def push(self, frame: bytes) -> None:
        place: Any = self.place
        if isinstance(place, RunSlot):
            place.push(frame)

    def fail(self, why: ProxyError, inside: bool) -> None:
        if not self.streams:
            self._unbraid()
            self.router.lost(self, why)
            return
        self.want = 0
        self.router.owing -= 1
        weave = self.weave
        if weave is None:
            self.place.fail(why, True)
            return
        weave.failed = True  # what comes for the others is nobody's
        weave.first = self.next
        self.place.fail(why, True)
        weave._advance()

    def _may_stream(self) -> bool:
        """Whether it is one large reply that is an answer, and not whole yet."""
        if self.size <= _STREAM_AT or self.count != 1 or self.errors or self.braid is not None:
            return False
        return self.want > 0 and not isinstance(self.place, GetOrSetRun)

    def _is_first(self) -> bool:
        weave = self.weave
        return weave is None or (weave.first is self and not weave.failed)

    def _stream(self, chunk: bytes) -> None:
        place = self.place
        if self.want:
            place.feed(chunk)
            return
        self.router.owing -= 1
        place.want -= 1
        place.feed(chunk)
        if self.weave is not None:
            self.weave.first = self.next
            self.weave._advance()

    def _finish(self) -> None:
        """All replies are here, and final."""
        chunk, self.parts = self._gathered(), None
        self._answered(chunk)

    def _gathered(self) -> bytes:
        assert self.parts is not None
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)

    def _answered(self, chunk: bytes) -> None:
        self.whole = True
        whole = self.weave
        if whole is not None:
            self.parts = [chunk]
            if whole.first is self:
                whole._advance()
            return
        self.router.owing -= self.count
        if self.braid is not None:
            self.braid._put(self.piece, chunk)
        else:
            self._hand_on(self.place, chunk)

    def _hand_on(self, place: Slot, chunk: bytes) -> None:
        if isinstance(place, RunSlot):
            slot = place
            slot.want -= self.count
            slot.feed(chunk)
            return
        if isinstance(place, GetOrSetRun):  # it looks at what the lane's cutter has seen
            run = place
            run.lane.cutter.cut(chunk, 0, self.count)
        place.want -= self.count
        place.feed(chunk)

    def _unbraid(self) -> None:
        """What its replies are is to be decided for each of them."""
        if self.braid is not None:
            self.place = Strand(self.braid, self.piece, self.count)
            self.braid = None

    # The same for callers outside of the compiled path.

    def finish(self, reply: bytes) -> None:
        """This is what is to be handed on for it."""
        place: Any = self.place
        if isinstance(place, RunSlot) and not isinstance(place, PartCore):
            cutter = Cutter()
            cutter.cut(reply, 0, self.count)
            place.session.turn.errors += cutter.errors
        self.want = 0
        self.parts = [reply]
        self._finish()


class Weave:
    """The parts of one place, in the order of its requests."""

    def __init__(self, router: Router, place: Slot) -> None:
        self.router = router
        self.place = place
        self.first: Part | None = None
        self.last: Part | None = None
        self.failed = False

    def _add(self, part: Part) -> None:
        part.weave = self
        if self.first is None:
            self.first = part
        else:
            assert self.last is not None
            self.last.next = part
        self.last = part

    def add(self, part: Part) -> None:
        self._add(part)

    def _advance(self) -> None:
        """Hand on what stands complete at the front."""
        part = self.first
        place = self.place
        while part is not None and part.whole:
            self.first = part.next
            self.router.owing -= part.count
            if not self.failed and part.count:
                part._hand_on(place, part._gathered())
            part = self.first
        if self.failed or part is None or part.errors:
            return
        if part.parts is not None and part._may_stream():
            part.streams = True
            chunk = b"".join(part.parts)
            part.parts = None
            part._stream(chunk)

    def replace(self, part: Part, others: list[Part]) -> None:
        """Put these in the place of a part."""
        for one, behind in zip(others, [*others[1:], part.next], strict=True):
            one.weave, one.next = self, behind
        if self.last is part:
            self.last = others[-1]
        if self.first is part:
            self.first = others[0]
        else:
            before = self.first
            while before is not None and before.next is not part:
                before = before.next
            assert before is not None
            before.next = others[0]
        part.weave = None
        self._advance()


def new_part(router: Router, place: Slot, data: bytes, count: int) -> Part:
    """As Part(), which costs 1 us more."""
    part: Part = Part.__new__(Part)
    part.session = NOBODY
    part.want = part.count = count
    part.reads = part.errors = 0
    part.flat = False
    part.marks = part.parts = part.following = None
    part.router = router
    part.place = place
    part.data = data
    part.weave = part.next = part.lane = part.fill = part.braid = None
    part.hash_slot = -1
    part.size = part.tries = part.hops = part.piece = 0
    part.whole = part.streams = part.caching = False
    part.until = 0.0
    return part


class Strand(RunSlot):
    """The replies of one node to its requests in a run, where some of them are no answers: the
    place of its part."""

    def __init__(self, braid: Braid, piece: int, want: int) -> None:
        super().__init__(braid.place.session, want)
        self.braid = braid
        self.piece = piece

    def feed(self, chunk: bytes) -> None:
        if self.parts is None:
            self.parts = [chunk]
        else:
            self.parts.append(chunk)
        if not self.want:
            self.braid._put(self.piece, b"".join(self.parts))

    def fail(self, why: ProxyError, inside: bool) -> None:
        if inside:
            self.session.abort("the server went away in the middle of a reply")
            self.parts, self.want = None, self.count  # nobody gets any of them
        want = self.want
        self.want = 0
        self.feed(why.line * want)


class Braid:
    """A run whose requests go to several nodes in turn: each node gets its own in one piece, and
    the replies are put in order when all are there."""

    place: RunSlot
    order: bytes  # for each request, which piece has it
    texts: list[bytes]  # the replies to each
    left: int  # pieces

    def _put(self, piece: int, text: bytes) -> None:
        self.texts[piece] = text
        self.left -= 1
        if self.left:
            return
        place = self.place
        place.want = 0
        place.feed(weave(self.order, self.texts))


def new_braid(place: RunSlot, order: bytes, pieces: int) -> Braid:
    """Without __init__, as new_part."""
    braid: Braid = Braid.__new__(Braid)
    braid.place = place
    braid.order = order
    braid.texts = [b""] * pieces
    braid.left = pieces
    return braid
