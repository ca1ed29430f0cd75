"""``python -m tests.bench.clusters``: a proxy on a cluster of three, beside one on one server.

The same load goes to both by turns. Printed for each: the proxy's CPU of a request, requests a
second, and the ratio of each round's pair. ``--near`` is the near cache's size, or ``off``.

Bars (shared/design/cluster-and-sentinel.md, 8.1, row 19): a request costs at most 1.08 of what it
costs in front of one server, and throughput for each second of the proxy's CPU is at least 0.92.
``--canary`` compares two proxies on the cluster instead: one whose user may not SSUBSCRIBE, so that
it has no canaries, and one that has them. There the bar is 1.02."""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.clusters import cluster
from tests.servers import HOST, nearhit, upstream

from . import procfs
from .generator import Generator, Load, built
from .targets import Target

BAR = 1.08
CANARY_BAR = 1.02
MUTE = ("mute", "on", ">pw", "~*", "&*", "+@all", "-ssubscribe")
LOADS = {"get": 0.0, "set": 1.0}  # the share of writes


@dataclass(slots=True)
class Seen:
    """What the rounds of one target saw."""

    target: Target
    cost: list[float] = field(default_factory=list)  # us of the proxy's CPU a request
    pace: list[float] = field(default_factory=list)  # requests a second

    def run(self, generator: Generator, load: Load, requests: int) -> None:
        before = procfs.cpu_seconds(self.target.pids)
        result = generator.run(HOST, self.target.port, load, requests=requests)
        spent = procfs.cpu_seconds(self.target.pids) - before
        self.cost.append(spent / requests * 1e6)
        self.pace.append(result.throughput)

    def __str__(self) -> str:
        cost, pace = statistics.median(self.cost), statistics.median(self.pace)
        return f"{self.target.name} {cost:.2f} us, {pace:,.0f}/s"


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    return statistics.median(b / a for a, b in zip(one, other, strict=True))


def measure(
    targets: Sequence[Target], generator: Generator, load: Load, requests: int, rounds: int
) -> list[Seen]:
    seen = [Seen(target) for target in targets]
    for turn in range(rounds):
        for one in seen if turn % 2 else seen[::-1]:
            one.run(generator, load, requests)
    return seen


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.clusters", description=__doc__)
    parser.add_argument("--engine", choices=["redis", "valkey"], default="redis")
    parser.add_argument("--near", nargs="+", default=["off", "8mb"])
    parser.add_argument("--commands", nargs="+", choices=list(LOADS), default=list(LOADS))
    parser.add_argument("--pipelines", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--requests", type=int, default=40_000, help="a round, for each in flight")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--canary", action="store_true")
    options = parser.parse_args(argv)
    met, bar = True, CANARY_BAR if options.canary else BAR
    with contextlib.ExitStack() as stack:
        generator = stack.enter_context(built())
        nodes = stack.enter_context(cluster(options.engine, 3, 0))
        if options.canary:
            for node in nodes.nodes:
                node.ask("ACL", "SETUSER", *MUTE)
            urls = {"poll": nodes.url.replace("://", "://mute:pw@"), "canary": nodes.url}
        else:
            server = stack.enter_context(upstream(options.engine))
            urls = {"server": f"redis://{HOST}:{server.port}", "cluster": nodes.url}
        for near in options.near:
            with contextlib.ExitStack() as proxies:
                targets = []
                for name, url in urls.items():
                    process = proxies.enter_context(nearhit(url, "--near-cache", near))
                    target = Target(name, HOST, process.port, procfs.tree({process.pid}))
                    targets.append(target)
                    generator.run(
                        HOST, target.port, Load(keys=2000, scan=True, writes=1), requests=4000
                    )
                for command in options.commands:
                    for pipeline in options.pipelines:
                        load = Load(keys=2000, pipeline=pipeline, writes=LOADS[command])
                        requests = options.requests * (5 if pipeline > 1 else 1)
                        one, many = measure(targets, generator, load, requests, options.rounds)
                        cost = ratio(one.cost, many.cost)
                        pace = ratio(one.pace, many.pace)
                        met &= cost <= bar
                        print(
                            f"near {near:4} {command} P={pipeline:2}: {one}; {many};"
                            f" CPU x{cost:.2f}, pace x{pace:.2f}",
                            flush=True,
                        )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
