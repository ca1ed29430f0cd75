"""``python -m tests.bench.near``: the near cache on (as it is by default) against off.

    hot                GETs of 1,000 keys, against the server itself too
    zipf-0.9 ...       GETs of a million keys by Zipf's law, with that exponent
    uniform-100k ...   GETs spread evenly, in each run over other keys; absent-...: keys not there
    scan               GETs of one key after the other, none twice
    moving             GETs of 10,000 keys, every few seconds of 10,000 others
    mixed              GETs and SETs, half and half, by Zipf's law
    mget               MGETs of 10 keys, by Zipf's law
    getorset           GETORSET of hot keys that are there, against GET

The load comes from generator.py, which reads every reply and ends the benchmark at a wrong one. The
sides of a case take turns, round after round; figures are medians of the rounds, what a bar judges
is the median of the rounds' own ratios: machines have moods."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import ClassVar

from . import bars, generator, procfs, report, targets
from .bars import Finding
from .client import Client
from .generator import Generator, Load, Result
from .memory import stats
from .moving import Watch, recovery
from .targets import Target

THERE = 10_000_000  # keys that the server has, at most: as many as the cases ask for
ABSENT = "none:"  # how keys begin that it has not
STRIDE = 2_300_000  # from turn to turn: it comes around to the same 100,000 only after 100 turns
PIPELINES = (1, 16, 100)
COMPILED = ("resp._kernel", "hot.session", "near.cache", "near.sketch")
# What the server sees besides requests: the proxy's own, once a second, and ours.
ASIDE = {"ping", "hincrby", "info", "config|get"}


@dataclass(frozen=True, slots=True)
class Case:
    """A load, and the sides that carry it: near cache off and on, and what a case adds."""

    load: Load
    fresh: bool = False  # each run's keys are others
    most: int = 0  # requests in a run, which otherwise goes on for --seconds
    seconds: float = 0.0  # at least
    direct: bool = False
    also: str = ""  # a second command, on both sides

    @property
    def there(self) -> int:
        """How many keys the server must have for it."""
        if self.load.prefix == ABSENT:
            return 0
        return THERE if self.fresh else max(self.load.keys, self.load.space)

    def in_turn(self, turn: int) -> Load:
        """Of the load that is the turn's: other keys than those of the turns about it."""
        if not self.fresh:
            return self.load
        return replace(self.load, first=turn * STRIDE % THERE, space=THERE)


