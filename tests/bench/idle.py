"""``python -m tests.bench.idle``: what 10,000 clients cost that are connected and say nothing.

Each says PING once, so that its session is whole. Reported: the proxy's memory per client, and how
many connections the upstream saw for all of them."""

from __future__ import annotations

import argparse
import contextlib
import resource
import socket
import sys
from collections.abc import Sequence

from . import procfs, report, targets
from .client import Client, pack
from .targets import Target

SPARE_FILES = 200  # beside one per client: lanes, logs, libraries


def raise_file_limit(wanted: int) -> int:
    """As many open files as allowed, up to what is wanted; children (the proxy) inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # only root may go beyond the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    return min(wanted, hard)


def connect(target: Target) -> socket.socket:
    client = socket.create_connection((target.host, target.port), timeout=30)
    client.sendall(pack("PING"))
    answer = client.recv(64)
    assert answer == b"+PONG\r\n", answer
    return client


def run(upstream: Target, proxy: Target, clients: int) -> list[tuple[str, object]]:
    with contextlib.ExitStack() as stack:
        control = stack.enter_context(Client(upstream.host, upstream.port))
        stack.enter_context(connect(proxy))  # the first one pays for what all share
        before = procfs.memory(proxy.pids)
        received = int(control.info("stats")["total_connections_received"])
        for _ in range(clients - 1):
            stack.enter_context(connect(proxy))
        grown = procfs.memory(proxy.pids) - before
        return [
            ("idle clients", clients),
            ("proxy", f"pid {proxy.named}"),
            ("proxy memory before", report.megabytes(before)),
            ("proxy memory growth", report.megabytes(grown)),
            ("per client", f"{grown / (clients - 1) / 1024:.2f} KB"),
            ("upstream connections (connected_clients)", _connected(control)),
            (
                "upstream connections made for them",
                int(control.info("stats")["total_connections_received"]) - received,
            ),
        ]


def _connected(control: Client) -> int:
    """Without the benchmark's own."""
    return int(control.info("clients")["connected_clients"]) - 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.idle", description=__doc__)
    targets.add_single(parser)
    parser.add_argument("--clients", type=int, default=10_000)
    options = parser.parse_args(argv)
    targets.end_children_on_sigterm()
    allowed = raise_file_limit(options.clients + SPARE_FILES) - SPARE_FILES
    clients = min(options.clients, allowed)
    if clients < options.clients:
        print(f"only {clients} clients: the limit of open files", file=sys.stderr)
    with targets.both(options) as (upstream, proxy):
        print(report.facts(run(upstream, proxy, clients)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
