# cython: annotation_typing=False, language_level=3
"""How runs of a session's requests go out: on which lane, and with which place in its answers.

    run of requests ─┬─ TRACKED ──▶ the tracked lane, for reads while the near cache is in use
                     └─ else ─────▶ the session's lane (attach finds one)

Each run takes one slot in the queue of answers and one in the lane's, in the same turn: that is all
of the order that there is. What to send is session.py's to know."""

from __future__ import annotations

# Names with _ are C functions, which the other files of this room call too.
# pyright: reportPrivateUsage=false
from ..near.cache import Space
from ..near.index import Ticket
from ..resp.kernel import RouteMap
from ..resp.modes import Mode
from .answers import Answers, MutedSlot, RunSlot, Turn
from .fills import FILL, forget, new_fill, new_fill_slot, new_write_slot
from .lane import LaneCore
from .modes import MOVE_BITS
from .near import NearReading

MUTE_OFF = 1  # CLIENT REPLY OFF
MUTE_SKIP = 2  # CLIENT REPLY SKIP: the next request's reply only

_GET_HEAD = len(b"*2\r\n$3\r\nGET\r\n")

# Bytes queued in MULTI from when on the session is asked whether there may be more.
QUEUED_LOOK = 1024 * 1024

# C integers in the compiled form (sending.pxd), for the comparisons of every request.
_MUTE_SKIP = MUTE_SKIP
_SCRIPTING, _TRACKED = int(Mode.SCRIPTING), int(Mode.TRACKED)
# What Sender.forward is told of a request that writes nothing.
NONE_WRITTEN: list[bytes] = []


class Sender(Answers):
    """The modes, the lanes and the slots of one session; session/ says which lane (attach)."""

    def __init__(self, maps: list[RouteMap], mode: int, near: NearReading, turn: Turn) -> None:
        super().__init__(turn)
        self.maps = maps  # of the requests, one for each mode: the table's own
        self.mode = mode
        self.home = mode  # the mode for when nothing is outstanding
        self.routes = self.maps[mode]
        self.near = near
        self.lane: LaneCore | None = None
        self.flat = True  # the client speaks RESP2
        self.mute: int = 0
        self.queued = -1  # commands queued since MULTI, as CLIENT LIST's multi=
        self.queued_bytes: int = 0  # and theirs since then

    def _become(self, mode: int) -> None:
        """The one place where the mode changes."""
        assert MOVE_BITS[self.mode] >> mode & 1, f"{self.mode} -> {mode}"
        self.mode = mode
        self.routes = self.maps[mode]

    def become(self, mode: int) -> None:
        self._become(mode)

    def live_in(self, maps: list[RouteMap], home: int) -> None:
        """Take requests by these maps, and this mode for home; a passing one lasts on."""
        self.maps = maps
        self.home = home
        if self.mode < _SCRIPTING:
            self._become(home)
        else:
            self.routes = self.maps[self.mode]

    def _forward(self, data: bytes, count: int, reads: int, marks: bytes | None) -> None:
        """Send whole requests, ``count`` of them, where this session's requests go now."""
        slot: RunSlot
        lane: LaneCore | None
        if self.queued >= 0:
            if self.queued_bytes > QUEUED_LOOK and self.overfull(count):
                return
            self.queued += count
            self.queued_bytes += len(data)
        if self.mute:
            slot = MutedSlot(self, count)
            self.mute &= ~_MUTE_SKIP
        else:
            slot = RunSlot.__new__(RunSlot)
            slot._begin(self, count)
            slot.reads = reads
            slot.marks = marks
        self._push_slot(slot)
        if self.mode == _TRACKED:
            slot.flat = self.flat
            lane = self.near.lane
        else:
            lane = self.lane
            if reads:
                self.near._elsewhere()
            if lane is None or (lane.done < lane.heavy and self.head is slot):
                lane = self.attach()
        assert lane is not None
        lane._send(data, slot)
        if lane.choked:
            self.wait_for(lane)

    def _ask_tracked(self, data: bytes, count: int) -> None:
        """Read on the tracked lane, and keep nothing of it."""
        self._go_tracked()
        self.turn.asking += count
        self._forward(data, count, count, None)

    def _fill(self, data: bytes, space: Space, ticket: Ticket, now: float) -> None:
        """Read on the tracked lane, and keep it."""
        self.turn.asking += 1
        slot = new_fill_slot(self, new_fill(space, ticket, now), self.flat)
        self._ask_slot(b"".join((FILL, data[_GET_HEAD:], data)), slot)

    def _ask_slot(self, data: bytes, slot: RunSlot) -> None:
        """Read on the tracked lane; the slot takes the replies."""
        self._go_tracked()
        self._push_slot(slot)
        lane = self.near.lane
        assert lane is not None
        lane._send(data, slot)
        if lane.choked:
            self.wait_for(lane)

    def _go_tracked(self) -> None:
        """What follows waits, unless it is a read too: it would be on another lane."""
        if self.mode != _TRACKED:
            self._become(_TRACKED)

    def _forward_write(self, data: bytes, count: int, keys: list[bytes] | None, reads: int) -> None:
        """Send whole requests that write these keys, None: any."""
        cache = self.near.cache
        assert cache is not None
        if self.queued >= 0:
            if self.queued_bytes > QUEUED_LOOK and self.overfull(count):
                return
            self.queued += count
            self.queued_bytes += len(data)
        forget(cache, keys)
        slot = new_write_slot(self, count, cache, keys, self.mute != 0)
        slot.reads = reads
        self.mute &= ~_MUTE_SKIP
        self._push_slot(slot)
        lane = self.lane
        if lane is None or (lane.done < lane.heavy and self.head is slot):
            lane = self.attach()
        lane._send(data, slot)
        if lane.choked:
            self.wait_for(lane)

    # The same for callers outside of the compiled path: the names above are C functions there.

    def forward(
        self, data: bytes, count: int = 1, reads: int = 0, keys: list[bytes] | None = NONE_WRITTEN
    ) -> None:
        """Send whole requests where this session's requests go; they write these keys, None:
        any."""
        self.near._elsewhere()  # nobody has looked what they may tell
        if keys == NONE_WRITTEN or self.near.cache is None:
            self._forward(data, count, reads, None)
        else:
            self._forward_write(data, count, keys, reads)

    def take_place(self, slot: RunSlot, mode: int | None = None) -> None:
        """The place at the end of the answer queue, and the mode that lasts until all is
        answered."""
        self._push_slot(slot)
        if mode is not None and mode != self.mode:
            self._become(mode)

    # What session/ does.

    def attach(self) -> LaneCore:
        raise NotImplementedError

    def wait_for(self, lane: LaneCore) -> None:
        raise NotImplementedError

    def overfull(self, count: int) -> bool:
        """Whether no more may be queued in MULTI; so many requests have been answered so then."""
        raise NotImplementedError
