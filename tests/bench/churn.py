"""``python -m tests.bench.churn``: what clients leave behind that come and go, at full load.

Beside our own generator, which reads and writes without a pause, clients connect, do one of the
things that have a state (blocking, MULTI, WATCH, subscriptions, tracking, MONITOR, LOCK, uploads,
half a request, garbage), and vanish in the middle of it. Bars: memory within 5 % of what it was
after ``--settle`` minutes; and as all have left, no more clients, lanes, tasks or descriptors than
before they came."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from . import client, generator, memory, procfs, report, targets
from .generator import Generator, Load
from .targets import Target

GROWTH: Final = 0.05
CHURNERS: Final = 2  # processes
AT_ONCE: Final = 20  # clients of each
# What may stand ready for the next clients: lanes to lend (docs/operating.md), and a shared one.
READY: Final = 4 * 16
SLACK: Final = 2  # whoever looks is there too, and each lane has a task and a descriptor
PATIENCE: Final = 90.0  # seconds: lanes that nobody uses are closed after 60

ANSWERED: Final[Sequence[bytes]] = (
    client.pack("GET", "k") * 20,
    client.pack("MGET", "k", "l", "m") + client.pack("SET", "k", "v"),
    client.pack("MULTI") + client.pack("SET", "k", "v"),
    client.pack("WATCH", "k")
    + client.pack("MULTI")
    + client.pack("GET", "k")
    + client.pack("EXEC"),
    client.pack("SUBSCRIBE", "a", "b") + client.pack("PSUBSCRIBE", "c*"),
    client.pack("HELLO", 3) + client.pack("CLIENT", "TRACKING", "ON") + client.pack("GET", "k"),
    client.pack("MONITOR"),
    client.pack("LOCK", "ACQUIRE", "churn", "PX", 50, "WAIT", 1000),
    client.pack("GETORSET", "made", "v", "PX", 100) + client.pack("GETORSET", "none"),
    client.pack("EVAL", "return redis.call('get', KEYS[1])", 1, "k"),
    client.pack("SELECT", 3) + client.pack("INFO") + client.pack("CLIENT", "LIST"),
)
UNANSWERED: Final[Sequence[bytes]] = (
    client.pack("BLPOP", "nothing", 0),
    b"*3\r\n$3\r\nSET\r\n$1\r\nu\r\n$300000\r\n" + b"x" * 200_000,
    client.pack("GET", "k")[:-4],
    os.urandom(5000),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """The proxy at one moment."""

    memory: int
    descriptors: int
    clients: int
    lanes: int
    tasks: int

    def __str__(self) -> str:
        return (
            f"{report.megabytes(self.memory)}, {self.descriptors} descriptors, {self.clients} "
            f"clients, {self.lanes} lanes, {self.tasks} tasks"
        )


def look(proxy: Target) -> Seen:
    rows = memory.stats(proxy)
    files = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in proxy.pids)
    found = rows["clients"], rows["upstream_connections"], rows["tasks"]
    return Seen(procfs.memory(proxy.pids), files, *found)


def churn(proxy: Target, end: float, seed: int) -> None:
    """Come, do something, stay for a moment, vanish."""
    chance = random.Random(seed)
    there: list[socket.socket] = []
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            link = socket.create_connection((proxy.host, proxy.port), timeout=5)
            there.append(link)
            if chance.random() < 0.2:
                link.setblocking(False)
                link.send(chance.choice(UNANSWERED))
            else:  # waited for: else they come faster than they are accepted
                link.sendall(chance.choice(ANSWERED))
                link.recv(65536)
        if len(there) > AT_ONCE:
            there.pop(chance.randrange(len(there))).close()
    for link in there:
        link.close()


def full_load(generate: Generator, proxy: Target, end: float) -> None:
    load = Load(connections=50, writes=0.2, keys=50_000, check=False)
    while (left := end - time.monotonic()) > 1:
        generate.run(proxy.host, proxy.port, load, seconds=min(left, 60.0))


def run(proxy: Target, generate: Generator, minutes: float, settle: float) -> bool:
    full_load(generate, proxy, time.monotonic() + 5)
    before = look(proxy)
    print("before:", before, flush=True)
    begin = time.monotonic()
    end = begin + 60 * minutes
    bad = [
        multiprocessing.Process(target=churn, args=(proxy, end, seed), daemon=True)
        for seed in range(CHURNERS)
    ]
    loading = threading.Thread(target=full_load, args=(generate, proxy, end), daemon=True)
    for one in (*bad, loading):
        one.start()
    time.sleep(max(0.0, begin + 60 * settle - time.monotonic()))
    settled = look(proxy)
    print(f"after {settle:g} min:", settled, flush=True)
    time.sleep(max(0.0, end - 1 - time.monotonic()))
    last = look(proxy)
    print(f"after {minutes:g} min:", last, flush=True)
    for one in (*bad, loading):
        one.join()
    grown = last.memory / settled.memory - 1
    left = _left(proxy, before)
    print("left:", left)
    print(f"memory {grown:+.1%} since {settle:g} min (bar: {GROWTH:.0%}); leaked: {not left.fine}")
    return grown <= GROWTH and left.fine


@dataclass(frozen=True, slots=True)
class Left:
    seen: Seen
    fine: bool

    def __str__(self) -> str:
        return str(self.seen)


def _left(proxy: Target, before: Seen) -> Left:
    """What is there when all have gone, as soon as it is no more than before."""
    deadline = time.monotonic() + PATIENCE
    while True:
        now = look(proxy)
        fine = (
            now.clients <= before.clients
            and now.tasks - now.lanes <= before.tasks - before.lanes + SLACK
            and now.lanes <= before.lanes + READY
            and now.descriptors - now.lanes <= before.descriptors - before.lanes + SLACK
        )
        if fine or time.monotonic() > deadline:
            return Left(now, fine)
        time.sleep(0.5)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.churn", description=__doc__)
    targets.add_common(parser)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--settle", type=float, default=5)
    options = parser.parse_args(argv)
    targets.end_children_on_sigterm()
    with (
        generator.built() as generate,
        targets.server(options.upstream) as upstream,
        targets.proxy(upstream.url, options) as proxy,
    ):
        fine = run(proxy, generate, options.minutes, options.settle)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
