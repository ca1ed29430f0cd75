"""An MGET of a cluster that fills the near cache: each of its pieces by itself, as a GET does.

    ManySlot ◀─ merged ─ Gathering ◀─┬─ MGET of slot A ─ behind CLIENT CACHING, PTTL of its keys
                                     └─ MGET of slot B ─ behind those of its keys, at that node
    Fill ◀── how long ── the same lane, before the values ── kept as the piece is answered

What is kept came straight from the node that tells of its changes: of a piece that was sent again,
for whatever reason, nothing is. Where requests go is router.py's."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from ..hot.fills import CACHING, Fill
from ..hot.lane import LaneCore
from ..hot.many import ManySlot
from ..hot.parts import Part, Weave
from ..resp.kernel import Cutter, split
from ..resp.requests import encode
from ..upstream.ask import Done, Reply
from .gated import Gated
from .pieces import Gathering, PieceSlot, cut
from .plans import One, Spread
from .topology import UNCOVERED

_NILS: Final = (b"_\r\n", b"$-1\r\n")


class Filling:
    """The fills of one MGET, by key; as many as that is named."""

    def __init__(self, request: bytes, fills: Sequence[Fill | None]) -> None:
        self._by_key: dict[bytes, deque[Fill | None]] = defaultdict(deque)
        words, _ = split(request, 0)
        for key, fill in zip((words or ())[1:], fills, strict=False):
            self._by_key[key].append(fill)

    def begin(self, part: Part, lane: LaneCore | None) -> None:
        """Have what answers the part kept, whose request goes to the lane behind what is sent
        here; None: not kept."""
        words, _ = split(part.data, 0)
        fills = [
            self._by_key[key].popleft() if self._by_key[key] else None for key in (words or ())[1:]
        ]
        wanted = [(key, fill) for key, fill in zip((words or ())[1:], fills, strict=True) if fill]
        for key, fill in wanted:
            if lane is None:
                fill.give_up()
            else:
                lane.send(CACHING + encode([b"PTTL", key]), fill)
        if wanted and lane is not None:
            assert isinstance(part.place, PieceSlot)
            part.place.done = partial(_answered, part, fills, part.place.done)

    def give_up(self) -> None:
        """Nothing else is kept."""
        for fills in self._by_key.values():
            for fill in filter(None, fills):
                fill.give_up()


def _answered(part: Part, fills: Sequence[Fill | None], done: Done, reply: Reply) -> None:
    head = b"*%d\r\n" % len(fills)
    values: Sequence[bytes] = ()
    if isinstance(reply, bytes) and not part.tries and reply.startswith(head):
        values = cut(reply[len(head) :], len(fills))
    for at, fill in enumerate(fills):
        if fill is not None:
            _keep(fill, values[at] if values else b"")
    done(reply)


def _keep(fill: Fill, value: bytes) -> None:
    if value in _NILS:
        fill.keep(None)
    elif value.startswith(b"$") and len(value) <= fill.space.cache.value_max:
        fill.keep(value)
    else:
        fill.give_up()


class FillsMany(Gated):
    """Of a router: what such an MGET becomes."""

    def fill_many(self, data: bytes, place: ManySlot) -> None:
        asked, fills = place.want - 1, place.fills
        self.owing -= asked
        place.want, place.fills = 1, []
        request = data[Cutter(True).cut(data, 0, asked) :]
        filling = Filling(request, fills)
        if not (self.held_up and self.hold_up(request, place)):
            self._send_many(request, place, filling)
        filling.give_up()

    def _send_many(self, request: bytes, place: ManySlot, filling: Filling) -> None:
        whole = self._child(request, place, Weave(self, place))
        words, _ = split(request, 0)
        plan = self.nodes.plan(words or [b""])
        if isinstance(plan, One):
            plan = Spread([(plan.slot, request)], b"".join)
        if not isinstance(plan, Spread):  # it has no key, or the table no MGET
            self._dispatch(whole)
            return
        gathering = Gathering(self, self, whole, len(plan.pieces), plan.merge)
        for at, (slot, piece) in enumerate(plan.pieces):
            part = gathering.part(at, piece)
            filling.begin(part, self._tells(slot))
            self._to_slot(slot, part)

    def _tells(self, slot: int) -> LaneCore | None:
        """The lane that tells of what is kept of the slot, and when it leaves; None: it moves."""
        owner = self._whose[slot]
        if owner == UNCOVERED or slot in self.gates or self._closed is not None:
            return None
        if not self._front.canaries.sent[slot]:
            self.canary(slot, self.lanes[owner])
        return self.lanes[owner]
