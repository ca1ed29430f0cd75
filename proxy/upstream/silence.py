"""How long a lane bears silence, counted in ticks of a second. Pure: the lane acts on the answers.

Two clocks: a connection that owes replies and says nothing is suspected of being dead, and what
waits for a connection waits no longer than for an answer. Where it is the server that says nothing,
``most_s`` bounds both; without it there is no bound."""

from __future__ import annotations

import math


class Silence:
    """The seconds that the server has said nothing, and that requests have had no connection."""

    def __init__(self, limit_s: float, most_s: float | None = None) -> None:
        self.limit_s = limit_s
        self.most_s = math.inf if most_s is None else most_s
        self._silent = 0
        self._heard = -1  # reads of the lane at the last tick
        self._waited = 0  # in all
        self._counted = 0  # since the server was last silent

    def __repr__(self) -> str:
        return f"<Silence silent={self._silent} waited={self._waited} limit={self.limit_s:g}>"

    def too_long(self, *, owes: bool, heard: int) -> bool:
        """Once a second: whether the lane, which ``owes`` replies and has read ``heard`` times,
        has been silent for too long."""
        # The first tick may come right behind the request, so that the limit must be passed.
        self._silent = self._silent + 1 if owes and heard == self._heard else 0
        self._heard = heard
        return self._silent > self.limit_s

    @property
    def silent_s(self) -> int:
        """For how long the lane has been silent, while it owed replies."""
        return self._silent

    @property
    def past_all(self) -> bool:
        """Whether the lane has been silent for longer than anybody shall wait."""
        return self._silent > self.most_s

    @property
    def waited_past_all(self) -> bool:
        """Whether requests have had no connection for longer than that."""
        return self._waited > self.most_s

    def waits_too_long(self, *, waits: bool, silent: bool = False) -> bool:
        """Once a second: whether requests have waited too long for a connection; ``silent``: for a
        server that says nothing, which does not count."""
        self._waited = self._waited + 1 if waits else 0
        self._counted = self._counted + 1 if waits and not silent else 0
        return self._counted > self.limit_s
