# cython: annotation_typing=False, language_level=3
"""What is sent for several servers, each request to the lane that has its hash slot.

    send(data, place) ─▶ _route ─┬─ one key each, all known ─▶ _spread: a Part for each node
                                 ├─ one key, its lane known ─▶ a Part with its neighbours
                                 ├─ what fills the near cache ▶ as one piece, to one lane
                                 └─ anything else ───────────▶ special: cluster/router.py

Knows hash slots and which lane has them. Methods that raise NotImplementedError are cluster/'s:
redirections, requests of many keys or none, and slots on the move."""

from __future__ import annotations

# Names with _ are C functions, which the other files of this room call too.
# pyright: reportPrivateUsage=false
from array import array
from typing import Any

from ..resp.kernel import RouteMap, spread
from .answers import RunSlot, Slot
from .fills import CACHING, Fill, FillSlot, WriteSlot
from .lane import LaneCore, Router
from .many import ManySlot
from .parts import Weave, new_braid, new_part

# What stands for each of the two replies that would say how long a value may be kept: it may not.
REFUSED = b"-TRYAGAIN\r\n"
NOT_KEPT = 2 * REFUSED

_CACHING = len(CACHING)
_NOT_KEPT = NOT_KEPT


class ReadingCore:
    """Where reads go, where that may be other nodes than the primaries (cluster/reads.py)."""

    def choose(self, data: bytes, place: Slot, primaries: list[LaneCore]) -> list[LaneCore]:
        """The lanes for a run of requests, in the order of ``primaries``."""
        raise NotImplementedError

    def refused(self, slot: int, lane: LaneCore | None) -> LaneCore | None:
        """Who is asked for a read that was not answered there; None: that was no replica, or the
        primary is asked."""
        raise NotImplementedError

    def is_replica(self, lane: LaneCore | None) -> bool:
        """Whether a read was sent there as to a replica."""
        raise NotImplementedError


