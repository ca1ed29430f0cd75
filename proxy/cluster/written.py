"""What a client has written of late: there it reads from the primary, which has it for certain.

    wrote ─▶ outstanding ── all that was sent before is answered ─▶ for WINDOW_S more ─▶ forgotten

By slot, of one session; beyond SLOTS_MAX slots at a time all of them count as written. Knows no
lane and no request: reads.py tells it, and session/ tells of what nobody looks into."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Final

# Seconds behind the answer to a write. A replica that is this late is read by others still.
WINDOW_S: Final = 1.0
SLOTS_MAX: Final = 256

_numbers = count()


class Written:
    def __init__(self) -> None:
        self.number = next(_numbers)  # of the session: which of several replicas it stays with
        self._outstanding: set[int] = set()
        self._all_outstanding = False
        self._until: dict[int, float] = {}
        self._all_until = 0.0

    def __repr__(self) -> str:
        return f"<Written outstanding={len(self._outstanding)} of_late={len(self._until)}>"

    def wrote(self, slots: Iterable[int]) -> None:
        """Writes to these slots are sent now."""
        if not self._all_outstanding:
            self._outstanding.update(slots)
            if len(self._outstanding) > SLOTS_MAX:
                self.wrote_any()

    def wrote_any(self) -> None:
        """Something is sent now that may write anything."""
        self._all_outstanding = True
        self._outstanding.clear()

    def answered(self, now: float) -> None:
        """All that was sent up to now is answered."""
        if self._all_outstanding:
            self._all_outstanding = False
            self._all_until = now + WINDOW_S
            self._until.clear()
        if not self._outstanding:
            return
        self._until.update(dict.fromkeys(self._outstanding, now + WINDOW_S))
        self._outstanding.clear()
        if len(self._until) > SLOTS_MAX:
            self._until = {slot: until for slot, until in self._until.items() if until > now}
        if len(self._until) > SLOTS_MAX:
            self._all_until = now + WINDOW_S
            self._until.clear()

    def touches(self, slots: Iterable[int], now: float) -> bool:
        """Whether any of these was written of late."""
        if self._all_outstanding or self._all_until > now:
            return True
        if not self._outstanding and not self._until:
            return False
        return any(slot in self._outstanding or self._until.get(slot, 0.0) > now for slot in slots)
