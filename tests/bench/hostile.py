"""``python -m tests.bench.hostile``: what one bad client costs the proxy and the good clients.

Each attack meets a fresh proxy, from a process of its own, beside 20 good clients (redis-benchmark,
P=1). Reported: the growth of the proxy's peak memory, and the good clients' p99, quiet and under
attack. A stall is few requests, however long: so worst latency (redis-benchmark counts to 3000 ms)
and throughput stand beside."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from . import client, load, procfs, report, targets
from .load import Case, Timing
from .targets import Target

COMMANDS = 100_000
GARBAGE = 1 << 30
CHUNK = 1 << 20
HEAD = "attack|base|peak|growth|p99 ms quiet|p99 ms attacked|p99 x|max ms attacked|req/s x"
HEAD_START = 0.3  # seconds that the good clients run before the attack


@dataclass(frozen=True, slots=True)
class Attack:
    """A value to put at the key ``victim``, and what the bad client does."""

    name: str
    value: int
    run: Callable[[Target, float], None]


def push(bad: socket.socket, chunks: Iterator[bytes], end: float) -> int:
    """Send without ever reading, as fast as the proxy takes it; the bytes that it took."""
    bad.setblocking(False)
    taken = 0
    for chunk in chunks:
        left = memoryview(chunk)
        while left:
            wait = end - time.monotonic()
            if wait <= 0 or not select.select([], [bad], [], wait)[1]:
                return taken
            sent = bad.send(left)
            left = left[sent:]
            taken += sent
    return taken


def hold(end: float) -> None:
    time.sleep(max(0, end - time.monotonic()))


def never_reads(target: Target, end: float) -> None:
    """100,000 GETs in one pipeline, no reply read; then it stays connected."""
    command = client.pack("GET", "victim")
    chunks = (command * 1000 for _ in range(COMMANDS // 1000))
    with connect(target) as bad, contextlib.suppress(ConnectionError):
        push(bad, chunks, end)
        hold(end)


def garbage(target: Target, end: float) -> None:
    """1 GB of noise, on a new connection whenever it is thrown out."""
    noise = os.urandom(CHUNK)
    taken = 0
    while taken < GARBAGE and time.monotonic() < end:
        with connect(target) as bad, contextlib.suppress(ConnectionError):
            taken += push(bad, (noise for _ in range(GARBAGE // CHUNK)), end)


def blank_lines(target: Target, end: float) -> None:
    """1 GB of empty lines on one connection: RESP ignores them, so nothing throws it out."""
    with connect(target) as bad, contextlib.suppress(ConnectionError):
        push(bad, (b"\r\n" * (CHUNK // 2) for _ in range(GARBAGE // CHUNK)), end)


ATTACKS = (
    Attack("unread 64 B", 64, never_reads),
    Attack("unread 10 KB", 10 << 10, never_reads),
    Attack("unread 100 KB", 100 << 10, never_reads),
    Attack("garbage", 64, garbage),
    Attack("blank lines", 64, blank_lines),
)


def connect(target: Target) -> socket.socket:
    return socket.create_connection((target.host, target.port), timeout=10)


def after_head_start(attack: Attack, target: Target, end: float) -> None:
    time.sleep(HEAD_START)
    attack.run(target, end)


def under(attack: Attack, target: Target, case: Case, requests: int, seconds: float) -> Timing:
    """The good clients' run while the attack lasts."""
    # The attack may outlive the good clients, never the other way round.
    end = time.monotonic() + 10 * seconds
    bad = multiprocessing.Process(target=after_head_start, args=(attack, target, end))
    bad.start()
    try:
        return load.run(target.host, target.port, case, requests)
    finally:
        bad.terminate()
        bad.join()


def measure(
    attack: Attack, upstream: Target, proxy: Target, case: Case, seconds: float
) -> list[str]:
    """One line of the table."""
    client.preload(upstream.host, upstream.port, case.size)
    with client.Client(upstream.host, upstream.port) as control:
        control.ask("SET", "victim", b"v" * attack.value)
    short = load.run(proxy.host, proxy.port, case, case.at_least)
    requests = load.requests_for(case, seconds, short.throughput)
    quiet = load.run(proxy.host, proxy.port, case, requests)
    procfs.forget_peak(proxy.pids)
    base = procfs.memory(proxy.pids)
    attacked = under(attack, proxy, case, requests, seconds)
    peak = procfs.memory(proxy.pids, "VmHWM")
    figures = (base, peak, peak - base)
    return [
        attack.name,
        *map(report.megabytes, figures),
        f"{quiet.p99:.3f}",
        f"{attacked.p99:.3f}",
        f"{attacked.p99 / quiet.p99:.1f}",
        f"{attacked.worst:.1f}",
        f"{attacked.throughput / quiet.throughput:.2f}",
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.hostile", description=__doc__)
    targets.add_single(parser)
    parser.add_argument("--clients", type=int, default=20, help="well-behaved ones")
    parser.add_argument("--seconds", type=float, default=4, help="about how long each run takes")
    options = parser.parse_args(argv)
    targets.end_children_on_sigterm()
    case = Case("get", options.clients, 1, 64)
    lines = [HEAD.split("|")]
    for attack in ATTACKS:
        print(attack.name, file=sys.stderr, flush=True)
        with targets.both(options) as (upstream, proxy):
            lines.append(measure(attack, upstream, proxy, case, options.seconds))
    print(report.align(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
