"""``python -m tests.bench.startup``: from exec to the first PONG, embedded server included."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence

from . import report, targets


def started(options: argparse.Namespace) -> float:
    """Seconds until it answers (asked every 5 ms)."""
    began = time.perf_counter()
    with targets.proxy(None, options):
        return time.perf_counter() - began


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.startup", description=__doc__)
    targets.add_nearhit(parser)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args(argv)
    targets.end_children_on_sigterm()
    times = [started(options) for _ in range(options.runs)]
    print(
        report.facts(
            [
                ("starts", options.runs),
                ("median", f"{statistics.median(times):.3f} s"),
                ("fastest", f"{min(times):.3f} s"),
                ("slowest", f"{max(times):.3f} s"),
            ]
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
