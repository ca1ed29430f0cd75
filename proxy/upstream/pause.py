"""Whether clients of ours have the server wait: CLIENT PAUSE as it passes through.

While writes are paused a request that waits in the server holds up what stands behind it on its
connection, so sessions take lanes of their own (session/berth.py); while anything is, silence is no
sign of death. Pauses that others ask for are not known. Pure: whoever asks gives the time.
https://redis.io/docs/latest/commands/client-pause/"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Pause:
    """Until when, in seconds of the loop's clock."""

    writes_until: float = 0.0
    all_until: float = 0.0

    def begin(self, until: float, *, writes: bool) -> None:
        """As the server has it: a pause only grows, until it is ended."""
        if writes:
            self.writes_until = max(self.writes_until, until)
        else:
            self.all_until = max(self.all_until, until)

    def end(self) -> None:
        self.writes_until = self.all_until = 0.0

    def next_end(self, now: float) -> float | None:
        """When the first of what is in force ends; None: nothing is."""
        return min((end for end in (self.writes_until, self.all_until) if end > now), default=None)

    def any(self, now: float) -> bool:
        return now < max(self.writes_until, self.all_until)

    def writes(self, now: float) -> bool:
        """Whether writes wait and all else is served, or will be before they are: what is sent
        while all is paused waits for both."""
        return max(now, self.all_until) < self.writes_until
