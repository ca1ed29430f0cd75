"""``python -m tests.bench.memory``: what the near cache accounts for against what the process grew
by, filled to its budget and then churned. Bar: off by 15 % at most."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from . import bars, generator, procfs, report, targets
from .bars import Finding
from .client import Client
from .generator import Generator, Load
from .targets import Target

BUDGET = 64 * 2**20  # the default of --near-cache
SIZES = (64, 1024)
BAR = 0.15


def stats(proxy: Target) -> dict[str, int]:
    """The rows of STATS that are whole numbers."""
    with Client(proxy.host, proxy.port) as client:
        rows = client.ask("STATS")
    assert isinstance(rows, list)
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return {name.decode(): value for name, value in pairs if isinstance(value, int)}


def measure(server: Target, generate: Generator, size: int) -> Iterator[Finding]:
    # Half as many keys again as there is room for, so that the budget is filled, and then churned.
    keys = BUDGET * 3 // 2 // (size + 200)
    reads = Load(keys, 16, size=size)
    writes = Load(keys, 16, size=size, scan=True, writes=1)
    generate.run(server.host, server.port, writes, requests=keys)
    given = argparse.Namespace(workers=None, nearhit_flags=["--near-ttl", "1h"])
    with targets.proxy(server.url, given) as proxy:
        # Buffers, and all that a first client makes the process load.
        few = Load(1, 16, size=size, writes=0.5)
        generate.run(proxy.host, proxy.port, few, requests=50_000)
        base = procfs.memory(proxy.pids)
        for _ in range(100):
            generate.run(proxy.host, proxy.port, reads, requests=50_000)
            if stats(proxy)["near_evictions"]:
                break
        yield _finding(f"{size} B, filled", proxy, base)
        generate.run(proxy.host, proxy.port, reads, requests=1_000_000)
        yield _finding(f"{size} B, churned", proxy, base)


def _finding(what: str, proxy: Target, base: int) -> Finding:
    grown, rows = procfs.memory(proxy.pids) - base, stats(proxy)
    accounted = rows["near_bytes"]
    made_of = f"{report.megabytes(accounted)} of {rows['near_entries']:,} entries"
    made_of += f", grown by {report.megabytes(grown)}"
    return Finding(f"{what}: {made_of}; off by", abs(accounted / grown - 1), BAR)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory", description=__doc__)
    parser.add_argument("--kind", choices=["redis", "valkey"], default="redis")
    options = parser.parse_args(argv)
    targets.end_children_on_sigterm()
    with generator.built() as generate, targets.server(options.kind) as server:
        found = [finding for size in SIZES for finding in measure(server, generate, size)]
    text, met = bars.table(found)
    print(text)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
