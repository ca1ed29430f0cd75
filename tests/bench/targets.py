"""What is measured: the server itself, Nearhit, and peers; and how each of them is started.

A target knows the processes whose CPU it costs. ``direct`` costs none but the upstream's."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

from tests.certificates import self_signed
from tests.servers import HOST, free_port, nearhit, upstream, wait_for

from . import procfs

TWEMPROXY = """\
bench:
  listen: {host}:{port}
  redis: true
  hash: fnv1a_64
  distribution: ketama
  servers:
   - {server}:1
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send the load, and whose CPU it takes (nobody's for direct)."""

    name: str
    host: str
    port: int
    pids: procfs.Pids = frozenset()
    tls: Path | None = None  # who signed its certificate, where it has one

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}"

    @property
    def named(self) -> str:
        """The first pid, and how many more processes belong to it."""
        first, *more = sorted(self.pids) or [0]
        return f"{first}+{len(more)}" if more else str(first)


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not host:port")
    return host, int(port)


def peer(text: str) -> Target:
    """``name=host:port``; the pid is looked up when the run starts."""
    name, _, where = text.partition("=")
    return Target(name, *address(where))


def pid(text: str) -> tuple[str, int]:
    """``name=pid``."""
    name, _, number = text.partition("=")
    if not name or not number.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not name=pid")
    return name, int(number)


def add_common(parser: argparse.ArgumentParser) -> None:
    """The flags of a benchmark with an upstream of its own."""
    parser.add_argument(
        "--upstream", default="redis", metavar="redis|valkey|URL",
        help="start this server, or use the one at redis://host:port (its keys are overwritten)",
    )  # fmt: skip
    add_nearhit(parser)


def add_nearhit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, metavar="N", help="worker processes of nearhit")
    parser.add_argument(
        "--nearhit-flags",
        type=shlex.split,
        default=[],
        metavar="'...'",
        help="more flags for nearhit",
    )


def add_single(parser: argparse.ArgumentParser) -> None:
    """The flags of a benchmark that measures one target."""
    add_common(parser)
    parser.add_argument("--target", choices=["nearhit", "twemproxy", "direct"], default="nearhit")


def nearhit_flags(options: argparse.Namespace) -> list[str]:
    workers = [] if options.workers is None else ["--workers", str(options.workers)]
    return [*workers, *options.nearhit_flags]


@contextlib.contextmanager
def server(which: str) -> Iterator[Target]:
    """The upstream, as the target called direct; its pids are its own."""
    if which in ("redis", "valkey"):
        kind = cast("Literal['redis', 'valkey']", which)
        with upstream(kind) as process:
            yield Target("direct", HOST, process.port, frozenset({process.pid}))
        return
    parts = urlsplit(which)
    yield found(Target("direct", parts.hostname or HOST, parts.port or 6379), {})


@contextlib.contextmanager
def both(options: argparse.Namespace) -> Iterator[tuple[Target, Target]]:
    """The upstream, and the target that ``--target`` names in front of it."""
    with contextlib.ExitStack() as stack:
        up = stack.enter_context(server(options.upstream))
        if options.target == "nearhit":
            yield up, stack.enter_context(proxy(up.url, options))
        elif options.target == "twemproxy":
            yield up, stack.enter_context(twemproxy(up))
        else:
            yield up, up


@contextlib.contextmanager
def proxy(url: str | None, options: argparse.Namespace) -> Iterator[Target]:
    """Nearhit in front of the URL, workers and all."""
    with nearhit(url, *nearhit_flags(options)) as process:
        yield Target("nearhit", HOST, process.port, procfs.tree({process.pid}))


@contextlib.contextmanager
def proxy_with_tls(url: str, options: argparse.Namespace) -> Iterator[list[Target]]:
    """One Nearhit, by its plain address and by the one with TLS."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="nearhit-bench-") as name:
        files = self_signed(Path(name))
        flags = ["--tls-listen", f"{HOST}:{port}", "--tls-cert", f"{files}/cert.pem"]
        flags += ["--tls-key", f"{files}/key.pem", *nearhit_flags(options)]
        with nearhit(url, *flags) as process:
            pids = procfs.tree({process.pid})
            yield [
                Target("nearhit", HOST, process.port, pids),
                Target("nearhit tls", HOST, port, pids, files / "cert.pem"),
            ]


@contextlib.contextmanager
def twemproxy(upstream_: Target) -> Iterator[Target]:
    """nutcracker from PATH with one pool of one server."""
    binary = shutil.which("nutcracker")
    if binary is None:
        raise RuntimeError("--twemproxy needs nutcracker on PATH (Debian: apt install nutcracker)")
    port, stats = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="nearhit-bench-") as name:
        folder = Path(name)
        config = folder / "nutcracker.yml"
        server_ = f"{upstream_.host}:{upstream_.port}"
        config.write_text(TWEMPROXY.format(host=HOST, port=port, server=server_))
        # -p and -o: Debian's defaults name folders that exist only for its own service.
        child = subprocess.Popen(
            [binary, "-c", config, "-p", folder / "pid", "-o", folder / "log",
             "-a", HOST, "-s", str(stats)],
        )  # fmt: skip
        try:
            wait_for(lambda: listens(HOST, port), 10, "nutcracker")
            yield Target("twemproxy", HOST, port, frozenset({child.pid}))
        finally:
            child.terminate()
            child.wait()


def end_children_on_sigterm() -> None:
    """Leave through the context managers, so that no server outlives the benchmark."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def found(target: Target, pids: dict[str, int]) -> Target:
    """The target with its processes: as told by ``--pid``, else by who listens on its port here."""
    if target.name in pids:
        roots = frozenset({pids[target.name]})
    elif target.host in (HOST, "localhost", "::1"):
        roots = procfs.listeners(target.port)
    else:
        roots = frozenset()
    return Target(target.name, target.host, target.port, procfs.tree(roots))
