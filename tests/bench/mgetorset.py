"""``python -m tests.bench.mgetorset``: MGETORSET against MGET, in Nearhit's own CPU.

Bar: MGETORSET of 1,000 keys, 900 of them there, costs at most 1.3 times an MGET of 1,000 keys and
one load of 100 by a loader with a batch, which an MGETORSET of 100 keys that are not there is.

    mget   MGET of 1,000 keys that are there
    load   MGETORSET of 100 keys that are not there, new in each request
    both   MGETORSET of 900 keys that are there and 100 new ones, one in ten
    few    MGETORSET of 100 keys that are not there and that no loader is for
    many   MGETORSET of 900 keys that are there and those 100

A load costs a hundred MGETs, so what ``both`` costs beside it is less than the noise of a load. The
bar is judged twice: by ``both`` against the sum, give or take NOISE, and without a load by what
``many`` costs more than ``few``, against 1.3 times ``mget``. Without the near cache, and with the
900 in it. All take turns, round after round: figures are medians of the rounds, ratios are medians
of the rounds' own. CPU is user and system time of the process."""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.servers import HOST, nearhit

from . import procfs, report, targets
from .client import Client, pack
from .targets import Target

BAR = 1.3
NOISE = 1.05
CHEAP = 10  # times as many requests of what costs little: CPU is told in hundredths of a second
THERE, MISSING = 900, 100
SETTINGS = """
[loaders.many]
match = "new:{id}"
call = "bench_loader:many"
batch = 100
ttl = "20s"
"""
MODULE = """
async def many(id):
    return ["x" * %d] * len(id)
"""


@dataclass(frozen=True, slots=True)
class Round:
    """Microseconds of CPU for a request."""

    mget: float
    load: float
    both: float
    few: float
    many: float

    @property
    def beside(self) -> float:
        return (self.many - self.few) / self.mget

    @property
    def whole(self) -> float:
        return self.both / (BAR * self.mget + self.load)


def requests(numbers: Iterator[int]) -> dict[str, Callable[[], bytes]]:
    there = [f"there:{number}" for number in range(THERE + MISSING)]

    absent = [f"absent:{number}" for number in range(MISSING)]

    def new() -> list[str]:
        return [f"new:{next(numbers)}" for _ in range(MISSING)]

    def among(missing: Sequence[str]) -> list[str]:
        step = THERE // MISSING
        return [
            key
            for at, one in enumerate(missing)
            for key in (*there[at * step : (at + 1) * step], one)
        ]

    return {
        "mget": lambda: pack("MGET", *there),
        "load": lambda: pack("MGETORSET", MISSING, *new()),
        "both": lambda: pack("MGETORSET", THERE + MISSING, *among(new())),
        "few": lambda: pack("MGETORSET", MISSING, *absent),
        "many": lambda: pack("MGETORSET", THERE + MISSING, *among(absent)),
    }


def cost(client: Client, proxy: Target, requests: Sequence[bytes]) -> float:
    """Microseconds of CPU for a request, one after the other."""
    before = procfs.cpu_seconds(proxy.pids)
    for request in requests:
        (reply,) = client.send_all(request, 1)
        if not isinstance(reply, list) or reply.count(None) not in (0, MISSING):
            raise RuntimeError(f"values were expected: {reply!r:.80}")
    return (procfs.cpu_seconds(proxy.pids) - before) / len(requests) * 1e6


def measure(upstream: Target, near: str, options: argparse.Namespace) -> list[Round]:
    with tempfile.TemporaryDirectory(prefix="nearhit-bench-") as name:
        folder = Path(name)
        (folder / "bench_loader.py").write_text(MODULE % options.size)
        (folder / "nearhit.toml").write_text(SETTINGS)
        flags = ["--config", str(folder / "nearhit.toml"), "--near-cache", near]
        flags += targets.nearhit_flags(options)
        with nearhit(upstream.url, *flags, env={"PYTHONPATH": name}) as process:
            proxy = Target("nearhit", HOST, process.port, procfs.tree({process.pid}))
            with Client(HOST, process.port) as client:
                return rounds(client, proxy, options)


def rounds(client: Client, proxy: Target, options: argparse.Namespace) -> list[Round]:
    client.ask("MSET", *(word for n in range(THERE + MISSING) for word in
                         (f"there:{n}", "x" * options.size)))  # fmt: skip
    kinds = requests(itertools.count())
    times = dict.fromkeys(kinds, CHEAP) | {"load": 1, "both": 1}
    for make in kinds.values():  # near, compiled, connected
        cost(client, proxy, [make() for _ in range(20)])
    return [
        Round(
            **{
                name: cost(client, proxy, [make() for _ in range(options.requests * times[name])])
                for name, make in kinds.items()
            }
        )
        for _ in range(options.repeat)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.mgetorset", description=__doc__)
    targets.add_common(parser)
    parser.add_argument("--size", type=int, default=64, help="bytes in a value")
    parser.add_argument("--requests", type=int, default=200, help="of each kind in a round")
    parser.add_argument("--repeat", type=int, default=5, help="rounds")
    options = parser.parse_args(argv)
    targets.end_children_on_sigterm()
    met = True
    with targets.server(options.upstream) as upstream:
        for near in ("off", "64mb"):
            all_ = measure(upstream, near, options)
            beside = statistics.median(one.beside for one in all_)
            whole = statistics.median(one.whole for one in all_)
            met = met and beside <= BAR and whole <= NOISE
            facts = [
                (name, f"{statistics.median(getattr(one, name) for one in all_):,.0f} us")
                for name in ("mget", "load", "both", "few", "many")
            ]
            facts.append(("(many - few) / mget", f"{beside:.2f} (bar: {BAR:g})"))
            facts.append((f"both / ({BAR:g} mget + load)", f"{whole:.2f} (bar: {NOISE:g})"))
            print(report.facts([("near cache", near), *facts]), flush=True)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
