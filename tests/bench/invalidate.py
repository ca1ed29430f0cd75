"""``python -m tests.bench.invalidate``: INVALIDATE PATTERN over a million keys, and what other
clients feel of it.

Bars: it takes at most 1.3 times as long as SCAN COUNT 1000 and UNLINK from redis-py at the server
itself, and meanwhile the p99 of other clients of the proxy stays within twice its quiet value.

The other clients are one process with three connections, each with its own question: a value that
the proxy has near, a question that it must pass on, and the same at the server itself. What the
last one waits is the server's part. The same three are also timed while redis-py sweeps."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Final

import redis

from . import report, targets
from .client import Client
from .targets import Target

TIME_BAR = 1.3
P99_BAR = 2.0
CHUNK = 10_000

Window = tuple[float, float]
Felt = tuple[list[tuple[float, float]], ...]  # p50 and p99 of each probe: quiet, ours, redis-py's


def fill(target: Target, keys: int) -> None:
    """The keys that go, and as many again of a hundred that stay."""
    with Client(target.host, target.port) as client:
        client.ask("FLUSHALL", "SYNC")
        for start in range(0, keys, CHUNK):
            numbers = range(start, min(start + CHUNK, keys))
            client.ask(
                "MSET", *(word for number in numbers for word in (f"user:{number}", "x" * 20))
            )
        client.ask("MSET", *(word for number in range(100) for word in (f"stay:{number}", "x")))


def by_redis_py(target: Target) -> tuple[float, int]:
    """Seconds and keys: a page is removed in one pipeline with the SCAN for the next."""
    with redis.Redis(target.host, target.port) as client:
        cursor, found, removed = 0, list[bytes](), 0
        began = time.perf_counter()
        while True:
            pipe = client.pipeline(transaction=False)
            if found:
                pipe.unlink(*found)
            pipe.scan(cursor, match="user:*", count=1000)
            *gone, (cursor, found) = pipe.execute()
            removed += sum(gone)
            if cursor == 0:
                break
        if found:
            removed += int(client.unlink(*found))
        return time.perf_counter() - began, removed


def by_invalidate(target: Target) -> tuple[float, int]:
    with Client(target.host, target.port, timeout=300) as client:
        began = time.perf_counter()
        removed = client.ask("INVALIDATE", "PATTERN", "user:*")
        assert isinstance(removed, int)
        return time.perf_counter() - began, removed


PROBES: Final = (
    ("proxy, GET it has near", "proxy", "GET"),
    ("proxy, STRLEN it passes on", "proxy", "STRLEN"),
    ("server, STRLEN", "upstream", "STRLEN"),
)
PERIOD: Final = 0.005
Sample = tuple[float, tuple[float, ...]]  # when it was asked, and how long each probe took


class Bystander:
    """A process that asks each probe once in a PERIOD, one after the other."""

    def __init__(self, proxy: Target, upstream: Target) -> None:
        where = {"proxy": proxy, "upstream": upstream}
        self._link, far = multiprocessing.get_context("spawn").Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_ask_on, args=(far, [(where[name], word) for _, name, word in PROBES])
        )
        self._samples: list[Sample] = []

    def __enter__(self) -> Bystander:
        self._process.start()
        self._link.recv()  # it has begun
        return self

    def __exit__(self, *_: object) -> None:
        self._link.send("stop")
        self._samples = self._link.recv()
        self._process.join()

    def during(self, window: Window) -> list[tuple[float, float]]:
        """p50 and p99 of each probe, in seconds; once it has ended."""
        began, ended = window
        took = [each for at, each in self._samples if began <= at < ended]
        cuts = (statistics.quantiles(times, n=100) for times in zip(*took, strict=True))
        return [(each[49], each[98]) for each in cuts]


def _ask_on(link: Connection[str | list[Sample], str], probes: list[tuple[Target, str]]) -> None:
    samples: list[Sample] = []
    with contextlib.ExitStack() as stack:
        clients = [
            (stack.enter_context(Client(target.host, target.port)), word) for target, word in probes
        ]
        for _ in range(20):  # what is read often is near
            for client, word in clients:
                client.ask(word, "stay:1")
        link.send("begun")
        due = time.monotonic()
        while not link.poll():
            at, took = time.monotonic(), []
            for client, word in clients:
                began = time.perf_counter()
                client.ask(word, "stay:1")
                took.append(time.perf_counter() - began)
            samples.append((at, tuple(took)))
            due = max(due + PERIOD, at)
            time.sleep(max(0.0, due - time.monotonic()))
    link.send(samples)


def timed(work: Callable[[], object]) -> Window:
    began = time.monotonic()
    work()
    return began, time.monotonic()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.invalidate", description=__doc__)
    targets.add_common(parser)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args(argv)
    targets.end_children_on_sigterm()
    plain, ours, felt = [], [], []
    with (
        targets.server(options.upstream) as upstream,
        targets.proxy(upstream.url, options) as proxy,
    ):
        for _ in range(options.repeat):
            for times, run, target in (
                (plain, by_redis_py, upstream),
                (ours, by_invalidate, proxy),
            ):
                fill(upstream, options.keys)
                times.append(counted(run(target), options.keys))
            felt.append(feel(proxy, upstream, options.keys))
    ratio = statistics.median(ours) / statistics.median(plain)
    p99s = [p99_ratio(felt, probe) for probe in range(len(PROBES))]
    print(
        report.facts(
            [
                ("keys", f"{options.keys:,}"),
                ("redis-py to the server", _seconds(plain)),
                ("INVALIDATE PATTERN to Nearhit", _seconds(ours)),
                ("ratio", f"{ratio:.2f} (bar: {TIME_BAR:g})"),
            ]
        )
    )
    print()
    print(report.align(_table(felt, p99s)))
    reached = ratio <= TIME_BAR and all(each <= P99_BAR for each in p99s[:2])
    return 0 if reached else 1


def counted(result: tuple[float, int], keys: int) -> float:
    seconds, removed = result
    if removed != keys:
        raise RuntimeError(f"{removed} keys removed instead of {keys}")
    return seconds


def feel(proxy: Target, upstream: Target, keys: int) -> Felt:
    """What the bystander feels of nothing, of INVALIDATE, and of redis-py."""
    with Bystander(proxy, upstream) as bystander:
        fill(upstream, keys)
        windows = [
            timed(lambda: time.sleep(2)),
            timed(lambda: by_invalidate(proxy)),
            timed(lambda: fill(upstream, keys)),
            timed(lambda: by_redis_py(upstream)),
        ]
    quiet, ours, _, plain = map(bystander.during, windows)
    return quiet, ours, plain


def p99_ratio(felt: Sequence[Felt], probe: int) -> float:
    return statistics.median(ours[probe][1] / quiet[probe][1] for quiet, ours, _ in felt)


def _table(felt: Sequence[Felt], ratios: Sequence[float]) -> list[list[str]]:
    lines = [["p50 / p99, ms", "quiet", "INVALIDATE", "redis-py", f"p99 ratio (bar: {P99_BAR:g})"]]
    for probe, (name, *_) in enumerate(PROBES):
        cells = [shown([each[kind][probe] for each in felt]) for kind in range(3)]
        lines.append([name, *cells, f"{ratios[probe]:.2f}"])
    return lines


def _seconds(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.2f} s ({', '.join(f'{each:.2f}' for each in times)})"


def shown(cuts: Sequence[tuple[float, float]]) -> str:
    p50, p99 = (statistics.median(each) * 1000 for each in zip(*cuts, strict=True))
    return f"{p50:.2f} / {p99:.2f}"


if __name__ == "__main__":
    sys.exit(main())
