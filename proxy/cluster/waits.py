"""WAIT and WAITAOF of a cluster: asked of every primary, answered by the least.

A server counts from the last command of the connection that asks. What the client wrote went over
other connections, but was answered before this: a PING on a connection of its own is behind all of
it, and so is WAIT behind the PING. Which shards the client wrote to nobody knows here, so all have
to say so. Acts of acts.py."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..errors import ProxyError
from ..upstream.ask import AskSlot, Reply, drop
from ..upstream.lane import Lane
from .connection import Answer, Connection
from .loan import Loan
from .redirects import NOT_SERVED

_PING: Final = b"*1\r\n$4\r\nPING\r\n"
_NUMBERS: Final = re.compile(rb":(\d+)\r\n")


class Waits:
    """One request, at all primaries."""

    def __init__(self, connection: Connection, request: bytes, answer: Answer) -> None:
        self._connection = connection
        self._request = request
        self._answer = answer
        self._loans: list[Loan] = []
        self._replies: list[bytes] = []
        self._left = 0

    def begin(self) -> None:
        cluster = self._connection.cluster
        shards = cluster.topology.shards if cluster.topology is not None else ()
        nodes = [shard.primary for shard in shards]
        self._left = len(nodes)
        if not nodes:
            self._over(NOT_SERVED)
        for node in nodes:
            loan = Loan(cluster.pool(node.host, node.port), self._connection.key, lambda _: None)
            self._loans.append(loan)
            loan.take(self._send, self._told)

    def _send(self, lane: Lane) -> None:
        lane.patient = True
        lane.send(_PING, AskSlot(drop))
        lane.send(self._request, AskSlot(self._told))

    def _told(self, reply: Reply) -> None:
        self._replies.append(reply.line if isinstance(reply, ProxyError) else reply)
        self._left -= 1
        if not self._left:
            for loan in self._loans:
                if loan.lane is not None:
                    loan.lane.patient = False
                loan.give_back(clean=True)
            self._over(least(self._replies))

    def _over(self, reply: bytes) -> None:
        self._connection.states.pop(Waits, None)
        self._answer(reply)

    def end(self) -> None:
        for loan in self._loans:
            loan.give_back(clean=False)


def least(replies: Sequence[bytes]) -> bytes:
    """The least of each number; the first error where there is one."""
    for reply in replies:
        if reply.startswith(b"-"):
            return reply
    rows = [list(map(int, _NUMBERS.findall(reply))) for reply in replies]
    numbers = b"".join(b":%d\r\n" % min(column) for column in zip(*rows, strict=True))
    head = replies[0].partition(b"\r\n")[0]
    return head + b"\r\n" + numbers if head.startswith(b"*") else numbers


def wait(connection: Connection, words: list[bytes], request: bytes) -> None:
    waits = Waits(connection, request, connection.alone())
    connection.states[Waits] = waits
    waits.begin()
