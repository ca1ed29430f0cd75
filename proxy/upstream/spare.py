"""Lanes that are opened before anybody asks for them: for who blocks, the moment counts.

    a lane is borrowed ─▶ so many of its key stand ready again, as long as it was asked for lately
    the pool opens them ─▶ READY: warm, as if given back; failed: the key is forgotten

Keeps the keys and their ages; opens nothing itself (lanes.py)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ..errors import ProxyError
from .lane import Lane
from .lane_key import LaneKey

SPARES: Final = 4
# Of the keys that were asked for last; a client may come as a thousand users.
KEYS_MAX: Final = 16
# Ticks of a second without a borrower, after which nothing is kept for a key.
FORGET_TICKS: Final = 600


class Spares:
    """Owns the lanes that are opened ahead until they are READY (ports.Owner)."""

    def __init__(self, ended: Callable[[Lane], None]) -> None:
        self._ended = ended
        self._age: OrderedDict[LaneKey, int] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Spares keys={len(self._age)}>"

    def asked_for(self, key: LaneKey) -> None:
        """Somebody borrows a lane of the key."""
        self._age[key] = 0
        self._age.move_to_end(key)
        if len(self._age) > KEYS_MAX:
            self._age.popitem(last=False)

    def tick(self) -> None:
        for key in list(self._age):
            self._age[key] += 1
            if self._age[key] > FORGET_TICKS:
                del self._age[key]

    def kept(self, key: LaneKey) -> int:
        """How many are to stand ready."""
        return SPARES if key in self._age else 0

    def wanted(self) -> list[LaneKey]:
        return list(self._age)

    # --- As the owner of a lane that is not READY yet ---------------------------------------------

    def lane_pushed(self, lane: Lane, frame: bytes) -> None: ...

    def lane_raw(self, lane: Lane, data: bytes) -> None: ...

    def lane_ends(self, lane: Lane) -> None: ...

    def lane_lost(self, lane: Lane, why: ProxyError) -> None:
        self._age.pop(lane.key, None)  # who wants one after all asks again
        self._ended(lane)

    def lane_writable(self, lane: Lane) -> None: ...

    def lane_free(self) -> None: ...

    def lane_refused(self, why: ProxyError) -> None: ...
