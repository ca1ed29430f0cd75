"""The counters and gauges of this process: a row for each, and their values.

Whoever sees a thing happen counts it there, once: ``stats.add("loads")``. What the hot path counts
itself is read from where it stands (``counter``), as is what is not counted at all but looked at
(``gauge``). STATS, INFO and /metrics show the same rows; the hits and misses of the whole fleet are
fleet.py's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from ..resp.replies import Value

Reading = int | float | str


class Kind(Enum):
    COUNTER = auto()  # how often since the process began; STATS RESET starts it again, for STATS
    GAUGE = auto()  # how it is now
    HISTOGRAM = auto()  # durations, in buckets: families.py


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    kind: Kind
    help: str  # one sentence
    labelled: bool = False  # /metrics has it with labels, under the same name: families.py


# The reads of this process. STATS shows the fleet's instead, under the same names.
READS: Final = (
    Row("hits", Kind.COUNTER, "Reads of strings that found a value."),
    Row("misses", Kind.COUNTER, "Reads of strings that found none, or had it loaded."),
)

# In STATS' order; what is new goes to the end.
ROWS: Final = (
    Row("near_hits", Kind.COUNTER, "Reads answered out of the near cache."),
    Row("near_misses", Kind.COUNTER, "Reads that the near cache had no answer for."),
    Row("loads", Kind.COUNTER, "Values computed by loaders."),
    Row("load_failures", Kind.COUNTER, "Loads that ended with an error or took too long."),
    Row("coalesced", Kind.COUNTER, "Misses that waited for a load already on its way."),
    Row("leases", Kind.COUNTER, "Leases granted to clients that compute a value themselves."),
    Row(
        "fills_refused",
        Kind.COUNTER,
        "Values not stored, because their lease was lost or void.",
    ),
    Row("invalidated", Kind.COUNTER, "Keys removed by INVALIDATE, or made stale."),
    Row("locks_acquired", Kind.COUNTER, "Locks granted."),
    Row("locks_contended", Kind.COUNTER, "Attempts to lock that found it held by another."),
    Row("near_entries", Kind.GAUGE, "Values in the near cache."),
    Row("near_bytes", Kind.GAUGE, "Memory that the near cache accounts for."),
    Row("near_evictions", Kind.COUNTER, "Values dropped from the near cache to make room."),
    Row("tracking", Kind.GAUGE, "Whether the server tells this proxy of changed keys."),
    Row("clients", Kind.GAUGE, "Clients connected."),
    Row("upstream_connections", Kind.GAUGE, "Connections to the server."),
    Row("uptime_s", Kind.GAUGE, "Seconds since this process began to serve."),
    Row(
        "unstored",
        Kind.COUNTER,
        "Loaded values that were returned and not stored, because the server takes no writes.",
    ),
    Row("load_timeouts", Kind.COUNTER, "Those of load_failures that took too long."),
    Row(
        "partial_failures",
        Kind.COUNTER,
        "Keys that MGETORSET PARTIAL answered with nil, because their loads failed.",
    ),
    Row("negative_hits", Kind.COUNTER, "Reads answered by what a loader said does not exist."),
    Row("warmed", Kind.COUNTER, "Keys filled by WARM."),
    Row("waiting", Kind.GAUGE, "Requests that wait for a load or a lease."),
    Row("lock_waiters", Kind.GAUGE, "Requests that wait for a lock."),
    Row("locks_renewed", Kind.COUNTER, "Renewals of locks that were acquired with RENEW."),
    Row("locks_lost", Kind.COUNTER, "Locks lost that were renewed: their clients are told."),
    Row("near_fills", Kind.COUNTER, "Replies put into the near cache."),
    Row("near_fills_refused", Kind.COUNTER, "Replies not kept: the key changed meanwhile, say."),
    Row("near_invalidations", Kind.COUNTER, "Pushes of the server that dropped something near."),
    Row("near_stale_max_ms", Kind.GAUGE, "How old a near value may be when a link dies silently."),
    Row("near_flushed_lost", Kind.COUNTER, "Flushes: the tracked connection was lost."),
    Row("near_flushed_silent", Kind.COUNTER, "Flushes: the server did not answer in time."),
    Row("near_flushed_null", Kind.COUNTER, "Flushes: the server dropped everything (FLUSHALL)."),
    Row("near_flushed_written", Kind.COUNTER, "Flushes: a write through the proxy of any key."),
    Row("compiled", Kind.GAUGE, "1: the hot path is compiled; 0: plain Python, and slower."),
    Row("clients_refused", Kind.COUNTER, "Clients refused because max_clients were connected."),
    Row("clients_cut", Kind.COUNTER, "Clients cut for what they had in buffers."),
    Row("tasks", Kind.GAUGE, "Tasks in this process: where they only grow, some are leaked."),
    Row("near_bypass", Kind.GAUGE, "Dbs and users whose reads pass: the near cache does not pay."),
    Row("near_bypass_misses", Kind.COUNTER, "Times reads began to pass: too few repeat."),
    Row("near_bypass_fills", Kind.COUNTER, "Times reads began to pass: what is kept changes."),
    Row("sentinels", Kind.GAUGE, "Sentinels whose events are heard."),
    Row("master_moves", Kind.COUNTER, "Times the master became another."),
    Row(
        "near_slots",
        Kind.GAUGE,
        "Slots of a cluster whose moves are told at once; -1: the ACL forbids it, they are polled.",
    ),
    Row("replica_reads", Kind.COUNTER, "Requests that went to replicas (read_from)."),
    Row(
        "not_modified",
        Kind.COUNTER,
        "Those of loads whose url said that the value still holds (HTTP 304).",
    ),
    Row("lock_servers_up", Kind.GAUGE, "Lock servers that are connected, of lock_servers."),
    Row("jobs_running", Kind.GAUGE, "Jobs that run: WARM ASYNC, INVALIDATE ASYNC, loaders' warm."),
    Row("jobs_done", Kind.COUNTER, "Jobs that came to their end."),
    Row("jobs_failed", Kind.COUNTER, "Jobs that an error has ended."),
    Row("jobs_cancelled", Kind.COUNTER, "Jobs that were ended before: by CANCEL, or at the stop."),
    Row("stale_served", Kind.COUNTER, "Reads answered within grace by a value whose ttl was over."),
    Row("refreshes", Kind.COUNTER, "Loads behind readers of a stale value."),
    Row("early_refreshes", Kind.COUNTER, "Loads behind readers before the ttl was over (early)."),
    Row("refresh_failures", Kind.COUNTER, "Those of both that failed or took too long."),
    Row("near_hits_down", Kind.COUNTER, "Reads answered near while the server was away."),
    Row("commands", Kind.COUNTER, "Requests of clients.", labelled=True),
    Row("command_errors", Kind.COUNTER, "Errors that clients were answered.", labelled=True),
    Row("near_found", Kind.COUNTER, "Those of hits that were answered out of the near cache."),
)

# What a gauge says that nobody has been given yet.
_UNREAD: Final[Mapping[str, Reading]] = {"tracking": "off"}


class Stats:
    """The values of all rows. A name without a row is a KeyError: a defect of the caller."""

    def __init__(self) -> None:
        rows = (*READS, *ROWS)
        self._counts = {row.name: 0 for row in rows if row.kind is Kind.COUNTER}
        self._read_counts: dict[str, Callable[[], int]] = {}
        self._gauges: dict[str, Callable[[], Reading]] = {
            row.name: _constant(_UNREAD.get(row.name, 0)) for row in rows if row.kind is Kind.GAUGE
        }
        self._reset_at = dict.fromkeys(self._counts, 0)

    def __repr__(self) -> str:
        counted = {name: self.running(name) for name in self._counts}
        return f"<Stats {' '.join(f'{name}={n}' for name, n in counted.items() if n)}>"

    def add(self, name: str, count: int = 1) -> None:
        self._counts[name] += count

    def counter(self, name: str, read: Callable[[], int]) -> None:
        """A counter that is kept elsewhere and only grows; what is added here comes on top."""
        if name not in self._counts:
            raise KeyError(name)
        self._read_counts[name] = read

    def gauge(self, name: str, read: Callable[[], Reading]) -> None:
        if name not in self._gauges:
            raise KeyError(name)
        self._gauges[name] = read

    def running(self, name: str) -> int:
        """A counter since the process began, whatever was reset."""
        read = self._read_counts.get(name)
        return self._counts[name] + (read() if read is not None else 0)

    def reading(self, row: Row) -> Reading:
        """A row as Prometheus wants it: counters never go back."""
        return self.running(row.name) if row.kind is Kind.COUNTER else self._gauges[row.name]()

    def totals(self) -> dict[str, Reading]:
        """All rows so, by name."""
        return {row.name: self.reading(row) for row in (*READS, *ROWS)}

    def show(self, hits: int, misses: int) -> dict[str, Value]:
        """STATS' map, with these reads at its head."""
        reads: dict[str, Value] = {
            "hits": hits,
            "misses": misses,
            "hit_ratio": hit_ratio(hits, misses),
        }
        return reads | self.own()

    def here(self) -> dict[str, Value]:
        """The same map of this process alone: INFO asks nobody for the fleet's reads."""
        return self.show(*(self.running(row.name) - self._reset_at[row.name] for row in READS))

    def own(self) -> dict[str, Value]:
        """The rows that STATS shows of this process: counters since the last reset."""
        return {row.name: self._shown(row) for row in ROWS}

    def _shown(self, row: Row) -> Reading:
        if row.kind is Kind.GAUGE:
            return self._gauges[row.name]()
        return self.running(row.name) - self._reset_at[row.name]

    def reset(self) -> None:
        self._reset_at = {name: self.running(name) for name in self._counts}


def _constant(value: Reading) -> Callable[[], Reading]:
    return lambda: value


def hit_ratio(hits: int, misses: int) -> float | None:
    """None where nothing was read."""
    return hits / (hits + misses) if hits + misses else None


def info_section(values: Mapping[str, Value]) -> bytes:
    """STATS' map as a section of INFO; what has no value is empty, as in Redis."""
    rows = [f"{name}:{_info_value(value)}\r\n" for name, value in values.items()]
    return f"# Nearhit\r\n{''.join(rows)}".encode()


def _info_value(value: Value) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
