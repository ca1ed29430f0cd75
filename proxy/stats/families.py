"""The metrics that have labels: a row for each, and their values.

What has no label is counters.py's, whose rows stand in STATS too. Values are read where they stand
(``read``); what is counted or timed by loader is kept here. Each label has few values, whatever
clients send: classes, tiers and results are enums, loaders and nodes beyond LABELS_MOST are
``other``. A value is a list of numbers, so that those of several workers add up: one for counters
and gauges, for a histogram the seconds of all and how many fell between its bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .counters import Kind
from .sampler import BOUNDS, Histogram

LABELS_MOST: Final = 32  # loaders, nodes
OTHER: Final = "other"

Labels = tuple[str, ...]
Numbers = list[float]
Series = dict[tuple[str, Labels], Numbers]


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    kind: Kind
    help: str  # one sentence
    labels: tuple[str, ...] = ()


FAMILIES: Final = (
    Family(
        "commands",
        Kind.COUNTER,
        "Requests of clients, by what the server says of the command and who was asked.",
        ("class", "tier"),
    ),
    Family(
        "command_errors",
        Kind.COUNTER,
        "Errors that clients were answered: by the server, or by a command of the proxy's own.",
        ("tier",),
    ),
    Family(
        "reads",
        Kind.COUNTER,
        "Strings read, by who answered; those loaded are misses of the server.",
        ("tier", "result"),
    ),
    Family(
        "command_duration_seconds",
        Kind.HISTOGRAM,
        "From reading a request to its answer, of one in 1,024 reads from clients.",
        ("class", "tier"),
    ),
    Family(
        "upstream_duration_seconds",
        Kind.HISTOGRAM,
        "From sending to a server to its last answer, of one in 64 batches.",
    ),
    Family(
        "load_duration_seconds",
        Kind.HISTOGRAM,
        "Each run of a loader, by what came of it.",
        ("loader", "result"),
    ),
    Family("loads_running", Kind.GAUGE, "Loads that run, by loader.", ("loader",)),
    Family("loads_queued", Kind.GAUGE, "Loads that wait for concurrency's bound.", ("loader",)),
    Family(
        "lanes",
        Kind.GAUGE,
        "Connections to servers that stand: shared, pinned to a client, or warm to be.",
        ("node", "use"),
    ),
    Family(
        "tracked_lanes",
        Kind.GAUGE,
        "Connections that the near cache lives by, by whether the server tells of changes.",
        ("node", "tracking"),
    ),
    Family(
        "lane_queue",
        Kind.GAUGE,
        "Requests at a server's lanes: sent and not answered, or waiting for a connection.",
        ("node", "state"),
    ),
    Family("pinned_waiters", Kind.GAUGE, "Clients that wait for a lane of their own."),
    Family("leases_held", Kind.GAUGE, "Leases that clients of this proxy hold."),
    Family("locks_renewing", Kind.GAUGE, "Locks that are renewed for clients that stay (RENEW)."),
)
BY_NAME: Final[Mapping[str, Family]] = {one.name: one for one in FAMILIES}

Reader = Callable[[], Iterable[tuple[Labels, Sequence[float]]]]


def numbers_of(histogram: Histogram) -> Numbers:
    """As a value: seconds, then the count between each two bounds, and above the last."""
    below = list(histogram.cumulative())
    between = [now - before for now, before in zip(below, [0, *below[:-1]], strict=True)]
    return [histogram.seconds, *between, histogram.count - below[-1]]


def buckets_of(numbers: Sequence[float]) -> list[tuple[str, float]]:
    """Prometheus' buckets of such a value: each bound, and how many were below it."""
    below, made = 0.0, list[tuple[str, float]]()
    for bound, count in zip((*map(_bound, BOUNDS), "+Inf"), numbers[1:], strict=True):
        below += count
        made.append((bound, below))
    return made


def _bound(seconds: float) -> str:
    return f"{seconds:.9f}".rstrip("0")


def added(one: Sequence[float], other: Sequence[float]) -> Numbers:
    return [here + there for here, there in zip(one, other, strict=True)]


class Families:
    """The values of this process."""

    def __init__(self) -> None:
        self._readers: dict[str, list[Reader]] = {one.name: [] for one in FAMILIES}
        self._loads: dict[Labels, Histogram] = {}
        self.read(
            "load_duration_seconds",
            lambda: [(labels, numbers_of(one)) for labels, one in self._loads.items()],
        )

    def __repr__(self) -> str:
        return f"<Families {len(self.series())} series>"

    def read(self, name: str, reader: Reader) -> None:
        """Where the values of a family stand. A name without a row is a KeyError."""
        self._readers[name].append(reader)

    def loaded(self, loader: str, result: str, seconds: float) -> None:
        """A loader has run: with success, error, timeout, not_found or not_modified."""
        known = {name for name, _ in self._loads}
        if loader not in known and len(known) >= LABELS_MOST:
            loader = OTHER
        self._loads.setdefault((loader, result), Histogram()).observe(seconds)

    def series(self) -> Series:
        """All values now; what two readers have under the same labels adds up."""
        series: Series = {}
        for name, readers in self._readers.items():
            seen = set[str]()
            for labels, numbers in (each for read in readers for each in read()):
                if len(labels) and BY_NAME[name].labels[0] in ("loader", "node"):
                    first = labels[0] if len(seen) < LABELS_MOST or labels[0] in seen else OTHER
                    seen.add(first)
                    labels = (first, *labels[1:])
                _add(series, (name, labels), numbers)
        return series


def _add(series: Series, key: tuple[str, Labels], numbers: Sequence[float]) -> None:
    before = series.get(key)
    series[key] = list(numbers) if before is None else added(before, numbers)


def merged(parts: Iterable[Series]) -> Series:
    """Of several workers together."""
    whole: Series = {}
    for part in parts:
        for key, numbers in part.items():
            _add(whole, key, numbers)
    return whole


def only_counted(series: Series) -> Series:
    """What goes on where a process begins again: all but gauges."""
    return {key: value for key, value in series.items() if BY_NAME[key[0]].kind is not Kind.GAUGE}
