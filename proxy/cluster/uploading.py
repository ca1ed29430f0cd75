"""A request too large to be kept until it is answered: it passes to a node as it comes.

    up to REQUEST_MAX ─▶ gathered: it can be sent again where it is redirected
    larger, of one key ─▶ Upload: a real lane at the owner of that key, piece by piece
    larger, any other ─▶ refused, and its bytes dropped (connection.py)

What has passed is nowhere kept: where the slot has left meanwhile the client has to send it
again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from ..errors import ProxyError
from ..resp.kernel import hash_slot
from ..table.table import Command
from ..upstream.ask import AskSlot, Reply
from ..upstream.lane import Lane
from .connection import Answer, Connection
from .loan import Loan
from .redirects import NOT_SERVED, redirect

MOVED_AWAY: Final = b"-TRYAGAIN the slot moved while the request was on its way\r\n"
_HEAD: Final = re.compile(rb"\*\d+\r\n\$\d+\r\n([A-Za-z.]+)\r\n\$(\d{1,9})\r\n")


def slot_of(head: bytes, commands: Mapping[bytes, Command]) -> int | None:
    """The hash slot of a request of one key that begins so; None: it is none, or cannot be told."""
    found = _HEAD.match(head)
    command = commands.get(found[1].upper()) if found is not None else None
    if found is None or command is None or command.keys != (1, 1, 1):
        return None
    if command.flags & {b"movablekeys", b"blocking"} or found.end() + int(found[2]) > len(head):
        return None
    return hash_slot(head[found.end() : found.end() + int(found[2])])


class Upload:
    """The one request that passes now."""

    def __init__(self, connection: Connection, pieces: Sequence[bytes], answer: Answer) -> None:
        self._connection = connection
        self._pieces = list(pieces)
        self._answer: Answer | None = answer
        self._loan: Loan | None = None

    def begin(self, slot: int) -> None:
        cluster = self._connection.cluster
        shard = cluster.topology.shard(slot) if cluster.topology is not None else None
        if shard is None:
            self._over(NOT_SERVED)
            return
        pool = cluster.pool(shard.primary.host, shard.primary.port)
        self._loan = Loan(pool, self._connection.key, lambda _: None, writable=self._writable)
        self._connection.hold(True)
        self._loan.take(self._taken, self._answered)

    def _taken(self, lane: Lane) -> None:
        lane.patient = True  # it owes nothing before it has all
        lane.send(b"".join(self._pieces), AskSlot(self._answered))
        self._pieces.clear()
        self._connection.hold(False)
        self._wait_for(lane)

    def more(self, piece: bytes) -> None:
        """More of it. What comes behind its answer, which can only be an error, is nobody's."""
        lane = self._loan.lane if self._loan is not None else None
        if self._answer is None:
            return
        if lane is None:
            self._pieces.append(piece)
            return
        lane.send_part(piece)
        self._wait_for(lane)

    def whole(self) -> None:
        """That was all of it."""
        lane = self._loan.lane if self._loan is not None else None
        if lane is not None:
            lane.patient = False

    def _wait_for(self, lane: Lane) -> None:
        if lane.choked and self._loan is not None:
            self._connection.hold(True)
            lane.waiting_for_room.append(self._loan)

    def _writable(self) -> None:
        self._connection.hold(False)

    def _answered(self, reply: Reply) -> None:
        line = reply.line if isinstance(reply, ProxyError) else reply
        if redirect(line) is not None:
            self._connection.cluster.refresh("an upload was redirected")
            line = MOVED_AWAY
        clean = not isinstance(reply, ProxyError)
        if self._loan is not None:
            self._loan.give_back(clean=clean)
        self._over(line)

    def _over(self, line: bytes) -> None:
        answer, self._answer = self._answer, None
        self._pieces.clear()
        self._connection.states.pop(Upload, None)
        self._connection.hold(False)
        if answer is not None:
            answer(line)

    def end(self) -> None:
        self._answer = None
        if self._loan is not None:
            self._loan.give_back(clean=False)


def upload(connection: Connection, pieces: Sequence[bytes]) -> Upload | None:
    """Pass on a request that begins so; None: it cannot be."""
    slot = slot_of(pieces[0][:4096], connection.commands)
    if slot is None:
        return None
    made = connection.states[Upload] = Upload(connection, pieces, connection.alone())
    made.begin(slot)
    return made
