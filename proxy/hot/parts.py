# cython: annotation_typing=False, language_level=3
"""What goes to several servers and comes back as if it had gone to one.

    send(data, place) ─▶ RouterCore ─┬─ Part ─▶ lane of node A ─┐
                                     ├─ Part ─▶ lane of node B ─┤ in any order
                                     └─ ...                     │
    place  ◀── fed from the front ── Weave ◀────────────────────┘

A part holds its requests until they are answered, for what is answered with a redirection is sent
again. Knows hash slots and which lane has them; what to do with redirections, with requests of
many keys or none, and with slots on the move is cluster/'s: RouterCore's methods that raise
NotImplementedError."""

from __future__ import annotations

# Names with _ are C functions, which the other files of this room call too.
# pyright: reportPrivateUsage=false
from array import array
from typing import Any

from ..errors import ProxyError
from ..resp.kernel import Cutter, RouteMap
from .answers import RunSlot, Slot
from .fills import CACHING, Fill, FillSlot, WriteSlot
from .lane import LaneCore, PartCore, Router
from .many import ManySlot
from .own import GetOrSetRun

# Who reads the replies to the proxy's own questions: no client.
NOBODY: Any = None
# One reply is passed on as it comes from this size on; smaller ones are looked at whole.
STREAM_AT = 64 * 1024

_CACHING = len(CACHING)
_STREAM_AT = STREAM_AT


class Part(PartCore):
    """The place of consecutive requests in one lane. Their replies are gathered: only when all are
    there is known whether any is to be asked for elsewhere."""

    def __init__(self, router: RouterCore, place: Slot, data: bytes, count: int) -> None:
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
        self.cuts = type(place) is GetOrSetRun
        self.caching = False  # what it reads is to be remembered by its node

    def feed(self, chunk: bytes) -> None:
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
        large = self.size > _STREAM_AT and self.count == 1 and not self.errors
        return large and self.want > 0 and not self.cuts

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
        self.whole = True
        weave, place = self.weave, self.place
        if weave is None:
            self.router.owing -= self.count
            self._hand_on(place)
        elif weave.first is self:
            weave._advance()

    def _hand_on(self, place: Slot) -> None:
        assert self.parts is not None
        chunk = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        if isinstance(place, GetOrSetRun):  # it looks at what the lane's cutter has seen
            run = place
            run.lane.cutter.cut(chunk, 0, self.count)
        place.want -= self.count
        place.feed(chunk)

    # The same for callers outside of the compiled path.

    def finish(self, reply: bytes) -> None:
        """This is what is to be handed on for it."""
        self.want = 0
        self.parts = [reply]
        self._finish()


class Weave:
    """The parts of one place, in the order of its requests."""

    def __init__(self, router: RouterCore, place: Slot) -> None:
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
                part._hand_on(place)
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


class Strand(RunSlot):
    """The replies of one node to its requests in a run. As the place of a part."""

    def __init__(self, braid: Braid, want: int) -> None:
        super().__init__(braid.place.session, want)
        self.braid = braid
        self.text = b""
        self.at = 0  # so much of it has been handed on

    def feed(self, chunk: bytes) -> None:
        if self.parts is None:
            self.parts = [chunk]
        else:
            self.parts.append(chunk)
        if not self.want:
            self.text = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
            self.braid._strand_done()

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

    def __init__(self, place: RunSlot) -> None:
        self.place = place
        self.order: list[int] = []  # whose requests, and how many: in turn
        self.strands: dict[int, Strand] = {}
        self.left = 0

    def _strand_done(self) -> None:
        self.left -= 1
        if self.left:
            return
        cutter, order, replies = Cutter(), self.order, list[bytes]()
        at, end = 0, len(self.order)
        while at < end:
            strand = self.strands[order[at]]
            text = strand.text
            begin = strand.at
            stop = cutter.cut(text, begin, order[at + 1], False)
            strand.at = stop
            replies.append(cutter.part(text, begin, stop))
            at += 2
        place = self.place
        place.want = 0
        place.feed(b"".join(replies))