# Six reads of each of 100,000: they would all be near for most of a longer run.
EVEN = {
    "100k": Case(Load(100_000), fresh=True, most=600_000),
    "1m": Case(Load(1_000_000), fresh=True),
    "10m": Case(Load(THERE)),
}
ZIPF = Load(1_000_000, zipf=0.99)
MOVING = Load(10_000, move=3.0, step=10_000)
CASES = {
    "hot": Case(Load(1_000), direct=True),
    "zipf-0.9": Case(replace(ZIPF, zipf=0.9)),
    "zipf-0.99": Case(ZIPF),
    "zipf-1.1": Case(replace(ZIPF, zipf=1.1)),
    **{f"uniform-{name}": case for name, case in EVEN.items()},
    **{
        f"absent-{name}": replace(case, load=replace(case.load, prefix=ABSENT))
        for name, case in EVEN.items()
    },
    "scan": Case(Load(THERE, scan=True), fresh=True),
    "moving": Case(MOVING, fresh=True, seconds=3 * MOVING.move),
    "mixed": Case(replace(ZIPF, writes=0.5)),
    "mget": Case(replace(ZIPF, read="MGET" + 10 * " {key}")),
    "getorset": Case(Load(1_000), also="GETORSET {key}"),
}


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    target: Target
    read: str = ""  # instead of the load's


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a side, or the medians of several. CPU is in microseconds a request."""

    throughput: float
    p99: float  # milliseconds
    proxy_cpu: float
    server_cpu: float
    commands: float  # that the server executed for a request
    hit_ratio: float  # of keys that were read, how many out of the near cache
    busy: float  # the generator's CPU, of one core: near 1 it is what limits
    recovery: float = 0.0  # seconds until a moved hot set is served near again

    HEAD: ClassVar = ("req/s", "p99 ms", "proxy us", "server us", "commands", "near", "generator")

    @property
    def cells(self) -> list[str]:
        return [
            f"{self.throughput:,.0f}", f"{self.p99:.2f}", f"{self.proxy_cpu:.2f}",
            f"{self.server_cpu:.2f}", f"{self.commands:.3f}", f"{self.hit_ratio:.1%}",
            f"{self.busy:.0%}",
        ]  # fmt: skip


def median(samples: Sequence[Sample]) -> Sample:
    """Of each figure."""
    return Sample(
        **{name: statistics.median(getattr(each, name) for each in samples) for name in FIGURES}
    )


FIGURES = tuple(each.name for each in fields(Sample))


def calls(info: Mapping[str, str]) -> dict[str, int]:
    """How often each command was executed, of ``INFO commandstats``, but for those that no client
    caused."""
    rows = {name.removeprefix("cmdstat_"): row for name, row in info.items()}
    return {
        name: int(row.partition("calls=")[2].partition(",")[0])
        for name, row in rows.items()
        if name not in ASIDE
    }


def executed(server: Target) -> dict[str, int]:
    with Client(server.host, server.port) as client:
        return calls(client.info("commandstats"))


def near_hits(proxy: Target) -> int:
    return stats(proxy)["near_hits"]


# --- Running ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Bench:
    """One server with its keys; each case gets proxies of its own."""

    server: Target
    generate: Generator
    options: argparse.Namespace
    there: int = 0
    turn: int = 0

    def populate(self, keys: int) -> None:
        """Every key below that number has its value."""
        if keys > self.there:
            progress(f"{keys:,} keys")
            load = Load(keys, 100, scan=True, writes=1)
            self.generate.run(self.server.host, self.server.port, load, requests=keys)
            self.there = keys

    def sides(self, case: Case, stack: ExitStack) -> list[Side]:
        given = argparse.Namespace(workers=None, nearhit_flags=[])
        found = [Side("direct", self.server)] if case.direct else []
        for name, flags in (("off", ["--near-cache", "off"]), ("on", [])):
            given.nearhit_flags = [*self.options.nearhit_flags, *flags]
            target = stack.enter_context(targets.proxy(self.server.url, given))
            found.append(Side(name, target))
            if case.also:
                found.append(Side(f"{name} {case.also.split()[0]}", target, case.also))
        return found

    def measure(self, case: Case) -> Iterator[tuple[int, dict[str, list[Sample]]]]:
        """For each pipeline, the samples of each side."""
        self.populate(case.there)
        with ExitStack() as stack:
            sides = self.sides(case, stack)
            for side in sides:
                warming = replace(case.in_turn(self.turn), pipeline=100)
                self._run(side, case, warming, 4 * self.options.seconds)
            for pipeline in self.options.pipeline:
                samples: dict[str, list[Sample]] = {side.name: [] for side in sides}
                for _ in range(self.options.rounds):
                    self.turn += 1
                    load = replace(case.in_turn(self.turn), pipeline=pipeline)
                    for side in sides:
                        samples[side.name].append(self._sample(side, load, case))
                yield pipeline, samples

    def _sample(self, side: Side, load: Load, case: Case) -> Sample:
        proxied = side.target is not self.server
        commands, hits = executed(self.server), near_hits(side.target) if proxied else 0
        proxy_cpu = procfs.cpu_seconds(side.target.pids)
        server_cpu = procfs.cpu_seconds(self.server.pids)
        watch = Watch(lambda: (near_hits(side.target), executed(self.server).get("get", 0)))
        with watch if load.move and proxied else nullcontext():
            result = self._run(side, case, load, max(case.seconds, self.options.seconds))
        server_cpu = procfs.cpu_seconds(self.server.pids) - server_cpu
        proxy_cpu = procfs.cpu_seconds(side.target.pids) - proxy_cpu if proxied else 0.0
        hits = near_hits(side.target) - hits if proxied else 0
        after = executed(self.server)
        sample = Sample(
            throughput=result.throughput,
            p99=result.p99 / 1000,
            proxy_cpu=proxy_cpu / result.requests * 1e6,
            server_cpu=server_cpu / result.requests * 1e6,
            commands=sum(after[name] - commands.get(name, 0) for name in after) / result.requests,
            hit_ratio=hits / max(result.hits + result.nils, 1),
            busy=result.cpu / result.seconds,
            recovery=recovery(watch.looks, load.move) if load.move else 0.0,
        )
        progress(f"  P={load.pipeline} {side.name}: {' '.join(sample.cells)}")
        return sample

    def _run(self, side: Side, case: Case, load: Load, seconds: float) -> Result:
        """RuntimeError where values come of keys that are not there, or none of those that are."""
        host, port = side.target.host, side.target.port
        load = replace(load, read=side.read or load.read)
        result = self.generate.run(host, port, load, requests=case.most, seconds=seconds)
        if result.nils if case.there else result.hits:
            raise RuntimeError(f"{side}: {result.hits} values, {result.nils} nils of {load}")
        return result


# --- The bars ---------------------------------------------------------------------------------

COLD = [name for name in CASES if name.startswith(("uniform", "absent", "scan"))]


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure of a side, or its ratio to another side's, and what it has to be."""

    case: str
    pipelines: Sequence[int]
    figure: str  # a field of Sample
    wanted: float
    at_least: bool = False
    side: str = "on"
    against: str = ""

    def finding(self, pipeline: int, samples: Mapping[str, Sequence[Sample]]) -> Finding:
        ours = [getattr(each, self.figure) for each in samples[self.side]]
        what = f"{self.case} P={pipeline}: {self.figure} of {self.side}"
        if not self.against:
            return Finding(what, statistics.median(ours), self.wanted, self.at_least)
        base = [getattr(each, self.figure) for each in samples[self.against]]
        ratios = [ratio for pair in zip(ours, base, strict=True) if (ratio := report.ratio(*pair))]
        measured = statistics.median(ratios) if ratios else None
        return Finding(f"{what} x {self.against}", measured, self.wanted, self.at_least, "x")


