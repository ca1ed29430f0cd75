"""``python -m tests.bench.invalidate``: INVALIDATE PATTERN over a million keys, and what other
clients feel of it.

Bars: it takes at most 1.5 times as long as SCAN COUNT 1000 and UNLINK from redis-py at the server
itself, and meanwhile the p99 of other clients of the proxy stays within twice its quiet value."""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence

import redis

from . import report, targets
from .client import Client
from .targets import Target

TIME_BAR = 1.5
P99_BAR = 2.0
CHUNK = 10_000


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


class Bystanders:
    """Clients that GET keys that stay, each about once a millisecond, and time every one."""

    def __init__(self, target: Target, count: int) -> None:
        self._target = target
        self._stop = threading.Event()
        self._took: list[float] = []
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]

    def __enter__(self) -> Bystanders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def during(self, work: Callable[[], None]) -> tuple[float, float]:
        """p50 and p99, in seconds, of what was asked while the work was done."""
        before = len(self._took)
        work()
        cuts = statistics.quantiles(self._took[before:], n=100)
        return cuts[49], cuts[98]

    def _run(self, number: int) -> None:
        with Client(self._target.host, self._target.port) as client:
            while not self._stop.is_set():
                began = time.perf_counter()
                client.ask("GET", f"stay:{number}")
                self._took.append(time.perf_counter() - began)
                time.sleep(0.001)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.invalidate", description=__doc__)
    targets.add_common(parser)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--bystanders", type=int, default=4, help="other clients")
    options = parser.parse_args(argv)
    targets.end_children_on_sigterm()
    plain, ours, quiet, busy = [], [], [], []
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
                seconds, removed = run(target)
                times.append(seconds)
                if removed != options.keys:
                    raise RuntimeError(f"{removed} keys removed instead of {options.keys}")
            fill(upstream, options.keys)
            with Bystanders(proxy, options.bystanders) as others:
                quiet.append(others.during(lambda: time.sleep(2)))
                busy.append(others.during(lambda: by_invalidate(proxy) and None))
    ratio = statistics.median(ours) / statistics.median(plain)
    p99s = statistics.median(p99 for _, p99 in busy), statistics.median(p99 for _, p99 in quiet)
    print(
        report.facts(
            [
                ("keys", f"{options.keys:,}"),
                ("redis-py to the server", f"{statistics.median(plain):.2f} s"),
                ("INVALIDATE PATTERN to Nearhit", f"{statistics.median(ours):.2f} s"),
                ("ratio", f"{ratio:.2f} (bar: {TIME_BAR:g})"),
                ("others' p50 / p99, quiet", _shown(quiet)),
                ("others' p50 / p99, meanwhile", _shown(busy)),
                ("p99 ratio", f"{p99s[0] / p99s[1]:.2f} (bar: {P99_BAR:g})"),
            ]
        )
    )
    return 0 if ratio <= TIME_BAR and p99s[0] <= P99_BAR * p99s[1] else 1


def _shown(cuts: Sequence[tuple[float, float]]) -> str:
    p50, p99 = (statistics.median(each) * 1000 for each in zip(*cuts, strict=True))
    return f"{p50:.2f} / {p99:.2f} ms"


if __name__ == "__main__":
    sys.exit(main())
