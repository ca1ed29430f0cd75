"""How a lane of the cluster that is lent gets its connection: there is nothing to dial.

Each lane gets a Connection in memory, as if a server had accepted it; as long as no node has told
what the cluster is like there is none to be had, and the lane tries again by its retry rule.
``moves`` counts the failovers of all shards, and ``tls`` is that of all nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final

from ..settings.address import Upstream
from ..upstream.dial import Dial, Retry
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey
from ..upstream.tls_files import TlsFiles
from .acts import Table
from .cluster import Cluster
from .connection import Connection
from .plans import Plan

# Connections are numbered as no server numbers its own: CLIENT UNBLOCK tells them apart.
FIRST_ID: Final = 1 << 60


class VirtualDial(Dial):
    """``shared`` gives the virtual lane that all share, ``plan`` says where a request goes.

    ``open_``: the connections that stand, by number. ``hellos``: what a node said last to HELLO, by
    RESP version."""

    def __init__(
        self,
        upstream: Upstream,
        retry: Retry,
        cluster: Cluster,
        shared: Callable[[LaneKey], Lane],
        plan: Callable[[Sequence[bytes]], Plan],
        tls: TlsFiles | None = None,
    ) -> None:
        super().__init__(upstream, retry, tls=tls)
        self.cluster = cluster
        self.shared = shared
        self.plan = plan
        self.open_: dict[int, Connection] = {}
        self.hellos: dict[int, bytes] = {}
        self._acts = Table()
        self._ids = count(FIRST_ID)
        cluster.failed_over.append(self._take_failover)

    def _take_failover(self) -> None:
        self.moves += 1

    def next_id(self) -> int:
        return next(self._ids)

    def ended(self, connection: Connection) -> None:
        self.open_.pop(connection.id, None)

    async def open(
        self, loop: asyncio.AbstractEventLoop, protocol: Callable[[], asyncio.Protocol]
    ) -> asyncio.Transport:
        self.cluster.open()
        if self.cluster.topology is None:
            why = self.cluster.watch.trouble or "none has answered yet"
            raise ConnectionRefusedError(f"no node of the cluster: {why}")
        made = protocol()
        connection = Connection(made, self, self._acts)
        self.open_[connection.id] = connection
        made.connection_made(connection)
        return connection
