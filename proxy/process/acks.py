"""Whether replicas have heard of a lock (LOCK ACQUIRE REPLICAS).

WAIT is about what its own connection has written, and about nothing where that is nothing: the lock
is written anew there, which every replica hears of behind the grant. WAIT keeps everything behind
it waiting, so that a lane is borrowed for each. locking/locks.py asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from ...lua import Script
from ..cluster.loan import Loan
from ..errors import OddReply, ProxyError, ServerError
from ..resp.replies import number, parsed_many
from ..resp.requests import encode
from ..upstream.ask import AskSlot, Reply
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey
from ..upstream.lanes import Lanes

# Seconds beyond those of WAIT itself in which a lane has to be found, and to answer.
MORE_S: Final = 1.0


class Acks:
    """``pool``: the lanes to the server that has a key; ``key``: of the user that asks there."""

    def __init__(self, pool: Callable[[bytes], Lanes], key: LaneKey) -> None:
        self._pool = pool
        self._key = key

    def __repr__(self) -> str:
        return f"<Acks db={self._key.db}>"

    async def __call__(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes], count: int, ms: int
    ) -> bool:
        """Whether the script says 1 and so many replicas have what it wrote, within so many
        milliseconds. ProxyError: nobody can tell."""
        told: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        words = [b"EVAL", script.text, b"%d" % len(keys), *keys, *args]
        asked = encode(words) + encode([b"WAIT", b"%d" % count, b"%d" % ms])

        def tell(reply: Reply) -> None:
            if not told.done():
                told.set_result(reply)

        def ask(lane: Lane) -> None:
            lane.send(asked, AskSlot(tell, 2))

        loan = Loan(self._pool(keys[0]), self._key, tell)
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
        return _acknowledged(reply, count)


def _acknowledged(replies: bytes, count: int) -> bool:
    try:
        written, acks = parsed_many(replies, 2)
    except ValueError:
        raise OddReply("WAIT") from None
    for value in (written, acks):
        if isinstance(value, ServerError):
            raise value
    return number(written, "a script") > 0 and number(acks, "WAIT") >= count