class RouterCore(Router):
    """Sends each request to the lane that has its hash slot."""

    def __init__(self, routes: RouteMap, owners: array[int], canaries: bytearray) -> None:
        super().__init__()
        self.routes = routes  # PLAIN: commands with one key, which stands behind the name
        self.owners = owners  # by hash slot: which of ``lanes``; -1: none. Cluster's own
        self.lanes: list[LaneCore] = []
        self.reads: ReadingCore | None = None  # None: reads go where writes go
        self.chosen: list[LaneCore] = []  # by ``reads``, for what is routed now
        self.gates: dict[int, Any] = {}  # by hash slot: what must wait
        self.held_up: dict[object, Any] = {}  # by client: the same, of any slot or none
        self.filling: Fill | None = None  # its value is asked for next
        # By hash slot, whether what is kept of it is known to be told of when it moves.
        self.canaries = canaries

    def _route(self, data: bytes, place: Slot) -> None:
        lanes = self.lanes
        plain = False
        if type(place) is RunSlot or type(place) is WriteSlot:
            plain = True
            if self.reads is not None:
                lanes = self.chosen = self.reads.choose(data, place, lanes)
            if not self.gates and self.filling is None and self._spread(data, place, lanes):
                return
        self.owing += place.want
        if type(place) is Fill:
            self._fill(data, place)
            return
        if type(place) is FillSlot and place.want == 3:
            self._fill_slot(data, place)
            return
        if type(place) is ManySlot and place.want > 1:
            self.fill_many(data, place)
            return
        if not plain and self.reads is not None:
            lanes = self.chosen = self.reads.choose(data, place, lanes)
        if self.held_up and self.hold_up(data, place):
            return
        routes, gates = self.routes, self.gates
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

    def _spread(self, data: bytes, run: RunSlot, lanes: list[LaneCore]) -> bool:
        """Send a run, each node's requests in one piece; False: that is not for all of them, and
        nothing was sent."""
        count = run.want
        owner: int
        if count == 1:
            found = self.routes.hash_slot(data, 0)
            owner = self.owners[found] if found >= 0 else -1
            if owner < 0 or self.routes.end != len(data):
                return False
            self.owing += 1
            self._send_part(None, run, data, 0, 1, lanes[owner])
            return True
        pieces = spread(self.routes, data, self.owners, count)
        if pieces is None:
            return False
        self.owing += count
        order: bytes | None = pieces[0]
        if order is None:
            owner = pieces[1]
            self._send_part(None, run, data, 0, count, lanes[owner])
            return True
        number = len(pieces) // 3
        braid = new_braid(run, order, number)
        reads = run.reads > 0 and type(run) is RunSlot
        marks = None if run.marks is None else _marks(run.marks, order, number)
        for piece in range(number):
            owner = pieces[3 * piece + 1]
            lane = lanes[owner]
            part = new_part(self, run, pieces[3 * piece + 3], pieces[3 * piece + 2])
            part.braid = braid
            part.piece = piece
            part.session = run.session
            part.flat = run.flat
            if reads:
                part.reads = part.count
                if marks is not None:
                    part.marks = bytes(marks[piece])
            part.lane = lane
            lane._send(part.data, part)
            if lane.choked:
                self.choke(lane)
        return True

    def _send_part(
        self,
        weave: Weave | None,
        place: Slot,
        data: bytes,
        before: int,
        count: int,
        lane: LaneCore | None,
    ) -> None:
        part = new_part(self, place, data, count)
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
        lane = self._filling_lane(data)
        self.owing -= 2
        if lane is None:
            place.want = 0
            place.feed(_NOT_KEPT)
        else:
            self.filling = place
            lane._send(data, place)

    def _fill_slot(self, data: bytes, place: FillSlot) -> None:
        """The same, and the request for the reply, in one piece."""
        lane = self._filling_lane(data)
        if lane is None:
            behind = self.routes.end  # PTTL
            self.owing -= 3
            place.want = 1
            place.feed(_NOT_KEPT)
            self._route(self.routes.part(data, behind, len(data)), place)
            return
        part = new_part(self, place, data, 3)
        part.fill = place.fill
        part.lane = lane
        lane._send(data, part)
        if lane.choked:
            self.choke(lane)

    def _filling_lane(self, data: bytes) -> LaneCore | None:
        """Where PTTL behind CLIENT CACHING goes, and tells when its slot leaves; None: the slot is
        on the move, or nobody's, or some client waits for one that is."""
        found = self.routes.hash_slot(data, _CACHING)
        owner = self.owners[found] if found >= 0 and found not in self.gates else -1
        if owner < 0 or self.held_up:
            return None
        lane = self.lanes[owner]
        if not self.canaries[found]:
            self.canary(found, lane)
        return lane

    # What cluster/ does.

    def special(self, data: bytes, pos: int, found: int, place: Slot, weave: Weave) -> int:
        """Add the request at ``pos`` to the weave, which is none of one key whose lane is known;
        the offset behind it. ``found`` is its hash slot, -1 where it was not looked for."""
        raise NotImplementedError

    def fill_many(self, data: bytes, place: ManySlot) -> None:
        """Send an MGET with questions of how long its values may be kept: its keys are in many
        slots, and each goes with its question."""
        raise NotImplementedError

    def hold_up(self, data: bytes, place: Slot) -> bool:
        """Whether the place's client has to wait before anything else of it is sent: then these
        requests are kept."""
        raise NotImplementedError

    def canary(self, slot: int, lane: LaneCore) -> None:
        """The first reply of the slot is on its way into the near cache."""
        raise NotImplementedError

    def choke(self, lane: LaneCore) -> None:
        """The lane takes no more for now."""
        raise NotImplementedError


def _marks(marks: bytes, order: bytes, pieces: int) -> list[bytearray]:
    """Which of each node's requests are reads of strings."""
    found = [bytearray() for _ in range(pieces)]
    for mark, piece in zip(marks, order, strict=True):
        found[piece].append(mark)
    return found
