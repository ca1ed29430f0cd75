"""One run of redis-benchmark: what was asked, how long to run it, and what it measured."""

from __future__ import annotations

import csv
import itertools
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KEYS = 10_000  # `-r`: few enough to be all preloaded, so that each GET hits
LIMIT = 180  # seconds for one run


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """What redis-benchmark is told to do."""

    command: str
    connections: int
    pipeline: int
    size: int

    def __str__(self) -> str:
        return f"{self.command} c={self.connections} P={self.pipeline} d={self.size}"

    @property
    def at_least(self) -> int:
        """Fewer requests than this would measure the connecting rather than the serving."""
        return max(10_000, 4 * self.connections * self.pipeline)

    @property
    def past_handshakes(self) -> int:
        """The same with TLS: a handshake costs as much CPU as 90 requests do at P=1, or 1,000 at
        P=16, and 2 % of it is no matter."""
        return 4_000 * min(self.pipeline, 5) * self.connections


@dataclass(frozen=True, slots=True)
class Timing:
    throughput: float  # requests per second
    p50: float  # milliseconds
    p99: float
    worst: float


def matrix(
    commands: Sequence[str],
    connections: Sequence[int],
    pipelines: Sequence[int],
    sizes: Sequence[int],
) -> list[Case]:
    """All combinations; sizes change slowest, because each change is a preload."""
    return [
        Case(command, count, pipeline, size)
        for size, count, pipeline, command in itertools.product(
            sizes, connections, pipelines, commands
        )
    ]


def arguments(
    host: str, port: int, case: Case, requests: int, tls: Path | None = None
) -> list[str]:
    return [
        "redis-benchmark", "--csv", "-h", host, "-p", str(port), "-t", case.command.lower(),
        "-c", str(case.connections), "-P", str(case.pipeline), "-d", str(case.size),
        "-r", str(KEYS), "-n", str(requests), *(["--tls", "--cacert", str(tls)] if tls else []),
    ]  # fmt: skip


def parse_csv(text: str, command: str) -> Timing:
    """The row of the command in what ``redis-benchmark --csv`` prints."""
    lines = text.splitlines()
    head = next((n for n, line in enumerate(lines) if line.startswith('"test"')), None)
    if head is None:
        raise ValueError(f"no table from redis-benchmark: {text!r}")
    for row in csv.DictReader(lines[head:]):
        if row["test"] == command.upper():
            figures = ("rps", "p50_latency_ms", "p99_latency_ms", "max_latency_ms")
            return Timing(*(float(row[name]) for name in figures))
    raise ValueError(f"no row for {command} from redis-benchmark: {text!r}")


def run(host: str, port: int, case: Case, requests: int, tls: Path | None = None) -> Timing:
    """Run it to its end; RuntimeError with its own words when it fails. ``tls``: the file of who
    signed the server's certificate.

    The limit matters: redis-benchmark spins for ever when nobody listens any more."""
    argv = arguments(host, port, case, requests, tls)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}\n{done.stdout}{done.stderr}")
    return parse_csv(done.stdout, case.command)


def requests_for(case: Case, seconds: float, throughput: float, least: int = 0) -> int:
    """How many requests take about that long, from the rate that a short run saw; ``least`` if
    that is more."""
    return max(case.at_least, least, int(seconds * throughput))
