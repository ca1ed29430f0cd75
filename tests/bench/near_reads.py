"""``python -m tests.bench.near_reads``: what ``near_reads = "all"`` costs and saves, read by read.

    hot    of 1,000 keys: out of the near cache from the second read on
    cold   spread evenly over so many that hardly any is read again

Both sides, near cache off and on, read with that setting. As in near.py, the sides take turns, and
figures are medians of the rounds. There is no bar: the CPU of the proxy a request is to be compared
with that of GET, which stands in the first lines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from . import generator, report, targets
from .generator import Load
from .near import Bench, Case, Sample, check_compiled, median, progress

HOT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Read:
    """A read, and what makes its keys. ``plain``: it answers with the value, which is checked."""

    write: str
    read: str
    plain: bool = False

    def load(self, name: str, keys: int) -> Load:
        prefix = f"{name}:"
        return Load(keys, read=self.read, write=self.write, prefix=prefix, check=self.plain)


READS: Final = {
    "get": Read("SET {key} {value}", "GET {key}", plain=True),
    "hget": Read("HSET {key} f {value}", "HGET {key} f"),
    "hgetall": Read("HSET {key} f {value} g 1", "HGETALL {key}"),
    "zrange": Read("ZADD {key} 1 a 2 b 3 c", "ZRANGE {key} 0 -1"),
    "exists": Read("HSET {key} f 1", "EXISTS {key}"),
}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.near_reads",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--kind", choices=["redis", "valkey"], default="redis")
    add("--rounds", type=int, default=5, metavar="N", help="of which the median is shown")
    add("--seconds", type=float, default=1.0, help="how long each run takes")
    add("--pipeline", type=int, nargs="+", default=[1, 16], metavar="P")
    add("--only", nargs="+", choices=READS, default=list(READS), metavar="NAME")
    add("--keys", type=int, default=500_000, help="of cold reads")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    options.nearhit_flags = ["--near-reads", "all"]
    targets.end_children_on_sigterm()
    check_compiled()
    rows = [["read", "keys", "P", "near cache", *Sample.HEAD]]
    with generator.built() as generate, targets.server(options.kind) as server:
        bench = Bench(server, generate, options, there=options.keys)  # of our own making
        for name in options.only:
            progress(name)
            cold = READS[name].load(name, options.keys)
            making = replace(cold, pipeline=100, scan=True, writes=1.0, check=False)
            generate.run(server.host, server.port, making, requests=options.keys)
            for kind, load in (("hot", replace(cold, keys=HOT)), ("cold", cold)):
                for pipeline, samples in bench.measure(Case(load)):
                    rows += [
                        [name, kind, str(pipeline), side, *median(taken).cells]
                        for side, taken in samples.items()
                    ]
    print(report.align(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
