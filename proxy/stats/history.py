"""The last minutes, a second each: what the status page plots.

    now's sums ─ once a second ─▶ samples, at most KEPT ─▶ differences: rates, parts, percentiles

Keeps sums as they were and never a rate, so that a second that came late spoils none. Knows neither
the clock nor where the sums stand: process/status.py gives both. Bounded: KEPT samples of a few
numbers."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from .families import Series, added, buckets_of

KEPT: Final = 301  # five minutes have so many ends of seconds
WINDOW: Final = 60  # seconds that percentiles are of
PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
# The sums that rates are made of, as STATS has them.
SUMS: Final = ("commands", "command_errors", "hits", "misses", "near_hits", "near_found", "loads")


@dataclass(frozen=True, slots=True)
class Sample:
    """The sums since the process began: of counters, and of durations by who answered."""

    at: float
    sums: Mapping[str, float]
    durations: Mapping[str, Sequence[float]]  # of a tier, as stats/families.py has them


def durations_of(series: Series) -> dict[str, Sequence[float]]:
    """How long commands took, by tier, of what has labels."""
    found: dict[str, Sequence[float]] = {}
    for (name, labels), numbers in series.items():
        if name == "command_duration_seconds":
            tier = labels[1]
            found[tier] = added(found[tier], numbers) if tier in found else numbers
    return found


def quantile(numbers: Sequence[float], part: float) -> float | None:
    """Seconds that this part of all took at most: between two bounds as if all were spread evenly;
    above the last bound, that. None: there were none."""
    buckets = buckets_of(numbers)
    rank = part * buckets[-1][1]
    low, before = 0.0, 0.0
    for bound, below in buckets[:-1]:
        if below > before and below >= rank:
            return low + (float(bound) - low) * (rank - before) / (below - before)
        low, before = float(bound), below
    return low if buckets[-1][1] else None


class History:
    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=KEPT)

    def __repr__(self) -> str:
        return f"<History {len(self._samples)} samples>"

    def take(self, sample: Sample) -> None:
        self._samples.append(sample)

    def columns(self, now: float) -> dict[str, list[float | None]]:
        """Each second, the last one last: ``at``, its end in seconds from now (0 or less), how long
        it was (``seconds``: a mean weighs by it), a rate of each sum, and the part of the reads
        that found a value; None: nothing was read."""
        names = ("at", "seconds", *SUMS, "hit_ratio")
        columns: dict[str, list[float | None]] = {name: [] for name in names}
        for before, after in pairwise(self._samples):
            seconds = after.at - before.at
            if seconds <= 0:
                continue
            # The sums of workers may come down for a moment, where one is started again.
            gained = {name: max(0.0, after.sums[name] - before.sums[name]) for name in SUMS}
            for name, count in gained.items():
                columns[name].append(round(count / seconds, 1))
            reads = gained["hits"] + gained["misses"]
            columns["hit_ratio"].append(round(gained["hits"] / reads, 4) if reads else None)
            columns["at"].append(round(after.at - now, 3))
            columns["seconds"].append(round(seconds, 3))
        return columns

    def latencies(self) -> dict[str, dict[str, float | None]]:
        """Seconds that commands took in the last WINDOW, by who answered; of those that came."""
        if not self._samples:
            return {}
        last = self._samples[-1]
        first = next(one for one in self._samples if one.at >= last.at - WINDOW)
        found: dict[str, dict[str, float | None]] = {}
        for tier, numbers in last.durations.items():
            before = first.durations.get(tier, [0.0] * len(numbers))
            gained = [max(0.0, now - then) for now, then in zip(numbers, before, strict=True)]
            if sum(gained[1:]):
                found[tier] = {name: quantile(gained, part) for name, part in PERCENTILES.items()}
        return found
