"""``python -m tests.bench.near``: the bars of the near cache, on one kind of server.

    hot       GETs of 10,000 keys: throughput against the server itself, and what still reaches it
    uniform   GETs spread evenly over 10 million keys: what it costs where nothing is read again
    memory    what the cache accounts for against what the process grew by
    getorset  GETORSET of a key that is there against GET, in the proxy's CPU
    writes    SETs and mixed pipelines with the near cache on against off (for information)

Each comparison is the median of the rounds' own ratios, sides taking turns: machines have moods."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from . import load, procfs, report, targets
from .client import Client, key, pack, preload
from .targets import Target

CLIENTS = 50
SIZE = 64
SPREAD = 10_000_000  # keys that are hardly ever read again
BUDGET = 64 * 2**20  # the default of --near-cache
COMPILED = ("resp._kernel", "hot.session", "near.cache", "near.sketch")
# What the server sees besides requests: the proxy's own, once a second, and ours.
ASIDE = {"ping", "hincrby", "info", "config|get"}
# redis-benchmark asks for keys of 12 digits; DEBUG POPULATE makes none such.
POPULATE = """
for n = ARGV[1], ARGV[2] do redis.call('SET', string.format('key:%012d', n), ARGV[3]) end"""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What redis-benchmark sends from 50 clients; its keys are 0 to ``keys``, at random."""

    command: str
    pipeline: int
    keys: int = load.KEYS

    def __str__(self) -> str:
        return f"{self.command} P={self.pipeline}"

    def run(self, target: Target, requests: int) -> float:
        """The throughput."""
        value = ["x" * SIZE] if self.command == "SET" else []
        argv = [
            "redis-benchmark", "--csv", "-h", target.host, "-p", str(target.port),
            "-c", str(CLIENTS), "-P", str(self.pipeline), "-r", str(self.keys),
            "-n", str(requests), self.command, "key:__rand_int__", *value,
        ]  # fmt: skip
        with _other_keys(argv) as child:
            out, _ = child.communicate(timeout=load.LIMIT)
        if child.returncode:
            raise RuntimeError(f"{' '.join(argv)}: exit {child.returncode}")
        return throughput(out)


_seeds: set[int] = set()


def _other_keys(argv: Sequence[str]) -> subprocess.Popen[str]:
    """Start a redis-benchmark that asks for the keys of no earlier one.

    It seeds its generator with ``time(NULL) ^ getpid()``. Of runs that follow each other both grow,
    so every few runs it asks for the very same keys again: spread evenly, but all of them hot."""
    while True:
        child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        seed = int(time.time()) ^ child.pid
        if seed not in _seeds:
            _seeds.add(seed)
            return child
        with child:
            child.kill()
        time.sleep(1)


def throughput(text: str) -> float:
    """Requests a second, of the only row that ``redis-benchmark --csv`` prints."""
    lines = text.splitlines()
    head = next((n for n, line in enumerate(lines) if line.startswith('"test"')), None)
    if head is None:
        raise ValueError(f"no table from redis-benchmark: {text!r}")
    (row,) = csv.DictReader(lines[head:])
    return float(row["rps"])


