"""A real lane that one virtual connection has for itself (ports.Owner).

    take ──▶ a lane ── give_back ──▶ clean: to its pool; else closed
      └──▶ in line ── lane_free ──▶ a lane

Owns the loan, and nothing that goes over the lane: blocking.py, watching.py, pubsub.py."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ProxyError
from ..hot.lane import LaneState
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey
from ..upstream.lanes import Lanes


class Loan:
    """``lost``: the lane is gone, and its slots have been failed. ``pushed``: it said what nobody
    asked for. ``writable``: it takes more, after it was choked."""

    def __init__(
        self,
        pool: Lanes,
        key: LaneKey,
        lost: Callable[[ProxyError], None],
        pushed: Callable[[bytes], None] | None = None,
        writable: Callable[[], None] = lambda: None,
    ) -> None:
        self.lane: Lane | None = None
        self.pool = pool
        self._key = key
        self._lost = lost
        self._pushed = pushed
        self._writable = writable
        self._taken: Callable[[Lane], None] | None = None
        self._refused: Callable[[ProxyError], None] | None = None

    def __repr__(self) -> str:
        return f"<Loan {self.lane!r} of {self.pool!r}>"

    def take(self, taken: Callable[[Lane], None], refused: Callable[[ProxyError], None]) -> None:
        """Call ``taken`` with the lane, now or when there is a place, or ``refused``."""
        self._taken, self._refused = taken, refused
        self._borrow()

    def _borrow(self) -> None:
        try:
            self.lane = self.pool.borrow(self._key, self)
        except ProxyError as why:
            self.lane_refused(why)
            return
        if self.lane is not None and self._taken is not None:
            taken, self._taken, self._refused = self._taken, None, None
            taken(self.lane)

    def give_back(self, *, clean: bool) -> None:
        """The loan is over; ``clean``: the lane has no state, so that others may have it."""
        self._taken = self._refused = None
        self.pool.leave_line(self)
        lane, self.lane = self.lane, None
        if lane is not None:
            lane.tainted = lane.tainted or not clean
            self.pool.give_back(lane)

    # --- What the lane and its pool report (ports.Owner) ----------------------------------------

    def lane_free(self) -> None:
        self._borrow()

    def lane_refused(self, why: ProxyError) -> None:
        refused, self._taken, self._refused = self._refused, None, None
        if refused is not None:
            refused(why)

    def lane_pushed(self, lane: Lane, frame: bytes) -> None:
        if self._pushed is not None and lane is self.lane:
            self._pushed(frame)

    def lane_raw(self, lane: Lane, data: bytes) -> None:
        """No tunnel is made here."""

    def lane_ends(self, lane: Lane) -> None:
        """Its slots are told."""

    def lane_lost(self, lane: Lane, why: ProxyError) -> None:
        assert lane.state is LaneState.CLOSED
        self.pool.give_back(lane)
        if lane is self.lane:
            self.lane = None
            self._lost(why)

    def lane_writable(self, lane: Lane) -> None:
        if lane is self.lane:
            self._writable()
