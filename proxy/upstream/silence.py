"""How long a lane bears silence, counted in ticks of a second. Pure: the lane acts on the answers.

Two clocks: a connection that owes replies and says nothing is given up, and what waits for a
connection waits no longer than for an answer."""

from __future__ import annotations


class Silence:
    """The seconds that the server has said nothing, and that requests have had no connection."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._silent = 0
        self._heard = -1  # reads of the lane at the last tick
        self._waited = 0

    def __repr__(self) -> str:
        return f"<Silence silent={self._silent} waited={self._waited} limit={self.limit_s:g}>"

    def too_long(self, *, owes: bool, heard: int) -> bool:
        """Once a second: whether the lane, which ``owes`` replies and has read ``heard`` times,
        has been silent for too long."""
        # The first tick may come right behind the request, so that the limit must be passed.
        self._silent = self._silent + 1 if owes and heard == self._heard else 0
        self._heard = heard
        return self._silent > self.limit_s

    def waits_too_long(self, *, waits: bool) -> bool:
        """Once a second: whether requests have waited too long for a connection."""
        self._waited = self._waited + 1 if waits else 0
        return self._waited > self.limit_s
