# cython: annotation_typing=False, language_level=3
"""Where one session may read near, and from when on.

Reads of strings go to the tracked lane, from where the near cache is filled: what the cache then
serves can never be older than what a client has read there before. A client that has read or
written elsewhere reads near again when the tracked lane has answered something sent later."""

from __future__ import annotations

from ..near.cache import NearCache, Space
from ..near.worth import Worth
from .lane import READY, LaneCore

# Something was read elsewhere and is not answered yet: no answer of the lane is new enough.
PENDING = 1 << 62

_PENDING = PENDING


class NearReading:
    def __init__(self, cache: NearCache | None) -> None:
        self.cache = cache  # what forgets the keys that the client writes; None: nobody reads near
        self.space: Space | None = None  # None: this client reads nothing near
        self.lane: LaneCore | None = None  # the tracked one
        self.fresh_after = -1  # answers of the lane
        self.again = 0.0  # when to look for a space again, where there was no room; 0: never
        self.unsent = 0  # bytes out of the near cache that were not handed to the socket yet

    def __repr__(self) -> str:
        return f"<NearReading {self.space!r} fresh={self.fresh}>"

    @property
    def fresh(self) -> bool:
        return self._fresh()

    def _stands(self) -> bool:
        """Whether the lane is there and tells of changes."""
        lane, space = self.lane, self.space
        return (
            lane is not None
            and lane.state is READY
            and lane.tracking
            and space is not None
            and space.open
            and not space.until
        )

    def _hears(self) -> bool:
        """Whether it is read from, and says something soon: for a client that does not read it may
        not be, and behind large replies what has changed is heard of late."""
        lane = self.lane
        return lane is not None and not lane.paused and not lane.silent and lane.done >= lane.heavy

    def _fresh(self) -> bool:
        """Whether what stands here is as new as anything that the client has been told."""
        lane = self.lane
        if lane is None:
            return False
        if lane.done <= self.fresh_after:
            if lane.router is not None:
                lane.router.freshen()
            return False
        return True

    def _passing(self) -> Worth | None:
        """The account of the space, while its reads pass: it is to be told of them."""
        space = self.space
        return None if space is None or not space.open or space.worth.pays else space.worth

    def _elsewhere(self) -> None:
        """A request goes elsewhere whose answer may be newer than what stands here."""
        self.fresh_after = _PENDING

    def _settled(self) -> None:
        """All that went elsewhere is answered."""
        if self.fresh_after == _PENDING and self.lane is not None:
            self.fresh_after = self.lane.sent

    @property
    def passing(self) -> Worth | None:
        return self._passing()

    def elsewhere(self) -> None:
        self._elsewhere()

    def moved(self, lane: LaneCore) -> None:
        """Read on this lane from now on; what was learnt by way of another is not forgotten, and
        what is still to be answered elsewhere is waited for."""
        if self.lane is not None and self.lane is not lane and self.fresh_after != _PENDING:
            self.fresh_after = lane.sent
        self.lane = lane
