"""``python -m tests.bench.transactions``: MULTI/EXEC at a steady pace from many clients.

A proxy that opens an upstream connection for each transaction drowns the server in connecting.
Reported: the connections that the upstream saw after the warm-up, which should be none."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import hiredis
import uvloop

from . import report, targets
from .client import Client, pack
from .targets import Target


def right(replies: list[object]) -> bool:
    """What MULTI, SET, INCR, EXEC answer when nothing is wrong."""
    match replies:
        case [b"OK", b"QUEUED", b"QUEUED", [b"OK", int()]]:
            return True
    return False


@dataclass(frozen=True, slots=True)
class Pace:
    clients: int
    rate: int  # transactions a second, of all clients together
    warm_up: float
    seconds: float

    @property
    def interval(self) -> float:
        """Seconds between two transactions of one client."""
        return self.clients / self.rate


@dataclass(slots=True)
class Tally:
    latencies: list[float] = field(default_factory=list)  # seconds, since the warm-up
    wrong: list[object] = field(default_factory=list)
    received_warm: int = 0  # the upstream's total_connections_received when the warm-up ended


async def four_replies(stream: asyncio.StreamReader) -> list[object]:
    """Fewer when the connection is closed first."""
    parser, replies = hiredis.Reader(notEnoughData=Ellipsis), list[object]()
    while len(replies) < 4:
        if (reply := parser.gets()) is not Ellipsis:
            replies.append(reply)
        elif received := await stream.read(4096):
            parser.feed(received)
        else:
            break
    return replies


async def one_client(target: Target, number: int, pace: Pace, tally: Tally) -> None:
    """A transaction every interval; one that is late is followed at once by the next."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    key, count = f"tx:{number}", f"tx:{number}:count"
    commands = (("MULTI",), ("SET", key, "x" * 64), ("INCR", count), ("EXEC",))
    request = b"".join(pack(*words) for words in commands)
    clock = asyncio.get_running_loop()
    due = clock.time() + pace.interval * number / pace.clients
    end = clock.time() + pace.warm_up + pace.seconds
    try:
        while due < end:
            await asyncio.sleep(max(0, due - clock.time()))
            began = time.perf_counter()  # uvloop's own clock counts whole milliseconds
            writer.write(request)
            replies = await four_replies(reader)
            tally.latencies.append(time.perf_counter() - began)
            if not right(replies):
                tally.wrong.append(replies)
                return
            due += pace.interval
    finally:
        writer.close()


async def drive(target: Target, pace: Pace, received: Callable[[], int]) -> Tally:
    """The same clients all along; what counts is what happens after the warm-up."""
    tally = Tally()
    async with asyncio.TaskGroup() as group:
        for number in range(pace.clients):
            group.create_task(one_client(target, number, pace, tally))
        await asyncio.sleep(pace.warm_up)
        tally.latencies.clear()
        tally.received_warm = received()
    return tally


def run(upstream: Target, proxy: Target, pace: Pace) -> tuple[list[tuple[str, object]], bool]:
    with Client(upstream.host, upstream.port) as control:

        def received() -> int:
            return int(control.info("stats")["total_connections_received"])

        first = received()
        tally = uvloop.run(drive(proxy, pace, received))
        last = received()
    done, warm = len(tally.latencies), tally.received_warm
    facts: list[tuple[str, object]] = [
        ("transactions", f"{done:,} in {pace.seconds:g} s, wanted {pace.rate}/s"),
        ("achieved", f"{done / pace.seconds:,.0f}/s from {pace.clients} clients"),
        ("p50 / p99", " / ".join(_milliseconds(tally.latencies, each) for each in (50, 99))),
        ("wrong replies", f"{len(tally.wrong)} {tally.wrong[:1] or ''}"),
        ("upstream total_connections_received at the start", first),
        ("after warm-up", warm),
        ("at the end", last),
        ("new since warm-up", last - warm),
    ]
    return facts, last == warm and not tally.wrong


def _milliseconds(seconds: Sequence[float], percentile: int) -> str:
    return f"{statistics.quantiles(seconds, n=100)[percentile - 1] * 1000:.2f} ms"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.transactions", description=__doc__)
    targets.add_single(parser)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rate", type=int, default=3000, help="transactions a second, all clients")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=5, metavar="SECONDS")
    options = parser.parse_args(argv)
    targets.end_children_on_sigterm()
    pace = Pace(options.clients, options.rate, options.warm_up, options.seconds)
    with targets.both(options) as (upstream, proxy):
        facts, steady = run(upstream, proxy, pace)
    print(report.facts(facts))
    return 0 if steady else 1


if __name__ == "__main__":
    sys.exit(main())
