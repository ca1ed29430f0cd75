"""``python -m tests.bench``: throughput, latency and CPU per request, all in one table.

Measures the server alone, Nearhit, and peers. ``--bars`` runs only what the project's own bars
need and judges them.

Targets take turns within a case, round after round, so that the machine's moods hit all alike."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from . import bars, client, load, procfs, report, targets
from .load import Case
from .report import Row
from .targets import Target


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def words(text: str) -> list[str]:
    found = text.lower().split(",")
    if not set(found) <= {"get", "set"}:
        raise argparse.ArgumentTypeError(f"{text!r}: only get and set")
    return found


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    targets.add_common(parser)
    add = parser.add_argument
    add("--twemproxy", action="store_true", help="start nutcracker from PATH as a peer")
    add("--peer", type=targets.peer, action="append", default=[], metavar="NAME=HOST:PORT",
        help="a proxy that runs already, in front of the same upstream")  # fmt: skip
    add("--pid", type=targets.pid, action="append", default=[], metavar="NAME=PID",
        help="the process of a peer (default: who listens on its port)")  # fmt: skip
    add("--tls", action="store_true", help="measure nearhit with TLS to clients too, and judge it")
    add("--without-nearhit", action="store_true", help="measure only direct and the peers")
    add("--connections", type=numbers, default=[50, 500], metavar="N,N")
    add("--pipeline", type=numbers, default=[1, 16, 100], metavar="N,N")
    add("--size", type=numbers, default=[64, 4096], metavar="N,N")
    add("--command", type=words, default=["get", "set"], metavar="get,set")
    add("--seconds", type=float, default=2.0, help="about how long each run takes")
    add("--requests", type=int, metavar="N", help="requests in each run (instead of --seconds)")
    add("--repeat", type=int, default=1, metavar="N", help="rounds, of which the median is shown")
    add("--json", type=Path, metavar="FILE", help="write the rows there too")
    add("--bars", action="store_true", help="judge the project's bars; exit 1 when one is missed")
    options = parser.parse_args(argv)
    if options.bars:
        options.twemproxy = True
    return options


def cases(options: argparse.Namespace) -> list[Case]:
    if options.bars:
        return bars.CASES
    return load.matrix(options.command, options.connections, options.pipeline, options.size)


def measure(target: Target, upstream: Target, case: Case, requests: int) -> Row:
    """One run, with the CPU that both sides spent while it ran."""
    proxy_before = procfs.cpu_seconds(target.pids)
    upstream_before = procfs.cpu_seconds(upstream.pids)
    timing = load.run(target.host, target.port, case, requests, target.tls)
    proxy_spent = procfs.cpu_seconds(target.pids) - proxy_before
    upstream_spent = procfs.cpu_seconds(upstream.pids) - upstream_before
    behind = target is not upstream and target.pids
    return Row(
        target.name,
        case,
        timing.throughput,
        timing.p50,
        timing.p99,
        proxy_spent / requests * 1e6 if behind else None,
        upstream_spent / requests * 1e6 if upstream.pids else None,
        target.named if behind else "",
        upstream.named,
    )


def measure_case(case: Case, all_: Sequence[Target], options: argparse.Namespace) -> list[Row]:
    """One median row per target. The first, short run of each sizes the others and warms it up."""
    upstream = all_[0]
    least = case.past_handshakes if any(target.tls for target in all_) else 0
    requests = {
        target.name: options.requests
        or load.requests_for(
            case,
            options.seconds,
            load.run(target.host, target.port, case, case.at_least, target.tls).throughput,
            least,
        )
        for target in all_
    }
    rounds: dict[str, list[Row]] = {target.name: [] for target in all_}
    for turn in range(options.repeat):
        for target in all_:
            row = measure(target, upstream, case, requests[target.name])
            rounds[target.name].append(row)
            progress(
                f"{case}  {turn + 1}/{options.repeat}  {target.name}: {row.throughput:,.0f} req/s"
            )
    return [report.median(rows) for rows in rounds.values()]


def measure_all(all_: Sequence[Target], options: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    loaded = None
    for case in cases(options):
        if case.size != loaded:
            client.preload(all_[0].host, all_[0].port, case.size)
            for target in all_:
                if target.tls is not None:
                    continue  # it is the one before it, by another address
                client.check(target.name, target.host, target.port, case.size)
            loaded = case.size
        rows += measure_case(case, all_, options)
    return rows


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    targets.end_children_on_sigterm()
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(targets.server(options.upstream))
        peers = [targets.found(peer, dict(options.pid)) for peer in options.peer]
        if options.twemproxy:
            peers.insert(0, stack.enter_context(targets.twemproxy(upstream)))
        own: list[Target] = []
        if options.tls:
            own = stack.enter_context(targets.proxy_with_tls(upstream.url, options))
        elif not options.without_nearhit:
            own = [stack.enter_context(targets.proxy(upstream.url, options))]
        rows = measure_all([upstream, *peers, *own], options)
    print(report.table(rows, peers[0].name if peers else None))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if options.tls:
        text, met = bars.tls_verdict(rows)
        print(f"\n{text}")
        return 0 if met else 1
    if not options.bars:
        return 0
    text, met = bars.verdict(rows)
    print(f"\n{text}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
