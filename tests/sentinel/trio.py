"""A master, two replicas and three Sentinels of one kind, on free ports, for whoever breaks them.

``set_right`` has everything running again, with one master that all Sentinels agree on."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.servers import HOST, Kind, Process, free_port, server_binary, wait_for

NAME = "mymaster"
DOWN_AFTER_MS = 1000
QUORUM = 2
EMPTY = '""'
Link = Any  # redis-py is typed in part only


def link(port: int, **options: Any) -> Link:
    """A connection that repeats nothing by itself."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis(host=HOST, port=port, socket_timeout=30, retry=Retry(NoBackoff(), 0), **options)


@dataclass
class Trio:
    kind: Kind
    nodes: dict[int, Process] = field(default_factory=dict)
    sentinels: list[Process] = field(default_factory=list)

    @property
    def url(self) -> str:
        seeds = ",".join(f"{HOST}:{one.port}" for one in self.sentinels)
        return f"redis-sentinel://{seeds}/{NAME}"

    @property
    def master(self) -> Process:
        """Whom the Sentinels that answer agree on."""
        (port,) = self.named()
        return self.nodes[port]

    def named(self) -> set[int]:
        found: set[int] = set()
        for one in self.sentinels:
            with contextlib.suppress(OSError, Exception):
                _, port = link(one.port).execute_command(
                    "SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME
                )
                found.add(int(port))
        return found

    def sentinel(self, *words: str, at: int = 0) -> Any:
        return link(self.sentinels[at].port).execute_command("SENTINEL", *words)

    def failover(self, *, at: int = 0) -> None:
        """As an operator orders one. A Sentinel that has just seen one refuses for a while."""

        def ordered() -> bool:
            with contextlib.suppress(Exception):
                self.sentinel("FAILOVER", NAME, at=at)
                return True
            return False

        wait_for(ordered, 30, "SENTINEL FAILOVER")

    def settled(self) -> bool:
        """Whether all Sentinels name one master, which both others follow."""
        named = self.named()
        if len(named) != 1 or not all(one.child and one.child.poll() is None for one in self.all):
            return False
        try:
            role, _, replicas = link(named.pop()).execute_command("ROLE")
            linked = role == b"master" and len(replicas) == len(self.nodes) - 1
            for one in self.sentinels:
                about = link(one.port).execute_command("SENTINEL", "REPLICAS", NAME)
                good = [row for row in about if b"down" not in _flags(row)]
                linked = linked and len(good) == len(self.nodes) - 1
                # The one that leads a failover names the new master before it is done.
                flags = _flags(link(one.port).execute_command("SENTINEL", "MASTER", NAME))
                linked = linked and b"failover" not in flags
        except Exception:
            return False
        return linked

    @property
    def all(self) -> list[Process]:
        return [*self.nodes.values(), *self.sentinels]

    def set_right(self, seconds: float = 40) -> None:
        """Start what was killed; who is master without a name follows, for Sentinels take 10 s to
        tell it so."""
        for one in self.all:
            if one.child is None or one.child.poll() is not None:
                one.start()
            one.signal(signal.SIGCONT)
        wait_for(lambda: len(self.named()) == 1, seconds, "Sentinels that agree")
        (master,) = self.named()
        for port in self.nodes.keys() - {master}:
            if link(port).execute_command("ROLE")[0] == b"master":
                link(port).execute_command("REPLICAOF", HOST, master)
        wait_for(self.settled, seconds, "a settled trio")

    @contextlib.contextmanager
    def switch(self) -> Iterator[list[float]]:
        """When the first +switch-master comes, by time.monotonic, of a Sentinel that lives."""
        seen: list[float] = []
        over = threading.Event()
        threads = [
            threading.Thread(target=self._hear, args=(one, seen, over), daemon=True)
            for one in self.sentinels
        ]
        for thread in threads:
            thread.start()
        try:
            yield seen
        finally:
            over.set()
            for thread in threads:
                thread.join(5)

    def _hear(self, one: Process, seen: list[float], over: threading.Event) -> None:
        with contextlib.suppress(Exception):
            events = link(one.port).pubsub()
            events.subscribe("+switch-master")
            while not over.is_set():
                message = events.get_message(timeout=0.2)
                if message is not None and message["type"] == "message":
                    seen.append(time.monotonic())


def _flags(row: Any) -> bytes:
    if isinstance(row, dict):
        return bytes(row[b"flags"])
    pairs = dict(zip(row[::2], row[1::2], strict=True))
    return bytes(pairs[b"flags"])


@contextlib.contextmanager
def trio(kind: Kind) -> Iterator[Trio]:
    binary = server_binary(kind)
    if binary is None:
        pytest.skip(f"no {kind}-server on this machine")
    made = Trio(kind)
    with tempfile.TemporaryDirectory(prefix="nearhit-sentinel-") as folder:
        try:
            _start_nodes(made, binary, Path(folder))
            _start_sentinels(made, binary, Path(folder))
            wait_for(made.settled, 40, "a settled trio")
            yield made
        finally:
            for one in made.all:
                one.kill()


def _process(binary: str, folder: Path, port: int, *options: str) -> Process:
    place = folder / str(port)
    place.mkdir()
    return Process(port, [binary, *options], place)


def _start_nodes(made: Trio, binary: str, folder: Path) -> None:
    master = free_port()
    for port in (master, free_port(), free_port()):
        place = folder / str(port)
        options = [
            *("--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no"),
            *("--dir", str(place), "--repl-diskless-sync-delay", "0"),
            *("--repl-ping-replica-period", "1", "--enable-debug-command", "yes"),
        ]
        if port != master:
            options += ["--replicaof", f"{HOST} {master}"]
        made.nodes[port] = _process(binary, folder, port)
        # A file, for Sentinel has each rewrite its own: it starts again as what it was.
        config = place / "conf"
        pairs = zip(options[::2], options[1::2], strict=True)
        config.write_text("".join(f"{name[2:]} {text or EMPTY}\n" for name, text in pairs))
        made.nodes[port].argv.append(str(config))
        made.nodes[port].start()
    wait_for(
        lambda: len(link(master).execute_command("ROLE")[2]) == 2, 20, "replicas that are linked"
    )


def _start_sentinels(made: Trio, binary: str, folder: Path) -> None:
    master = next(iter(made.nodes))
    for _ in range(3):
        port = free_port()
        process = _process(binary, folder, port)
        config = process.folder / "conf"
        config.write_text(
            f"port {port}\nbind {HOST}\ndir {process.folder}\n"
            f"sentinel monitor {NAME} {HOST} {master} {QUORUM}\n"
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {NAME} 3000\n"
            f"sentinel parallel-syncs {NAME} 2\n"
        )
        process.argv += [str(config), "--sentinel"]
        process.start()
        made.sentinels.append(process)
