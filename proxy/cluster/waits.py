"""WAIT in a cluster: asked of every primary, answered by the least.

What the client wrote went over other connections, to nodes that nobody here remembers, and was
answered before this: each primary is asked how many replicas have all that it has itself
(upstream/heard.py), on a lane of the client's own, so that its rights decide. Acts of acts.py."""

from __future__ import annotations

import asyncio
from functools import partial

from ..errors import OTHER_MASTER, ProxyError
from ..upstream.ask import Done, Reply
from ..upstream.heard import Heard, Wanted
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey
from ..upstream.lanes import Lanes
from .connection import Answer, Connection
from .errand import Errand
from .loan import Loan
from .redirects import NOT_SERVED


class Waits:
    """One request, at all primaries."""

    def __init__(self, connection: Connection, wanted: Wanted, answer: Answer) -> None:
        self._connection = connection
        self._wanted = wanted
        self._answer = answer
        self._loans: list[Loan] = []
        self._heard: list[Heard] = []
        self._replies: list[bytes] = []

    def begin(self) -> None:
        cluster = self._connection.cluster
        shards = cluster.topology.shards if cluster.topology is not None else ()
        pools = [cluster.pool(shard.primary.host, shard.primary.port) for shard in shards]
        if not pools:
            self._over(NOT_SERVED)
        self._loans = [Loan(pool, self._connection.key, lambda _: None) for pool in pools]
        for loan in self._loans:
            loan.take(partial(self._wait, loan), partial(self._told, loan))

    def _wait(self, loan: Loan, lane: Lane) -> None:
        roles = [partial(_as_own, loan.pool), partial(_as_client, lane)]
        told = partial(self._told, loan)
        heard = Heard(self._wanted, lane.ask, roles, asyncio.get_running_loop(), told)
        self._heard.append(heard)
        heard.begin()

    def _told(self, loan: Loan, reply: Reply) -> None:
        line = reply.line if isinstance(reply, ProxyError) else reply
        if line.startswith(b"-ERR"):  # of a replica, which was a primary by the map
            line = OTHER_MASTER
        self._replies.append(line)
        loan.give_back(clean=isinstance(reply, bytes))
        if line.startswith(b"-"):  # that is the answer, whatever the others say
            for heard in self._heard:
                heard.hurry()
        if len(self._replies) == len(self._loans):
            self._over(least(self._replies))

    def _over(self, reply: bytes) -> None:
        self._connection.states.pop(Waits, None)
        self._answer(reply)

    def end(self) -> None:
        for heard in self._heard:
            heard.end()
        for loan in self._loans:
            loan.give_back(clean=False)


def _as_own(pool: Lanes, done: Done) -> None:
    pool.shared(LaneKey()).ask(done, b"ROLE")


def _as_client(lane: Lane, done: Done) -> None:
    lane.ask(done, b"ROLE")


def least(replies: list[bytes]) -> bytes:
    """The least number; the first error where there is one."""
    errors = [reply for reply in replies if reply.startswith(b"-")]
    return errors[0] if errors else min(replies, key=lambda reply: int(reply[1:]))


def wait(connection: Connection, words: list[bytes], request: bytes) -> None:
    wanted, answer = Wanted.of(words), connection.alone()
    if wanted is None:
        _refused(connection, request, answer)
        return
    waits = Waits(connection, wanted, answer)
    connection.states[Waits] = waits
    waits.begin()


def _refused(connection: Connection, request: bytes, answer: Answer) -> None:
    """A node says what is wrong with it."""

    def told(reply: bytes, loan: Loan | None) -> None:
        connection.states.pop(Errand, None)
        if loan is not None:
            loan.give_back(clean=True)
        answer(reply)

    key, cluster = connection.key, connection.cluster
    errand = Errand(cluster, key, None, lambda: request, told, lambda _: None, twice=True)
    connection.states[Errand] = errand
    errand.begin()
