"""What clients may cost that do nothing, and all of them together: looked at once a second.

    ``timeout``            who has said and heard nothing for so long is closed, as by Redis
    ``maxmemory_clients``  beyond so many bytes of unread requests and replies the largest are cut
    ``client_output_buffer``  who has so many bytes of replies unread for so long is cut (the soft
                           bound; the hard one is seen as it is passed: weight.py)

Without any nothing is looked at. The other bounds are elsewhere (docs/operating.md has all of
them). server.py ticks."""

from __future__ import annotations

import logging
from typing import Final

from ..log import event
from ..settings.output import OutputBuffer
from .clients import Client, Clients
from .reasons import HOLDS_WAITING
from .unread import overcome

log = logging.getLogger(__name__)

NO_EVICT: Final = "e"  # CLIENT NO-EVICT's flag


def memory_of(client: Client) -> int:
    """Bytes that a client has in our buffers: requests not sent on yet, replies not taken
    yet; what it queues in MULTI, and the names of its subscriptions."""
    traffic, lane = client.traffic, client.berth.lane
    names = lane.framing.size if lane is not None and lane.framing is not None else 0
    return traffic.unread + traffic.gathered[0] + traffic.unsent + client.queued_bytes + names


class Limits:
    """``idle_s`` in seconds, ``memory`` in bytes; 0: no limit."""

    def __init__(self, clients: Clients, *, idle_s: float = 0.0, memory: int = 0) -> None:
        self._clients = clients
        self._idle_s = idle_s
        self._memory = memory
        self._output = OutputBuffer()
        self._over: dict[int, float] = {}  # since when, by the client's id

    def __repr__(self) -> str:
        return f"<Limits idle_s={self._idle_s:g} memory={self._memory} over={len(self._over)}>"

    def take(self, *, idle_s: float, memory: int, output: OutputBuffer) -> None:
        """Have these limits from now on."""
        self._idle_s = idle_s
        self._memory = memory
        self._output = output

    def tick(self, now: float) -> None:
        """Once a second; ``now`` as clients note when they were active."""
        if self._idle_s:
            self._end_idle(now)
        if self._output.soft:
            self._end_slow(now)
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

    def _end_slow(self, now: float) -> None:
        """Cut who has not been below the soft bound for too long."""
        before, self._over = self._over, {}
        for client in self._clients:
            unread = client.traffic.unsent
            if unread < self._output.soft or client.cut:
                continue
            number = client.identity.id
            since = self._over[number] = before.get(number, now)
            if now - since > self._output.seconds:
                self._clients.cut(client, overcome(unread, f"for {now - since:.0f} s"))

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
            why = f"{size} bytes in its buffers, and more than maxmemory_clients in all"
            self._clients.cut(client, why)
            total -= size
