"""``python -m tests.bench.spread``: clients of ever so many databases or users, one after another.

Each is a client of its own; a round is a GET of each of them, in turn. The same rounds go to a
Nearhit with its near cache and to one without, by turns: what counts is the ratio of their
throughputs, and that no request costs a connection to the server.

    --by databases   client n has selected database n
    --by users       client n has logged in as user n
    --by select      one client that selects one database after another
    --keys 8         each reads so many keys again and again; 0: no key twice

Bar: at least 0.8 times as many requests a second as with ``--near-cache off``."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Sequence

from tests.servers import HOST, nearhit, upstream

from . import report
from .client import Client, pack
from .idle import SPARE_FILES, raise_file_limit

BAR = 0.8
NIL = b"$-1\r\n"
OUTSTANDING = 50
WARM_UP = 5  # rounds


def setup(by: str, number: int) -> bytes:
    """What makes a client one of that database or user: one request with a status for its reply."""
    return pack("AUTH", f"u{number}", "p") if by == "users" else pack("SELECT", str(number))


@contextlib.contextmanager
def clients(port: int, by: str, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        made = []
        for number in range(1 if by == "select" else count):
            one = stack.enter_context(socket.create_connection((HOST, port), timeout=30))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.sendall(setup(by, number))
            answer = one.recv(4096)
            assert answer == b"+OK\r\n", answer
            made.append(one)
        yield made


def round_of(ours: Sequence[socket.socket], key: str) -> float:
    """Seconds for a GET of each, OUTSTANDING at once."""
    request = pack("GET", key)
    began = time.perf_counter()
    for at in range(0, len(ours), OUTSTANDING):
        some = ours[at : at + OUTSTANDING]
        for one in some:
            one.sendall(request)
        for one in some:
            answer = one.recv(4096)
            assert answer == NIL, answer
    return time.perf_counter() - began


def round_by_one(one: socket.socket, count: int, key: str) -> float:
    """Seconds for a GET in each database, by one client."""
    request, wanted = pack("GET", key), b"+OK\r\n" + NIL
    began = time.perf_counter()
    for number in range(count):
        one.sendall(setup("select", number) + request)
        answer = b""
        while len(answer) < len(wanted):
            answer += one.recv(4096)
        assert answer == wanted, answer
    return time.perf_counter() - began


def run(by: str, count: int, keys: int, rounds: int) -> tuple[list[tuple[str, object]], bool]:
    names = (f"key:{n % keys if keys else n}" for n in itertools.count())
    with contextlib.ExitStack() as stack:
        more = () if by == "users" else ("--databases", str(count))
        server = stack.enter_context(upstream("redis", "--maxclients", "10000", *more))
        url = f"redis://{HOST}:{server.port}"
        control = stack.enter_context(Client(HOST, server.port))
        if by == "users":
            for number in range(count):
                control.ask("ACL", "SETUSER", f"u{number}", "on", ">p", "~*", "+@all")
        flags = ({"near": (), "off": ("--near-cache", "off")}).items()
        both = {
            name: stack.enter_context(
                clients(stack.enter_context(nearhit(url, *each)).port, by, count)
            )
            for name, each in flags
        }

        def timed(ours: Sequence[socket.socket], key: str) -> float:
            return round_by_one(ours[0], count, key) if by == "select" else round_of(ours, key)

        for _ in range(WARM_UP):
            for ours in both.values():
                timed(ours, next(names))
        before = int(control.info("stats")["total_connections_received"])
        took: dict[str, list[float]] = {name: [] for name in both}
        for _ in range(rounds):
            key = next(names)
            for name, ours in both.items():
                took[name].append(timed(ours, key))
        made = int(control.info("stats")["total_connections_received"]) - before
    each = {name: count / statistics.median(seconds) for name, seconds in took.items()}
    ratios = [off / near for near, off in zip(took["near"], took["off"], strict=True)]
    ratio = statistics.median(ratios)
    met = ratio >= BAR
    facts: list[tuple[str, object]] = [
        (f"{by}, rounds, keys", f"{count}, {rounds}, {keys or 'no key twice'}"),
        ("GET/s", ", ".join(f"{name} {speed:,.0f}" for name, speed in each.items())),
        ("near / off", f"{ratio:.2f} (wanted: {BAR}; {min(ratios):.2f} to {max(ratios):.2f})"),
        ("connections made meanwhile", made),
        ("met", met),
    ]
    return facts, met


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.spread", description=__doc__)
    parser.add_argument("--by", choices=["databases", "users", "select"], default="databases")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--keys", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args(argv)
    raise_file_limit(4 * options.count + SPARE_FILES)
    facts, met = run(options.by, options.count, options.keys, options.rounds)
    print(report.facts(facts))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
