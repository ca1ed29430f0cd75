"""``python -m tests.bench.hostile``: what hostile clients cost the proxy and the good clients.

Each attack (attacks.py) meets a fresh proxy, from a process of its own, beside 50 good clients (our
own generator, P=1, which checks each reply). Reported: the growth of the proxy's peak memory, and
the good clients' p99, quiet and beside the attack. A stall is few requests, however long: so the
worst latency and the throughput stand beside. Bars: p99 at most doubled, memory within BOUND."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.certificates import self_signed
from tests.servers import HOST, free_port, nearhit

from . import client, generator, procfs, report, targets
from .attacks import ATTACKS, Attack, Doors
from .generator import Generator, Load, Result
from .targets import Target

HEAD = "attack|base|peak|growth|p99 ms quiet|p99 ms beside|p99 x|max ms beside|req/s x"
HEAD_START = 0.2  # seconds that the good clients run before the attack
BUFFERS = 128 << 20  # maxmemory_clients
# Beside these: lanes, TLS, HTTP and what 10,000 connections cost that do nothing.
BOUND = BUFFERS + (64 << 20)
SLOWER = 2.0


def run_later(attack: Attack, doors: Doors, seconds: float) -> None:
    end = time.monotonic() + seconds
    time.sleep(HEAD_START)
    with contextlib.suppress(ConnectionError):
        attack.run(doors, end)


@contextlib.contextmanager
def under(attack: Attack, doors: Doors, seconds: float) -> Iterator[BaseProcess]:
    """While the attack lasts: its process."""
    bad = multiprocessing.Process(target=run_later, args=(attack, doors, seconds), daemon=True)
    bad.start()
    try:
        yield bad
    finally:
        bad.terminate()
        bad.join()


@contextlib.contextmanager
def stage(upstream: Target, flags: Sequence[str] = ()) -> Iterator[tuple[Doors, procfs.Pids]]:
    """A proxy with all its doors open and its bounds set; its processes."""
    with tempfile.TemporaryDirectory(prefix="nearhit-bench-") as name:
        files = self_signed(Path(name))
        tls, http = free_port(), free_port()
        doors = ["--tls-listen", f"{HOST}:{tls}", "--http", f"{HOST}:{http}"]
        pair = ["--tls-cert", f"{files}/cert.pem", "--tls-key", f"{files}/key.pem"]
        bounds = ["--maxmemory-clients", str(BUFFERS), "--client-output-buffer", "32mb 8mb 10s"]
        with nearhit(upstream.url, *doors, *pair, *bounds, *flags) as process:
            yield Doors(HOST, process.port, tls, http), procfs.tree({process.pid})


def measure(
    attack: Attack, generate: Generator, options: argparse.Namespace
) -> tuple[list[str], bool]:
    """One line of the table, and whether it is within the bars."""
    load, seconds = Load(connections=options.clients), options.seconds
    with targets.server(options.upstream) as upstream:
        writes = Load(pipeline=16, scan=True, writes=1)
        generate.run(upstream.host, upstream.port, writes, requests=load.keys)
        with client.Client(upstream.host, upstream.port) as control:
            control.ask("SET", "victim", b"v" * attack.value)
        with stage(upstream, targets.nearhit_flags(options)) as (doors, pids):
            run = partial(generate.run, doors.host, doors.port, load)
            run(seconds=1.0)
            quiet = run(seconds=min(seconds, 10.0))
            procfs.forget_peak(pids)
            base = procfs.memory(pids)
            with under(attack, doors, seconds + 5):
                beside = run(seconds=seconds)
            peak = procfs.memory(pids, "VmHWM")
    return _line(attack, base, peak, quiet, beside)


def _line(
    attack: Attack, base: int, peak: int, quiet: Result, beside: Result
) -> tuple[list[str], bool]:
    slower = beside.p99 / quiet.p99
    line = [
        attack.name,
        *map(report.megabytes, (base, peak, peak - base)),
        f"{quiet.p99 / 1000:.2f}",
        f"{beside.p99 / 1000:.2f}",
        f"{slower:.1f}",
        f"{beside.max / 1000:.0f}",
        f"{beside.throughput / quiet.throughput:.2f}",
    ]
    return line, slower <= SLOWER and peak - base <= BOUND


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.hostile", description=__doc__)
    targets.add_common(parser)
    parser.add_argument("--clients", type=int, default=50, help="well-behaved ones")
    parser.add_argument("--seconds", type=float, default=4, help="how long each attack lasts")
    parser.add_argument("--only", help="attacks whose names contain this")
    options = parser.parse_args(argv)
    targets.end_children_on_sigterm()
    lines, good = [HEAD.split("|")], True
    with generator.built() as generate:
        for attack in ATTACKS:
            if options.only and options.only not in attack.name:
                continue
            line, within = measure(attack, generate, options)
            print(*line, sep=" | ", file=sys.stderr, flush=True)
            lines.append(line)
            good &= within
    print(report.align(lines))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
