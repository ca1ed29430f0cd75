"""What clients may cost that do nothing, and all of them together: looked at once a second.

    ``timeout``            who has said and heard nothing for so long is closed, as by Redis
    ``maxmemory_clients``  beyond so many bytes of unread requests and replies the largest are cut

Without either nothing is looked at. The bounds of a single client are elsewhere (docs/operating.md
has all of them). server.py ticks."""

from __future__ import annotations

import logging
from typing import Final

from ..log import event
from .clients import Client, Clients
from .reasons import HOLDS_WAITING

log = logging.getLogger(__name__)

NO_EVICT: Final = "e"  # CLIENT NO-EVICT's flag


def memory_of(client: Client) -> int:
    """Bytes that a client has in our buffers: requests not sent on yet, replies not taken yet."""
    traffic = client.traffic
    return traffic.unread + traffic.gathered[0] + traffic.unsent + client.queued_bytes


class Limits:
    """``idle_s`` in seconds, ``memory`` in bytes; 0: no limit."""

    def __init__(self, clients: Clients, *, idle_s: float, memory: int) -> None:
        self._clients = clients
        self._idle_s = idle_s
        self._memory = memory

    def __repr__(self) -> str:
        return f"<Limits idle_s={self._idle_s:g} memory={self._memory}>"

    def tick(self, now: float) -> None:
        """Once a second; ``now`` as clients note when they were active."""
        if self._idle_s:
            self._end_idle(now)
        if self._memory:
            self._evict()

    def _end_idle(self, now: float) -> None:
        """Not who waits for the future, nor who waits for an answer."""
        for client in self._clients:
            if now - client.active <= self._idle_s or client.cut:
                continue
            if client.berth.quiet and not client.berth.holds & HOLDS_WAITING:
                event(log, logging.DEBUG, "idle client closed", client=client.identity.id)
                client.close()

    def _evict(self) -> None:
        """Cut the largest first, until the rest has room."""
        sizes = [(memory_of(client), client) for client in self._clients]
        total = sum(size for size, _ in sizes)
        if total <= self._memory:
            return
        sizes.sort(key=lambda each: each[0], reverse=True)
        for size, client in sizes:
            if total <= self._memory or not size:
                return
            if NO_EVICT in client.identity.marks or client.cut:
                continue
            client.abort(f"{size} bytes in its buffers, and more than maxmemory_clients in all")
            total -= size
