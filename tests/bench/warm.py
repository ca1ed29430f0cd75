"""``python -m tests.bench.warm``: WARM ... VALUES against ``redis-cli --pipe`` with the same SETs.

Bar: WARM through the proxy takes at most 1.3 times as long as redis-cli takes at the server itself.

redis-cli pipelines its SETs, and so does the client its WARMs, as any would that warms in bulk.
``--one-by-one`` waits for each answer before the next request: then round trips decide, and what
WARM asks the server is also sent to the server itself in the same way: no proxy can be quicker. The
bytes of all three are made beforehand."""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import report, targets
from .client import Client, Word, pack
from .targets import Target

BAR = 1.3


Piece = tuple[bytes, int]  # requests, and how many they are


def pairs(keys: int, size: int) -> list[tuple[str, bytes]]:
    return [(f"warm:{number:07d}", b"x" * size) for number in range(keys)]


def sets(all_: Sequence[tuple[str, bytes]]) -> bytes:
    return b"".join(pack("SET", key, value, "EX", 60) for key, value in all_)


def warms(all_: Sequence[tuple[str, bytes]], batch: int) -> Iterator[list[Word]]:
    for at in range(0, len(all_), batch):
        yield [
            "WARM",
            "EX",
            60,
            "VALUES",
            *(word for each in all_[at : at + batch] for word in each),
        ]


def empty(target: Target) -> None:
    with Client(target.host, target.port) as client:
        client.ask("FLUSHALL", "SYNC")


def held(target: Target) -> object:
    with Client(target.host, target.port) as client:
        return client.ask("DBSIZE")


def by_redis_cli(upstream: Target, file: Path) -> float:
    """Seconds that redis-cli --pipe takes."""
    began = time.perf_counter()
    with file.open("rb") as source:
        subprocess.run(
            ["redis-cli", "-h", upstream.host, "-p", str(upstream.port), "--pipe"],
            stdin=source, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
    return time.perf_counter() - began


def as_warm_asks(all_: Sequence[tuple[str, bytes]], batch: int) -> list[Piece]:
    """The same values as WARM sends them: without their leases, with times of their own, and only
    where nothing is."""
    pieces: list[Piece] = []
    for at in range(0, len(all_), batch):
        part = all_[at : at + batch]
        leases = pack("DEL", *(f"lease:{{{key}}}" for key, _ in part))
        each = [pack("SET", key, value, "PX", 60000 + at % 6000, "NX") for key, value in part]
        pieces.append((b"".join([leases, *each]), 1 + len(part)))
    return pieces


def one_after_the_other(target: Target, pieces: Sequence[Piece]) -> float:
    """Seconds until each piece is answered, the next one sent then."""
    with Client(target.host, target.port) as client:
        client.ask("PING")
        began = time.perf_counter()
        for data, replies in pieces:
            client.send_all(data, replies)
        return time.perf_counter() - began


def pipelined(target: Target, pieces: Sequence[Piece]) -> float:
    """Seconds until all pieces are answered, all of them sent at once."""
    whole = b"".join(data for data, _ in pieces), sum(replies for _, replies in pieces)
    return one_after_the_other(target, [whole])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.warm", description=__doc__)
    targets.add_common(parser)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=32, help="bytes in a value")
    parser.add_argument("--batch", type=int, default=1000, help="pairs in one WARM")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--one-by-one", action="store_true", help="no pipeline of WARMs")
    options = parser.parse_args(argv)
    if shutil.which("redis-cli") is None:
        parser.error("needs redis-cli on PATH")
    targets.end_children_on_sigterm()
    all_ = pairs(options.keys, options.size)
    requests = [(pack(*words), 1) for words in warms(all_, options.batch)]
    same = as_warm_asks(all_, options.batch)
    cli, direct, warm = [], [], []
    send = one_after_the_other if options.one_by_one else pipelined
    with (
        targets.server(options.upstream) as upstream,
        targets.proxy(upstream.url, options) as proxy,
        tempfile.NamedTemporaryFile() as file,
    ):
        file.write(sets(all_))
        file.flush()
        for _ in range(options.repeat):
            for times, run in (
                (cli, lambda: by_redis_cli(upstream, Path(file.name))),
                (direct, lambda: send(upstream, same)),
                (warm, lambda: send(proxy, requests)),
            ):
                empty(upstream)
                times.append(run())
                if held(upstream) != options.keys:
                    raise RuntimeError(f"{held(upstream)} keys instead of {options.keys}")
    ratio = statistics.median(warm) / statistics.median(cli)
    print(
        report.facts(
            [
                ("values", f"{options.keys:,} of {options.size} bytes"),
                ("redis-cli --pipe to the server", f"{statistics.median(cli):.3f} s"),
                ("the same as WARM to the server", f"{statistics.median(direct):.3f} s"),
                (f"WARM of {options.batch:,} to Nearhit", f"{statistics.median(warm):.3f} s"),
                ("beside the same", f"{statistics.median(warm) / statistics.median(direct):.2f}"),
                ("ratio", f"{ratio:.2f} (bar: {BAR:g})"),
            ]
        )
    )
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
