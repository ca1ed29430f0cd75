"""A cluster of our own, for trying out and for tests: embedded servers that share the slots.

Owns how they become one, and their number. Each is an Embedded, which keeps it alive; one that was
started again finds the others by the file in its folder. They talk TCP, as a cluster must, on this
machine alone; whoever connects needs a password that is made up here (their bus knows no such
thing). No replicas: what a node had is lost with it, as with one embedded server. cli makes it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Sequence
from typing import Final

from ..errors import ExitCode, StartError
from .embedded import Embedded

SLOTS: Final = 16384
_HOST: Final = "127.0.0.1"
_DEADLINE = 15.0  # seconds to become one; a node serves no slot in its first 2 s
_TRIES: Final = 3  # for a port that is taken before the server has it


class EmbeddedCluster:
    """Running servers that are one cluster, once made; leaving the ``with`` block stops them.
    StartError: they cannot be started, or do not become a cluster within _DEADLINE."""

    def __init__(self, binary: str, count: int) -> None:
        assert count > 0
        self._password = os.urandom(16).hex()
        self._ports: list[tuple[int, int]] = []  # for clients, and for the other nodes
        self._nodes: list[Embedded] = []
        self._stack = contextlib.ExitStack()
        with self._stack:
            for _ in range(count):
                self._add(binary)
            self._join()
            self._stack = self._stack.pop_all()

    def __repr__(self) -> str:
        return f"<EmbeddedCluster ports={[port for port, _ in self._ports]}>"

    def __enter__(self) -> EmbeddedCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """All its nodes, as an upstream's URL; it has the password."""
        seeds = ",".join(f"{_HOST}:{port}" for port, _ in self._ports)
        return f"redis-cluster://:{self._password}@{seeds}"

    @property
    def version(self) -> str:
        """For people."""
        return f"cluster of {len(self._nodes)} {self._nodes[0].version}"

    @property
    def pids(self) -> list[int]:
        """Their processes."""
        return [node.pid for node in self._nodes]

    def watch(self) -> None:
        """Keep each alive from a thread of its own."""
        for node in self._nodes:
            node.watch()

    def tend(self, now: float) -> float | None:
        """As Embedded's, for all of them."""
        return min(
            (due for node in self._nodes if (due := node.tend(now)) is not None), default=None
        )

    def stop(self) -> None:
        """End them and remove their folders."""
        self._stack.close()

    def _add(self, binary: str) -> None:
        for tries_left in reversed(range(_TRIES)):
            port, bus = _free_ports(2)
            options = (
                *("--port", str(port), "--bind", _HOST),
                *("--cluster-enabled", "yes", "--cluster-port", str(bus)),
            )
            try:
                node = Embedded(binary, *options, password=self._password)
            except StartError:
                if not tries_left:
                    raise
            else:
                self._stack.enter_context(node)
                self._nodes.append(node)
                self._ports.append((port, bus))
                return

    def _join(self) -> None:
        deadline = time.monotonic() + _DEADLINE
        count = len(self._nodes)
        port, bus = self._ports[0]
        for number, node in enumerate(self._nodes):
            first, last = SLOTS * number // count, SLOTS * (number + 1) // count - 1
            answer = self._ask(
                node,
                f"CLUSTER SET-CONFIG-EPOCH {number + 1}",
                f"CLUSTER ADDSLOTSRANGE {first} {last}",
                *([f"CLUSTER MEET {_HOST} {port} {bus}"] if number else []),
            )
            if refused := re.search(rb"^-(.*?)\r$", answer, re.MULTILINE):
                reason = refused[1].decode("utf-8", "replace")
                raise StartError(f"the embedded cluster: {reason}", ExitCode.NO_SERVER)
        while not all(map(self._is_one, self._nodes)):
            if time.monotonic() > deadline:
                raise StartError(
                    f"the embedded servers did not become a cluster in {_DEADLINE:.0f} s",
                    ExitCode.NO_SERVER,
                )
            time.sleep(0.02)

    def _is_one(self, node: Embedded) -> bool:
        # Slots come with their owner's word, which may be behind that of its being there.
        info = self._ask(node, "CLUSTER INFO")
        wanted = (b"state:ok", b"slots_ok:%d" % SLOTS, b"known_nodes:%d" % len(self._nodes))
        return all(b"cluster_%b\r\n" % each in info for each in wanted)

    def _ask(self, node: Embedded, *requests: str) -> bytes:
        try:
            return node.ask(*requests)
        except OSError as error:
            raise StartError(f"an embedded server: {error}", ExitCode.NO_SERVER) from error


def _free_ports(count: int) -> Sequence[int]:
    """Ports that nobody listens on: bound all at once, so that none comes twice."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((_HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