BARS = (
    *(Bar(name, PIPELINES, "proxy_cpu", 1.05, against="off") for name in COLD),
    *(Bar(name, PIPELINES, "throughput", 0.95, at_least=True, against="off") for name in COLD),
    *(Bar(name, PIPELINES, "commands", 1.02) for name in COLD),
    Bar("zipf-0.99", (16,), "throughput", 1.5, at_least=True, against="off"),
    Bar("zipf-0.99", (16,), "server_cpu", 0.35, against="off"),
    Bar("moving", PIPELINES, "recovery", 2.0),
    Bar("hot", (1,), "throughput", 1.1, at_least=True, against="direct"),
    Bar("hot", (16,), "throughput", 1.5, at_least=True, against="direct"),
    *(
        Bar("getorset", (pipeline,), "proxy_cpu", wanted, side=f"{near} GETORSET", against=near)
        for near in ("off", "on")
        for pipeline, wanted in ((1, 1.1), (16, 1.6))
    ),
)


def check_compiled() -> None:
    """RuntimeError where the plain modules would be measured."""
    for name in COMPILED:
        spec = importlib.util.find_spec(f"nearhit.proxy.{name}")
        if spec is None or spec.origin is None or not spec.origin.endswith(".so"):
            raise RuntimeError(f"nearhit.proxy.{name} is not compiled: pip install -e .")
        built = Path(spec.origin)
        sources = built.parent.glob(f"{name}.p*")
        if any(source.stat().st_mtime > built.stat().st_mtime for source in sources):
            progress(f"{built.name} is older than its source")


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.near",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--kind", choices=["redis", "valkey"], default="redis")
    add("--rounds", type=int, default=5, metavar="N", help="of which the median is shown")
    add("--seconds", type=float, default=2.0, help="how long each run takes")
    add("--pipeline", type=int, nargs="+", default=list(PIPELINES), metavar="P")
    add("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    add("--quick", action="store_true", help="a look: one round of half a second")
    add("--nearhit-flags", type=shlex.split, default=[], metavar="'...'", help="for both sides")
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.seconds = 1, 0.5
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    targets.end_children_on_sigterm()
    check_compiled()
    rows, findings = [["case", "P", "near cache", *Sample.HEAD]], list[Finding]()
    with generator.built() as generate, targets.server(options.kind) as server:
        bench = Bench(server, generate, options)
        for name in options.only:
            progress(name)
            for pipeline, samples in bench.measure(CASES[name]):
                rows += [
                    [name, str(pipeline), side, *median(taken).cells]
                    for side, taken in samples.items()
                ]
                findings += [
                    bar.finding(pipeline, samples)
                    for bar in BARS
                    if bar.case == name and pipeline in bar.pipelines
                ]
    text, met = bars.table(findings)
    print(f"{report.align(rows)}\n\n{text}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
