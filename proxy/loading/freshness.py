"""Whether a value is fresh, by how long it will last: the values themselves stay plain strings.

    stored ──────────── ttl ───────────────┊──────── grace ────────▶ gone
           fresh ───────── EARLY, by chance ┊ STALE
           kept near ──────▶

Pure: who asks says how long the value lasts, and draws. Knows how long loads of its loader take.
Asked by refreshes.py, and by near caches through loaders.py."""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import Final

from ..settings.loaders import LoaderSettings

# Of how long loads take, what the last one counts for.
WEIGHT: Final = 0.2
# What a load is held to take before any has been seen, in milliseconds.
UNSEEN_MS: Final = 50.0
# What lies between a load and its readers: the lease, the store, turns of busy loops. With loads of
# 20 ms alone a key read 1,000 times a second was missed 3 times in 5 minutes on a busy machine.
BESIDE_MS: Final = 50.0
# No value is refreshed before this share of its ttl is left: at most 1.7 times the loads that have
# to be.
EARLIEST: Final = 0.4
# A value leaves near caches by so many loads' time before its ttl is over: its readers have to see
# how long it lasts. Each of them refreshes it with a chance of 1 in 55 then.
SEEN_LOADS: Final = 4


class Age(Enum):
    FRESH = auto()
    EARLY = auto()  # fresh, and to be refreshed
    STALE = auto()


class Freshness:
    """Of one loader's values."""

    def __init__(self, settings: LoaderSettings) -> None:
        self.grace_ms = round(settings.grace * 1000)
        self.early = settings.early
        self.load_ms = UNSEEN_MS
        self._seen = False
        self._early_ms = EARLIEST * settings.ttl * 1000

    def __repr__(self) -> str:
        return f"<Freshness grace={self.grace_ms}ms load={self.load_ms:.0f}ms early={self.early}>"

    @property
    def timed(self) -> bool:
        """Whether it matters how long a value lasts."""
        return self.early or self.grace_ms > 0

    def loaded(self, seconds: float) -> None:
        """A load took so long."""
        ms = seconds * 1000
        self.load_ms = self.load_ms + WEIGHT * (ms - self.load_ms) if self._seen else ms
        self._seen = True

    def age(self, ttl_ms: int, chance: float) -> Age:
        """Of a value that lasts so long; below 0: for ever, or that is not known. ``chance`` is
        drawn from [0, 1).

        XFetch (Vattani, VLDB'15): the exponential spreads the readers' attempts so that the first
        comes about as early as a load needs, whatever they are many; the lease lets one through."""
        if ttl_ms < 0:
            return Age.FRESH
        left = ttl_ms - self.grace_ms
        if left <= 0 and self.grace_ms:
            return Age.STALE
        if self.early and left <= self._early_ms and left <= -self._lead_ms * math.log(1 - chance):
            return Age.EARLY
        return Age.FRESH

    @property
    def _lead_ms(self) -> float:
        """How long before its end a value has to be loaded to be there in time."""
        return self.load_ms + BESIDE_MS

    def near_ms(self, ttl_ms: int) -> int:
        """For how long of it a value may stand near, where nobody sees how long it lasts."""
        left = ttl_ms - self.grace_ms
        if self.early:
            left -= round(min(self._early_ms, SEEN_LOADS * self._lead_ms))
        return max(left, 0)
