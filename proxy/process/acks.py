"""Whether replicas have heard of what was just written (LOCK ACQUIRE REPLICAS).

WAIT counts from the last command of the connection that asks: behind a PING of its own it is about
all that the server had done before, whichever connection asked for it. It keeps everything behind
it waiting, so that a lane is borrowed for each. locking/locks.py asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ..cluster.loan import Loan
from ..errors import ProxyError
from ..resp.replies import number
from ..resp.requests import encode
from ..upstream.ask import AskSlot, Reply, drop
from ..upstream.asker import value_of
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey
from ..upstream.lanes import Lanes

_PING: Final = encode([b"PING"])
# Seconds beyond those of WAIT itself in which a lane has to be found, and to answer.
MORE_S: Final = 1.0


class Acks:
    """``pool``: the lanes to the server that has a key; ``key``: of the user that asks there."""

    def __init__(self, pool: Callable[[bytes], Lanes], key: LaneKey) -> None:
        self._pool = pool
        self._key = key

    def __repr__(self) -> str:
        return f"<Acks db={self._key.db}>"

    async def __call__(self, key: bytes, count: int, ms: int) -> bool:
        """Whether so many replicas have, within so many milliseconds, all that was written to the
        key's server before. ProxyError: nobody can tell."""
        told: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def tell(reply: Reply) -> None:
            if not told.done():
                told.set_result(reply)

        def ask(lane: Lane) -> None:
            lane.send(_PING, AskSlot(drop))
            lane.send(encode([b"WAIT", b"%d" % count, b"%d" % ms]), AskSlot(tell))

        loan = Loan(self._pool(key), self._key, tell)
        try:
            loan.take(ask, tell)
            async with asyncio.timeout(ms / 1000 + MORE_S):
                reply = await told
        except TimeoutError:
            return False
        finally:
            loan.give_back(clean=told.done() and not told.cancelled())
        if isinstance(reply, ProxyError):
            raise reply
        return number(value_of(reply), "WAIT") >= count
