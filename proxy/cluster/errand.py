"""One request on a real lane of its own at the owner of a hash slot, wherever the slot goes.

    begin ─▶ the owner's pool ─▶ a loan ─▶ the request ─▶ an answer ─▶ done(answer, loan)
                ▲                              │
                └── MOVED, ASK, not there yet ─┘ sent again: the server has refused it

The request is made anew each time: what waits may wait only for what is left of its time. What was
sent and not answered is sent again only where that changes nothing (``twice``). Owns the way; whose
errand it is keeps the loan, or gives it back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from ..errors import ProxyError, UpstreamRefused
from ..upstream.ask import AskSlot, Reply, drop
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey
from ..upstream.lanes import Lanes
from .cluster import Cluster
from .loan import Loan
from .redirects import LATER, NOT_SERVED, Kind, Redirect, redirect
from .router import ASKING, TRYAGAIN

# Seconds between two attempts where nobody can answer; hops come sooner.
LATER_S: Final = 0.05
HOP_S: Final = 0.002
HOP_MAX_S: Final = 0.05
# An answer that took longer was waited for: the next trouble has all the patience again.
STOOD_S: Final = 1.0

# Blocked at a node that is the primary no more: nothing was popped. CLIENT UNBLOCK says otherwise.
_DEMOTED: Final = b"-UNBLOCKED force unblock from blocking operation, instance state changed"


class Errand:
    """``slot`` None: the request names no key whose slot is known; a redirection tells.

    ``done`` is called once, with the loan on which the answer came; None: there is none any
    more. ``lost``: the loan ended after that, or with the request, so that nobody knows whether it
    has run: then ``done`` is not called."""

    def __init__(
        self,
        cluster: Cluster,
        key: LaneKey,
        slot: int | None,
        request: Callable[[], bytes],
        done: Callable[[bytes, Loan | None], None],
        lost: Callable[[ProxyError], None],
        *,
        patient: bool = False,
        twice: bool = False,
    ) -> None:
        self.asking = False  # the slot was still on its way: what follows needs ASKING too
        self.slot = slot
        self._cluster = cluster
        self._key = key
        self._request = request
        self._done = done
        self._told_lost = lost
        self._patient = patient
        self._twice = twice
        self._loop = asyncio.get_running_loop()
        self._loan: Loan | None = None
        self._until = 0.0
        self._began = 0.0
        self._tries = 0
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    def __repr__(self) -> str:
        return f"<Errand slot={self.slot} tries={self._tries} {self._loan!r}>"

    def begin(self) -> None:
        topology = self._cluster.topology
        self._began = self._loop.time()
        if topology is None or self.slot is None:
            pool = self._cluster.any_pool()
        else:
            shard = topology.shard(self.slot)
            node = shard.primary if shard is not None else None
            pool = self._cluster.pool(node.host, node.port) if node is not None else None
        if pool is None:
            self._again(LATER, NOT_SERVED, "a slot is not covered")
        else:
            self._at(pool, asking=False)

    @property
    def lane(self) -> Lane | None:
        """Where the request is now."""
        return self._loan.lane if self._loan is not None else None

    def end(self) -> None:
        """Nobody wants the answer any more: what waits in the server ends with its connection."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._loan is not None:
            self._loan.give_back(clean=False)

    def _at(self, pool: Lanes, *, asking: bool) -> None:
        self.asking = asking
        self._loan = Loan(pool, self._key, self._lost)
        self._loan.take(self._send, self._answered)

    def _send(self, lane: Lane) -> None:
        lane.patient = self._patient
        self._began = self._loop.time()
        if self.asking:
            lane.send(ASKING, AskSlot(drop))
        lane.send(self._request(), AskSlot(self._answered))

    def _lost(self, why: ProxyError) -> None:
        if self._over:
            self._told_lost(why)

    def _answered(self, reply: Reply) -> None:
        if self._over:
            return
        if isinstance(reply, ProxyError):
            loan, self._loan = self._loan, None
            if loan is not None:
                loan.give_back(clean=False)
            if isinstance(reply, UpstreamRefused):
                self._finish(reply.line, None)  # nor would it be let in the next time
            elif reply.outcome_unknown and not self._twice:
                self._cluster.refresh("a connection was lost")
                self._over = True
                self._told_lost(reply)
            else:
                self._again(LATER, reply.line, "a node cannot be reached")
            return
        found = LATER if reply.startswith(_DEMOTED) else redirect(reply)
        if found is None:
            self._finish(reply, self._loan)
            return
        if self._loop.time() - self._began > STOOD_S:
            self._until, self._tries = 0.0, 0
        loan, self._loan = self._loan, None
        assert loan is not None
        host = found.host or (loan.lane.host if loan.lane is not None else "")
        if loan.lane is not None:
            loan.lane.patient = False
        loan.give_back(clean=True)
        self._redirected(found, host, reply)

    def _redirected(self, found: Redirect, host: str, reply: bytes) -> None:
        if self.slot is None and found.slot >= 0:
            self.slot = found.slot
        believed = found.slot == self.slot and self.slot is not None
        topology = self._cluster.topology
        if found.kind is Kind.MOVED and believed and self.slot is not None:
            followed = self._cluster.follow(self.slot, host, found.port)
            found = found if followed else LATER
        elif found.kind is Kind.ASK and believed and topology is not None:
            node = topology.find(host, found.port)
            if node is not None and self._patience_left():
                self._tries += 1
                self._pause(partial(self._at_asking, self._cluster.pool(node.host, node.port)))
                return
        elif found.kind is not Kind.AGAIN:
            found = LATER
        self._again(found, reply, reply[:20].decode("latin-1").strip())

    def _at_asking(self, pool: Lanes) -> None:
        if not self._over:
            self._at(pool, asking=True)

    def _patience_left(self) -> bool:
        now = self._loop.time()
        self._until = self._until or now + self._cluster.patience
        return now < self._until

    def _again(self, found: Redirect, reply: bytes, why: str) -> None:
        """The server has not run it: once more, where the map says by then."""
        self._cluster.refresh(why)
        if not self._patience_left():
            hops = found.kind is not Kind.LATER
            self._finish(TRYAGAIN if hops else reply, None)
            return
        self._tries += 1
        if found.kind is Kind.LATER:
            self._timer = self._loop.call_later(LATER_S, self._retry)
        else:
            self._pause(self._retry)

    def _pause(self, then: Callable[[], None]) -> None:
        pause = min(HOP_MAX_S, HOP_S * (1 << min(self._tries - 1, 8))) if self._tries > 1 else 0.0
        self._timer = self._loop.call_later(pause, then)

    def _retry(self) -> None:
        if not self._over:
            self.begin()

    def _finish(self, reply: bytes, loan: Loan | None) -> None:
        self._over = True
        self._loan = None if loan is None else self._loan
        self._done(reply, loan)