class RouterCore(Router):
    """Sends each request to the lane that has its hash slot."""

    def __init__(self, routes: RouteMap, owners: array[int], canaries: bytearray) -> None:
        super().__init__()
        self.routes = routes  # PLAIN: commands with one key, which stands behind the name
        self.owners = owners  # by hash slot: which of ``lanes``; -1: none. Cluster's own
        self.lanes: list[LaneCore] = []
        self.gates: dict[int, Any] = {}  # by hash slot: what must wait
        self.owing = 0  # replies
        self.filling: Fill | None = None  # its value is asked for next
        # By hash slot, whether what is kept of it is known to be told of when it moves.
        self.canaries = canaries

    def _route(self, data: bytes, place: Slot) -> None:
        """Send whole requests, and have their place filled in order."""
        self.owing += place.want
        if type(place) is Fill:
            self._fill(data, place)
            return
        if type(place) is FillSlot and place.want == 3:
            self._fill_slot(data, place)
            return
        if type(place) is ManySlot and place.want > 1:
            data = self.refuse_fills(data, place)
        routes, lanes, gates = self.routes, self.lanes, self.gates
        if (
            not gates
            and place.want > 2
            and (type(place) is RunSlot or type(place) is WriteSlot)
            and self._braid(data, place)
        ):
            return
        end = len(data)
        pos = begin = count = before = 0
        lane: LaneCore | None = None
        weave: Weave | None = None
        while pos < end:
            found = routes.hash_slot(data, pos)
            if found >= 0 and (not gates or found not in gates):
                owner = self.owners[found]
                if owner >= 0:
                    to = lanes[owner]
                    if to is not lane:
                        if count:
                            if weave is None:
                                weave = Weave(self, place)
                            self._send_part(
                                weave, place, routes.part(data, begin, pos), before, count, lane
                            )
                            before += count
                        begin, count, lane = pos, 0, to
                    count += 1
                    pos = routes.end
                    continue
            if weave is None:
                weave = Weave(self, place)
            if count:
                self._send_part(weave, place, routes.part(data, begin, pos), before, count, lane)
                before += count
            pos = self.special(data, pos, found, place, weave)
            before += 1
            begin, count, lane = pos, 0, None
        if count:
            run = data if not begin else routes.part(data, begin, end)
            self._send_part(weave, place, run, before, count, lane)

    def _braid(self, data: bytes, place: RunSlot) -> bool:
        """Send a run, each node's requests in one piece; False: that is not for all of them, and
        nothing was sent."""
        routes, lanes = self.routes, self.lanes
        pos = begin = count = 0
        end, last = len(data), -1
        order: list[int] = []
        pieces: dict[int, list[bytes]] = {}
        while pos < end:
            found = routes.hash_slot(data, pos)
            owner = self.owners[found] if found >= 0 else -1
            if owner < 0:
                return False
            if owner != last:
                if count:
                    order += (last, count)
                    self._gather(pieces, last, routes.part(data, begin, pos))
                begin, count, last = pos, 0, owner
            count += 1
            pos = routes.end
        if not order:
            self._send_part(None, place, data, 0, count, lanes[last])
            return True
        order += (last, count)
        self._gather(pieces, last, routes.part(data, begin, end))
        braid = Braid(place)
        braid.order = order
        braid.left = len(pieces)
        braid.strands = strands = {owner: Strand(braid, 0) for owner in pieces}
        for at in range(0, len(order), 2):
            strand = strands[order[at]]
            strand.want += order[at + 1]
        marks = _marks(place, order) if place.marks is not None else None
        for owner, texts in pieces.items():
            strand = strands[owner]
            strand.count = strand.want
            part = Part(self, strand, texts[0] if len(texts) == 1 else b"".join(texts), strand.want)
            part.session = place.session
            part.flat = place.flat
            if place.reads and type(place) is RunSlot:
                part.reads = strand.want
                if marks is not None:
                    part.marks = bytes(marks[owner])
            lane = lanes[owner]
            part.lane = lane
            lane._send(part.data, part)
            if lane.choked:
                self.choke(lane)
        return True

    def _gather(self, pieces: dict[int, list[bytes]], owner: int, text: bytes) -> None:
        texts = pieces.get(owner)
        if texts is None:
            pieces[owner] = [text]
        else:
            texts.append(text)

    def _send_part(
        self,
        weave: Weave | None,
        place: Slot,
        data: bytes,
        before: int,
        count: int,
        lane: LaneCore | None,
    ) -> None:
        part = Part(self, place, data, count)
        if self.filling is not None:
            part.fill, self.filling = self.filling, None
        if type(place) is RunSlot:
            run = place
            part.session = run.session
            part.flat = run.flat
            if run.reads:
                if run.marks is None:
                    part.reads = count
                else:
                    part.marks = run.marks[before : before + count]
                    part.reads = 1
        if weave is not None:
            weave._add(part)
        part.lane = lane
        assert lane is not None
        lane._send(data, part)
        if lane.choked:
            self.choke(lane)

    def _fill(self, data: bytes, place: Fill) -> None:
        """The two requests before the reply that is to be kept: they go nowhere else."""
        found = self.routes.hash_slot(data, _CACHING)
        owner = self.owners[found] if found >= 0 and found not in self.gates else -1
        self.owing -= 2
        self.filling = place
        if owner < 0:
            place.want = 0
            place.feed(b"-TRYAGAIN\r\n-TRYAGAIN\r\n")
        else:
            lane = self.lanes[owner]
            if not self.canaries[found]:
                self.canary(found, lane)
            lane._send(data, place)

    def _fill_slot(self, data: bytes, place: FillSlot) -> None:
        """The same, and the request for the reply, in one piece."""
        found = self.routes.hash_slot(data, _CACHING)
        owner = self.owners[found] if found >= 0 and found not in self.gates else -1
        if owner < 0:
            self.routes.hash_slot(data, _CACHING)  # the offset behind PTTL
            end = self.routes.end
            self.owing -= 2
            place.want = 1
            place.feed(b"-TRYAGAIN\r\n-TRYAGAIN\r\n")
            self.owing -= 1
            self._route(self.routes.part(data, end, len(data)), place)
            return
        part = Part(self, place, data, 3)
        part.fill = place.fill
        part.lane = lane = self.lanes[owner]
        if not self.canaries[found]:
            self.canary(found, lane)
        lane._send(data, part)
        if lane.choked:
            self.choke(lane)

    # What cluster/ does.

    def special(self, data: bytes, pos: int, found: int, place: Slot, weave: Weave) -> int:
        """Add the request at ``pos`` to the weave, which is none of one key whose lane is known;
        the offset behind it. ``found`` is its hash slot, -1 where it was not looked for."""
        raise NotImplementedError

    def refuse_fills(self, data: bytes, place: ManySlot) -> bytes:
        """An MGET with questions of how long its values may be kept: its keys are in many slots,
        and nothing of it is kept. The MGET alone."""
        raise NotImplementedError

    def canary(self, slot: int, lane: LaneCore) -> None:
        """The first reply of the slot is on its way into the near cache."""
        raise NotImplementedError

    def choke(self, lane: LaneCore) -> None:
        """The lane takes no more for now."""
        raise NotImplementedError

    def look(self, part: Part) -> None:
        """Some of a part's replies, which are all here, are errors."""
        raise NotImplementedError

    def lost(self, part: Part, why: ProxyError) -> None:
        """Replies of a part will not come."""
        raise NotImplementedError


def _marks(run: RunSlot, order: list[int]) -> dict[int, bytearray]:
    """Which of each node's requests are reads of strings."""
    assert run.marks is not None
    found: dict[int, bytearray] = {}
    at = 0
    for turn in range(0, len(order), 2):
        count = order[turn + 1]
        found.setdefault(order[turn], bytearray()).extend(run.marks[at : at + count])
        at += count
    return found
