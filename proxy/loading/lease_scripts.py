"""The scripts that take leases and give them up (lua/), for loads and for clients alike.

    take ─▶ hit | leased | held by another | known not to exist | known to fail
    fill ─▶ stored, or refused where the lease is gone;  undo: what was filled must not stand
    settle ─▶ given up, perhaps with the memory of how the load ended

Each runs on the tracked lane, whose replies are in order with the pushes for the keys that it
reads. Knows no flight and no client: who waits, and for how long, is said by flights.py and
leases.py."""

from __future__ import annotations

import contextlib
import logging
import random
import secrets
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, Final

from ...lua import script
from ..custom.spec import Counts, Expiry
from ..errors import OddReply, ProxyError
from ..keys.ours import lease_key
from ..log import event
from ..resp.replies import BULK, Value, items, number
from ..upstream.tracked import TrackedLane

log = logging.getLogger(__name__)

TOKEN: Final = b"t"  # tokens begin with it, the memory of a load does not (take.lua)
TAKE: Final = script("take")
FILL: Final = script("fill")
SETTLE: Final = script("settle")
UNDO: Final = script("undo")

# How much later than its lease is due to end a waiter looks again by itself, in seconds: the server
# tells of an expiry late, and all waiters at once would be a herd.
LOOK_AGAIN: Final = (0.01, 0.05)
# A server that knows no tracking tells nothing: waiters look again after so many seconds.
UNTRACKED: Final = 0.1

Start = Callable[[Coroutine[Any, Any, None]], object]


class Took(Enum):
    """What take.lua returns first."""

    HIT = 1
    LEASED = 2
    HELD = 3
    NOTHING = 4
    FAILED = 5


# What comes with each.
_WITH: Final[dict[Took, tuple[type | tuple[type, ...], ...]]] = {
    Took.HIT: (BULK,),
    Took.LEASED: (bytes,),
    Took.HELD: (int,),
    Took.NOTHING: (),
    Took.FAILED: (bytes,),
}


class LeaseScripts:
    def __init__(self, tracked: TrackedLane, start: Start, counts: Counts) -> None:
        self._tracked = tracked
        self._start = start
        self._counts = counts

    def __repr__(self) -> str:
        return f"<LeaseScripts {self._tracked!r}>"

    def patience(self, ms: int) -> float:
        """Seconds until a waiter looks again though nothing woke it, of a lease that lasts so
        long."""
        patience = max(ms, 0) / 1000 + random.uniform(*LOOK_AGAIN)
        return patience if self._tracked.tracking else min(patience, UNTRACKED)

    async def take(
        self, key: bytes, token: bytes, ms: int, how: bytes, *, quiet: bool = False
    ) -> tuple[Took, object]:
        """A value, a lease, or why there is neither; what comes with it."""
        args = token, b"%d" % ms, how, b"quiet" if quiet else b""
        try:
            took = _took(await self._tracked.upstream.run(TAKE, (key, lease_key(key)), args))
        except ProxyError as lost:
            if lost.outcome_unknown:  # a lease that was granted would be nobody's
                self._start(self.give_up(key, token))
            raise
        if took[0] is Took.LEASED:
            self._tracked.forget(lease_key(key))
        return took

    async def fill(
        self,
        key: bytes,
        token: bytes,
        value: bytes,
        expiry: Expiry | None,
        digest: bytes,
        touched: Callable[[], bool],
        left_ms: int = 0,
    ) -> bool:
        """Store under the lease; False where it is void, or less than ``left_ms`` are left of it.
        ``touched`` says, as the reply comes, whether the key was written meanwhile."""
        written = False

        def seen() -> None:
            # Now, not when this coroutine goes on: the push for our own fill is right behind.
            nonlocal written
            written = touched()
            self._tracked.forget(key, lease_key(key))

        words = expiry.words if expiry is not None else (b"", b"")
        left = [b"%d" % left_ms] if left_ms > 0 else []
        reply = await self._tracked.upstream.run(
            FILL, (key, lease_key(key)), (token, value, *words, digest, *left), seen
        )
        stored = number(reply, "a script")
        if stored and written:
            # The key was written and removed again while our fill was on its way: to the server it
            # looked untouched, and only its pushes tell.
            await self._undo(key, value)
            stored = 0
        if not stored:
            self._counts.add("fills_refused")
        return bool(stored)

    async def settle(
        self, key: bytes, token: bytes, mark: bytes, ms: int, digest: bytes = b""
    ) -> bool:
        """Give the lease up; where the server does not answer it ends by itself."""
        try:
            return await self.settled(key, token, mark, ms, digest)
        except ProxyError as error:
            event(log, logging.DEBUG, "lease not given up", error=error)
            return False

    async def settled(
        self, key: bytes, token: bytes, mark: bytes, ms: int, digest: bytes = b""
    ) -> bool:
        """The same for who has to know: ProxyError where the server does not answer."""
        reply = await self._tracked.upstream.run(
            SETTLE, (key, lease_key(key)), (token, mark, b"%d" % ms, digest)
        )
        self._tracked.forget(key, lease_key(key))
        return number(reply, "a script") > 0

    async def give_up(self, key: bytes, token: bytes) -> None:
        """Let others load at once."""
        await self.settle(key, token, b"", 0)

    async def take_back_fill(self, key: bytes, token: bytes, value: bytes) -> None:
        """A fill that may or may not have been done, and the pushes before it, are lost: it must
        not stand."""
        await self.give_up(key, token)
        with contextlib.suppress(ProxyError):  # it ends by its TTL
            await self._undo(key, value)

    async def _undo(self, key: bytes, value: bytes) -> None:
        await self._tracked.upstream.run(UNDO, (key,), (value,))
        self._tracked.forget(key)


def _took(reply: Value) -> tuple[Took, object]:
    """What take.lua said, and what comes with it. OddReply."""
    try:
        took = Took(reply[0] if isinstance(reply, list) and reply else None)
    except ValueError:
        raise OddReply("a script") from None
    _, *rest = items(reply, "a script", int, *_WITH[took])
    return took, rest[0] if rest else None


def new_token() -> bytes:
    return TOKEN + secrets.token_hex(16).encode()
