"""How long requests take: of about one in EVERY, and the histograms of what was seen.

    read from a client ─▶ Turn.countdown ─ not 0 ─▶ as ever: no clock is asked
                               └ 0 ─▶ due() ─▶ parsed ─▶ answered at once ─▶ observe(class, tier)
                                                 └ a slot waits: timed until it is filled ─┘

One is the time from the read that brought a request to the answer to the last request of that read.
Which is taken is left to chance (of no consequence to anybody, so a cheap one): every 1024th would
be the same client's each time where 1024 take turns. Knows no session and no clock: hot/session.py
says when. The batches that lanes send are picked alike (``trips``). Bounded: a histogram for each
class and tier, of as many numbers each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Final

# Reads from clients, on average, once so many have been timed that there is something to see: the
# first of a process are looked at more closely. To time one, and note its key, costs 75,000
# instructions, a GET 5,500 near and 6,500 passed (callgrind, 50 clients at P=1).
EVERY: Final = 1024
BATCHES: Final = 16  # of what is sent to servers so many times as often: a batch has many

# Buckets of a histogram: four in each doubling of the time, from LEAST_NS on. The first takes what
# is shorter, the last what is longer than MOST_NS.
LEAST_BITS, MOST_BITS = 10, 34  # 1 us, 17 s
STEPS: Final = 4
_STEP_BITS: Final = 2
_LEAST_NS: Final = 1 << LEAST_BITS
OCTAVES: Final = MOST_BITS - LEAST_BITS
BUCKETS: Final = OCTAVES * STEPS + 2
# Seconds that /metrics tells of: the doublings.
BOUNDS: Final = tuple((1 << bits) / 1e9 for bits in range(LEAST_BITS, MOST_BITS + 1))


class Class(Enum):
    """What a command is, by the server's own table (COMMAND)."""

    READ = "read"
    WRITE = "write"
    OWN = "own"  # the proxy's own: GETORSET, LOCK ...
    OTHER = "other"  # neither: connections, scripts, administration

    __hash__ = object.__hash__  # Enum's own costs a call of Python


class Tier(Enum):
    """Who has answered."""

    NEAR = "near"  # the near cache
    SERVER = "server"
    LOAD = "load"  # a loader, or somebody else's load that was waited for
    PROXY = "proxy"  # the proxy itself, at once

    __hash__ = object.__hash__


def bucket_of(seconds: float) -> int:
    """Where a duration is counted."""
    ns = int(seconds * 1e9)
    if ns < _LEAST_NS:
        return 0
    bits = ns.bit_length()
    if bits > MOST_BITS:
        return BUCKETS - 1
    step = (ns >> (bits - 1 - _STEP_BITS)) & (STEPS - 1)
    return (bits - 1 - LEAST_BITS) * STEPS + step + 1


def _upper(bucket: int) -> float:
    """The seconds where a bucket ends."""
    octave, step = divmod(bucket, STEPS)
    return float(_LEAST_NS << octave) * (1 + step / STEPS) / 1e9


UPPER: Final = tuple(_upper(bucket) for bucket in range(BUCKETS - 1))


class Histogram:
    """Durations, counted to within a quarter of their size. Only grows: ``reset`` is for those who
    ask for quantiles alone."""

    __slots__ = ("_before", "counts", "most", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.seconds = 0.0  # of all
        self.most = 0.0  # the longest since the reset
        self._before = [0] * BUCKETS

    def __repr__(self) -> str:
        return f"<Histogram {self.count} in {self.seconds:.6f} s>"

    def observe(self, seconds: float) -> None:
        if seconds < 0.0:
            seconds = 0.0
        self.counts[bucket_of(seconds)] += 1
        self.seconds += seconds
        if seconds > self.most:
            self.most = seconds

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def since(self) -> list[int]:
        """The counts since the reset."""
        return [now - before for now, before in zip(self.counts, self._before, strict=True)]

    @property
    def recent(self) -> int:
        """How many since the reset."""
        return sum(self.counts) - sum(self._before)

    def reset(self) -> None:
        self._before = list(self.counts)
        self.most = 0.0

    def quantile(self, part: float) -> float | None:
        """Seconds that this part of all since the reset took at most; None: there were none."""
        here = self.since
        rank, seen = part * sum(here), 0
        for bucket, count in enumerate(here):
            seen += count
            if count and seen >= rank:
                return min(UPPER[bucket], self.most) if bucket < len(UPPER) else self.most
        return None

    def cumulative(self) -> Iterator[int]:
        """For each of BOUNDS how many were below it."""
        below = 0
        for at in range(OCTAVES + 1):
            first = max(0, (at - 1) * STEPS + 1)
            below += sum(self.counts[first : at * STEPS + 1])
            yield below


def _no_time() -> float:
    return 0.0


class Trips:
    """How long servers take, by the same sampling (upstream/connecting.py, RoundTrips)."""

    def __init__(self, sampler: Sampler) -> None:
        self._spread = sampler.spread
        self._every = sampler.every
        self.now = sampler.clock
        self.histogram = Histogram()
        self.took = self.histogram.observe

    def __repr__(self) -> str:
        return f"<Trips {self.histogram!r}>"

    def gap(self) -> int:
        """Batches until one is timed."""
        return max(1, self._spread(self._every) // BATCHES)


class Sampler:
    """Says which read is to be timed, and keeps what was found. ``every`` 1: each of them."""

    def __init__(
        self, every: int = EVERY, seed: int = 1, clock: Callable[[], float] = _no_time
    ) -> None:
        self.every = every
        self.clock = clock  # seconds, as fine as can be had
        self.weight = 1  # of how many reads the one that is timed now is
        self._next = 1
        self._state = seed
        # Requests that the proxy answered itself, by class, and its own commands that failed.
        self.trips = Trips(self)
        self.local = dict.fromkeys(Class, 0)
        self.failures = 0
        self.commands: Mapping[tuple[Class, Tier], Histogram] = {
            (kind, tier): Histogram() for kind in Class for tier in Tier
        }

    def __repr__(self) -> str:
        seen = sum(one.count for one in self.commands.values())
        return f"<Sampler 1/{self.every} seen={seen}>"

    def gap(self) -> int:
        """How many reads from the next one on until one is timed: each time twice as many, until
        they are some ``every``."""
        self.weight, self._next = self._next, min(self.every, 2 * self._next)
        return self.spread(self._next)

    def spread(self, mean: int) -> int:
        """From half of so many to one and a half."""
        # A linear congruential generator (Numerical Recipes): random's would do as well.
        self._state = (self._state * 1664525 + 1013904223) & 0xFFFFFFFF
        return max(1, mean // 2 + (self._state >> 8) % (mean + 1))

    def pick(self, count: int) -> int:
        """One of so many, from 0 on, by the same chance."""
        self._state = (self._state * 1664525 + 1013904223) & 0xFFFFFFFF
        return (self._state >> 8) % count

    def observe(self, kind: Class, tier: Tier, seconds: float) -> None:
        self.commands[kind, tier].observe(seconds)

    def reset(self) -> None:
        """STATS RESET: quantiles begin anew, Prometheus' counts do not."""
        for histogram in (*self.commands.values(), self.trips.histogram):
            histogram.reset()
