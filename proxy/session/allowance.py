"""What the server keeps for a client, and the proxy with it, bounded for each client.

    SUBSCRIBE ─▶ more channels than ``subscriptions``, or NAMES_MAX bytes of them: refused whole
    MULTI ─▶ more than ``multi`` bytes queued: what follows is refused, and EXEC aborts

What was there before stays as it is. hot/sending.py asks for each request that is queued,
acts/pubsub.py for each SUBSCRIBE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from ..errors import MULTI_FULL
from ..resp.requests import encode
from ..upstream.ports import Framing
from .transaction import Transaction

NAMES_MAX: Final = 64 * 1024 * 1024  # bytes, as of a request that the proxy reads itself
# No server has it: it is queued as a mistake, so that EXEC aborts as after any other.
_MISTAKE: Final = encode([b"NEARHIT.MULTI"])


class Queueing(Protocol):
    """A session in MULTI."""

    queued_bytes: int

    @property
    def transaction(self) -> Transaction: ...

    def say(self, text: bytes) -> None: ...
    def peek(self, data: bytes, seen: Callable[[bytes], bytes]) -> None: ...


@dataclass(slots=True)
class Allowance:
    subscriptions: int = 100_000
    multi: int = 1 << 30  # bytes, from when on the next request is refused

    def may_subscribe(self, framing: Framing | None, names: list[bytes]) -> bool:
        """Whether so many more are within the bounds; one that stands is counted again."""
        count = sum(framing.counts) if framing is not None else 0
        size = framing.size if framing is not None else 0
        return count + len(names) <= self.subscriptions and size + sum(map(len, names)) <= NAMES_MAX

    def refuses(self, session: Queueing, count: int) -> bool:
        """Whether a session may queue no more; so many requests have been answered so then, and
        the first of all has had the transaction spoilt."""
        if session.queued_bytes <= self.multi:
            return False
        if not session.transaction.full:
            session.transaction.full = True
            session.peek(_MISTAKE, lambda reply: MULTI_FULL if reply.startswith(b"-") else reply)
            count -= 1
        for _ in range(count):
            session.say(MULTI_FULL)
        return True
