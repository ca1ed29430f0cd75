"""``python -m tests.bench.tags``: INVALIDATE TAG of 100,000 keys and what other clients feel of it;
and how many dead references a tag keeps while a million keys come and go.

Bars: meanwhile the p99 of other clients of the proxy stays within twice its quiet value; of a tag's
references less than a tenth are dead at any time, once the first keys have ended.

The other clients are those of ``tests.bench.invalidate``. A dead reference is a key in the tag's
set that the server does not have."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

import redis

from . import report, targets
from .client import Client, Word
from .invalidate import P99_BAR, PROBES, Bystander, Felt, p99_ratio, shown, timed
from .targets import Target

DEAD_BAR = 0.1
CHUNK: Final = 1000
LOOK_S: Final = 3.0
DEAD: Final = """
local dead, keys = 0, redis.call('ZRANGE', KEYS[1], 0, -1)
for at = 1, #keys do
  dead = dead + 1 - redis.call('EXISTS', keys[at])
end
return {dead, #keys}
"""


def warm(client: Client, keys: range, *options: Word) -> None:
    pairs = [word for number in keys for word in (f"user:{number}", "x" * 20)]
    client.ask("WARM", *options, "TAG", "all", "VALUES", *pairs)


def chunks(keys: int) -> Iterator[range]:
    return (range(at, min(at + CHUNK, keys)) for at in range(0, keys, CHUNK))


def feel(proxy: Target, upstream: Target, keys: int) -> tuple[Felt, float]:
    """What the bystander feels of nothing and of INVALIDATE TAG; how long that took."""
    with Client(upstream.host, upstream.port) as client:
        client.ask("FLUSHALL", "SYNC")
        client.ask("SET", "stay:1", "x")
    with Client(proxy.host, proxy.port, timeout=300) as client:
        for some in chunks(keys):
            warm(client, some)

        def invalidate() -> None:
            removed = client.ask("INVALIDATE", "TAG", "all")
            if removed != keys:
                raise RuntimeError(f"{removed} keys removed instead of {keys}")

        with Bystander(proxy, upstream) as bystander:
            windows = [timed(lambda: time.sleep(2)), timed(invalidate)]
    quiet, ours = map(bystander.during, windows)
    return (quiet, ours), windows[1][1] - windows[1][0]


def churn(proxy: Target, upstream: Target, keys: int, ttl_s: int) -> tuple[list[float], float]:
    """The share of dead references at each look, and keys a second."""
    shares: list[float] = []
    with (
        redis.Redis(upstream.host, upstream.port) as direct,
        Client(proxy.host, proxy.port, timeout=300) as client,
    ):
        direct.flushall(asynchronous=False)
        began = look = time.monotonic()
        for some in chunks(keys):
            warm(client, some, "EX", ttl_s)
            now = time.monotonic()
            if now - began > ttl_s * 1.2 and now - look > LOOK_S:
                dead, all_ = direct.eval(DEAD, 1, "tag:{all}")
                shares.append(dead / all_)
                look = now
        return shares, keys / (time.monotonic() - began)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tags", description=__doc__)
    targets.add_common(parser)
    parser.add_argument("--keys", type=int, default=100_000, help="under the tag that goes")
    parser.add_argument("--churn", type=int, default=1_000_000, help="keys that come and end")
    parser.add_argument("--ttl", type=int, default=30, metavar="S", help="how long those last")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args(argv)
    targets.end_children_on_sigterm()
    with (
        targets.server(options.upstream) as upstream,
        targets.proxy(upstream.url, options) as proxy,
    ):
        rounds = [feel(proxy, upstream, options.keys) for _ in range(options.repeat)]
        shares, pace = churn(proxy, upstream, options.churn, options.ttl)
    felt = [(quiet, ours, ours) for (quiet, ours), _ in rounds]
    lines = [["p50 / p99, ms", "quiet", "INVALIDATE TAG", f"p99 ratio (bar: {P99_BAR:g})"]]
    ratios = [p99_ratio(felt, probe) for probe in range(len(PROBES))]
    for probe, (name, *_) in enumerate(PROBES):
        cells = [shown([each[kind][probe] for each in felt]) for kind in range(2)]
        lines.append([name, *cells, f"{ratios[probe]:.2f}"])
    took = ", ".join(f"{seconds:.2f}" for _, seconds in rounds)
    worst = max(shares, default=0.0)
    print(report.align(lines))
    print()
    print(
        report.facts(
            [
                (f"{options.keys:,} keys under one tag went in", f"{took} s"),
                ("came and went", f"{options.churn:,} keys of {options.ttl} s, {pace:,.0f}/s"),
                (
                    "dead references",
                    f"{worst:.1%} at most of {len(shares)} looks (bar: {DEAD_BAR:.0%})",
                ),
            ]
        )
    )
    return 0 if max(ratios[:2]) <= P99_BAR and shares and worst < DEAD_BAR else 1


if __name__ == "__main__":
    sys.exit(main())