class Mixed:
    """Pipelines of GETs and SETs by turns, on 50 connections; redis-benchmark sends but one kind.

    All values are of one size, so that replies need only be counted."""

    pipeline = 16
    reply_bytes = pipeline // 2 * (len(b"$%d\r\n\r\n" % SIZE) + SIZE + len(b"+OK\r\n"))

    def __str__(self) -> str:
        return f"GET, SET, GET ... P={self.pipeline}"

    def run(self, target: Target, requests: int) -> float:
        selector, left = selectors.DefaultSelector(), requests // self.pipeline
        began = time.monotonic()
        clients = [socket.create_connection((target.host, target.port)) for _ in range(CLIENTS)]
        for number, client in enumerate(clients):
            selector.register(client, selectors.EVENT_READ, [self._batch(number), 0])
            client.sendall(self._batch(number))
        try:
            while left > 0:
                for ready, _ in selector.select():
                    assert isinstance(ready.fileobj, socket.socket)
                    client, state = ready.fileobj, ready.data
                    state[1] += len(client.recv(self.reply_bytes - state[1]))
                    if state[1] == self.reply_bytes:
                        state[1] = 0
                        left -= 1
                        client.sendall(state[0])
        finally:
            for client in clients:
                client.close()
        return requests / (time.monotonic() - began)

    def _batch(self, number: int) -> bytes:
        names = [key(number * 31 + n) for n in range(self.pipeline // 2)]
        value = "x" * SIZE
        return b"".join(pack("GET", each) + pack("SET", each, value) for each in names)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a traffic against one target."""

    throughput: float
    cpu: float  # of the target's processes, in microseconds a request
    reached: Mapping[str, int]  # commands that the server executed meanwhile
    requests: int

    @property
    def commands(self) -> float:
        """That the server executed for a request."""
        return sum(self.reached.values()) / self.requests

    @property
    def mix(self) -> str:
        rows = (f"{count / self.requests:.3f} {name}" for name, count in self.reached.items())
        return ", ".join(rows)


@dataclass(frozen=True, slots=True)
class Finding:
    """A figure and its bar, None: for information."""

    what: str
    figure: float
    bar: float | None = None
    at_least: bool = False
    made_of: str = ""

    @property
    def holds(self) -> bool:
        if self.bar is None:
            return True
        return self.figure >= self.bar if self.at_least else self.figure <= self.bar

    @property
    def cells(self) -> list[str]:
        sign = ">=" if self.at_least else "<="
        bar = "" if self.bar is None else f"{sign} {self.bar:g}"
        verdict = "" if self.bar is None else "yes" if self.holds else "NO"
        return [self.what, f"{self.figure:.2f}", bar, verdict, self.made_of]


def calls(info: Mapping[str, str]) -> dict[str, int]:
    """How often each command was executed, of ``INFO commandstats``."""
    return {
        name.removeprefix("cmdstat_"): int(row.partition("calls=")[2].partition(",")[0])
        for name, row in info.items()
        if name.startswith("cmdstat_")
    }


def more(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Commands executed in between, but for those that clients did not cause."""
    grown = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: count for name, count in grown.items() if count and name not in ASIDE}


def executed(upstream: Target) -> dict[str, int]:
    with Client(upstream.host, upstream.port) as client:
        return calls(client.info("commandstats"))


def near(proxy: Target, name: str) -> int:
    """A row of STATS."""
    with Client(proxy.host, proxy.port) as client:
        rows = client.ask("STATS")
    assert isinstance(rows, list)
    return int(dict(zip(rows[::2], rows[1::2], strict=True))[name.encode()])


@dataclass(frozen=True, slots=True)
class Bench:
    """A server of its own for each section, and the proxies in front of it that it asks for."""

    upstream: Target
    stack: ExitStack
    repeat: int
    seconds: float

    def proxy(self, *flags: str) -> Target:
        given = argparse.Namespace(workers=None, nearhit_flags=flags)
        return self.stack.enter_context(targets.proxy(self.upstream.url, given))

    def pair(self) -> tuple[Target, Target]:
        """A proxy with the near cache on, whose entries stay for the run, and one without."""
        return self.proxy("--near-ttl", "1h"), self.proxy("--near-cache", "off")

    def preload(self) -> None:
        preload(self.upstream.host, self.upstream.port, SIZE)

    def turns(self, *sides: tuple[Target, Traffic | Mixed]) -> list[list[Sample]]:
        """For each side its samples, taken by turns; what sizes the runs has warmed all up."""
        rates = [traffic.run(target, 50_000) for target, traffic in sides]
        requests = int(max(50_000, min(rates) * self.seconds))
        samples: list[list[Sample]] = [[] for _ in sides]
        for _ in range(self.repeat):
            for taken, (target, traffic) in zip(samples, sides, strict=True):
                taken.append(self._sample(target, traffic, requests))
        return samples

    def _sample(self, target: Target, traffic: Traffic | Mixed, requests: int) -> Sample:
        before, began = executed(self.upstream), procfs.cpu_seconds(target.pids)
        rate = traffic.run(target, requests)
        cpu = (procfs.cpu_seconds(target.pids) - began) / requests * 1e6
        progress(f"{traffic} :{target.port}  {rate:,.0f} req/s  {cpu:.2f} us")
        return Sample(rate, cpu, more(before, executed(self.upstream)), requests)


CPU = attrgetter("cpu")
THROUGHPUT = attrgetter("throughput")
COMMANDS = attrgetter("commands")


def median(figure: Callable[[Sample], float], samples: Sequence[Sample]) -> float:
    return statistics.median(map(figure, samples))


def compared(
    what: str,
    figure: Callable[[Sample], float],
    ours: Sequence[Sample],
    other: Sequence[Sample],
    bar: float | None = None,
    *,
    at_least: bool = False,
) -> Finding:
    """Ours over the other's, round by round."""
    ratio = statistics.median(
        figure(mine) / figure(its) for mine, its in zip(ours, other, strict=True)
    )
    unit = "req/s" if figure is THROUGHPUT else "us"
    made_of = f"{median(figure, ours):,.2f} / {median(figure, other):,.2f} {unit}"
    return Finding(what, ratio, bar, at_least, made_of)


# --- The sections -----------------------------------------------------------------------------


def hot(bench: Bench) -> Iterator[Finding]:
    proxy = bench.proxy("--near-ttl", "1h")
    bench.preload()
    for _ in range(4):  # each key is seen twice, with certainty
        Traffic("GET", 16).run(proxy, 200_000)
    for pipeline, bar in ((1, 1.05), (16, 1.2)):
        traffic = Traffic("GET", pipeline)
        direct, ours = bench.turns((bench.upstream, traffic), (proxy, traffic))
        yield compared(
            f"hot {traffic}: throughput x direct", THROUGHPUT, ours, direct, bar, at_least=True
        )
        count = sum(sum(sample.reached.values()) for sample in ours)
        name, cpu = f"hot {traffic}: commands that reached the server", median(CPU, ours)
        yield Finding(name, count, 0, made_of=f"{ours[-1].mix}  {cpu:.2f} us a request")


def uniform_absent(bench: Bench) -> Iterator[Finding]:
    yield from uniform(bench, "absent")


def uniform_there(bench: Bench) -> Iterator[Finding]:
    with Client(bench.upstream.host, bench.upstream.port) as client:
        for first in range(0, SPREAD, 100_000):
            client.ask("EVAL", POPULATE, 0, first, first + 99_999, "x" * SIZE)
    yield from uniform(bench, "there")


def uniform(bench: Bench, which: str) -> Iterator[Finding]:
    on, off = bench.pair()
    # Until all sights are taken, and entries go for each that comes.
    for _ in range(40):
        Traffic("GET", 100, SPREAD).run(on, 500_000)
        if near(on, "near_evictions"):
            break
    else:
        progress("uniform: no eviction after 20 million GETs")
    for pipeline, bar in ((1, 1.1), (16, 1.4)):
        traffic = Traffic("GET", pipeline, SPREAD)
        plain, ours = bench.turns((off, traffic), (on, traffic))
        what = f"uniform {traffic}, keys {which}"
        yield compared(f"{what}: CPU x off", CPU, ours, plain, bar)
        name = f"{what}: commands for a request"
        yield Finding(name, median(COMMANDS, ours), 1.05, made_of=ours[-1].mix)


def memory(bench: Bench) -> Iterator[Finding]:
    for size in (SIZE, 1024):
        yield from _memory(bench, size)


def _memory(bench: Bench, size: int) -> Iterator[Finding]:
    # Half as many keys again as there is room for, so that the budget is filled, and then churned.
    keys = BUDGET * 3 // 2 // (size + 200)
    preload(bench.upstream.host, bench.upstream.port, size, keys)
    proxy = bench.proxy("--near-ttl", "1h")
    for name in ("SET", "GET"):  # buffers and all that a first client makes the process load
        Traffic(name, 16, 1).run(proxy, 50_000)
    preload(bench.upstream.host, bench.upstream.port, size, 1)
    base = procfs.memory(proxy.pids)
    for _ in range(100):
        Traffic("GET", 16, keys).run(proxy, 50_000)
        if near(proxy, "near_evictions"):
            break
    yield _accounted(f"memory, {size} B: filled", proxy, base)
    Traffic("GET", 16, keys).run(proxy, 1_000_000)
    yield _accounted(f"memory, {size} B: churned", proxy, base)


def _accounted(what: str, proxy: Target, base: int) -> Finding:
    grown, accounted = procfs.memory(proxy.pids) - base, near(proxy, "near_bytes")
    made_of = f"{report.megabytes(accounted)} of {near(proxy, 'near_entries'):,} entries, "
    made_of += f"grown by {report.megabytes(grown)}: x {accounted / grown:.2f}"
    return Finding(f"{what}, off by", abs(accounted / grown - 1), 0.15, False, made_of)


def getorset(bench: Bench) -> Iterator[Finding]:
    on, off = bench.pair()
    bench.preload()
    for _ in range(4):
        Traffic("GET", 16).run(on, 200_000)
    for pipeline, bar in ((1, 1.6), (16, None)):
        get, its = Traffic("GET", pipeline), Traffic("GETORSET", pipeline)
        sides = ((off, get), (off, its), (on, get), (on, its))
        off_get, off_its, on_get, on_its = bench.turns(*sides)
        yield compared(f"{its}, near cache off: CPU x GET", CPU, off_its, off_get, bar)
        yield compared(f"{its}, near cache on: CPU x GET", CPU, on_its, on_get, bar)


def writes(bench: Bench) -> Iterator[Finding]:
    on, off = bench.pair()
    bench.preload()
    for traffic in (Traffic("SET", 1), Traffic("SET", 16), Mixed()):
        plain, ours = bench.turns((off, traffic), (on, traffic))
        yield compared(f"{traffic}: CPU x off", CPU, ours, plain)


SECTIONS: dict[str, Callable[[Bench], Iterator[Finding]]] = {
    "hot": hot,
    "uniform-absent": uniform_absent,
    "uniform-there": uniform_there,
    "memory": memory,
    "getorset": getorset,
    "writes": writes,
}


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


def table(findings: Sequence[Finding]) -> str:
    head = ["what", "figure", "bar", "holds", "made of"]
    return report.align([head, *(finding.cells for finding in findings)])


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def benches(options: argparse.Namespace) -> Iterator[Bench]:
    with ExitStack() as stack:
        upstream = stack.enter_context(targets.server(options.kind))
        yield Bench(upstream, stack, options.repeat, options.seconds)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.near", description=__doc__)
    add = parser.add_argument
    add("--kind", choices=["redis", "valkey"], default="redis")
    add("--repeat", type=int, default=5, metavar="N", help="rounds, of which the median is shown")
    add("--seconds", type=float, default=2.0, help="about how long each run takes")
    add("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="these sections")
    options = parser.parse_args(argv)
    targets.end_children_on_sigterm()
    check_compiled()
    findings: list[Finding] = []
    for name in options.only:
        with benches(options) as bench:
            for finding in SECTIONS[name](bench):
                findings.append(finding)
                progress("  ".join(finding.cells))
    print(table(findings))
    return 0 if all(finding.holds for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
