"""What the server says of a lock, and what that is worth to a client. Values: nothing here asks.

Used by locks.py, which asks one server, and quorum.py, which asks several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..custom.words import MS_MAX
from ..errors import OddReply
from ..keys.ours import fence_key, grant_key, lock_key
from ..resp.replies import Value, items
from ..resp.requests import integer_of

# A fence outlives its lock, so that it is the same for whoever asks again; longer than that it need
# not stay: the next one is the server's time or more.
FENCE_MS: Final = 86_400_000
# The latest time there is, less the present one (spec.milliseconds).
FENCE_MS_MAX: Final = MS_MAX - 2**42

# What a lock is worth less than the server's clock says: clocks drift apart (Redlock's numbers).
DRIFT_PARTS: Final = 100
DRIFT_MS: Final = 2


@dataclass(slots=True)
class Grant:
    """A lock that was acquired (custom/spec.py, Grant)."""

    token: bytes
    fence: int
    valid_ms: int


@dataclass(frozen=True, slots=True)
class Taken:
    """The token holds the lock; ``new``: since this call, and nobody has asked with the token
    since. ``sent``: when the attempt was begun."""

    fence: int
    new: bool
    sent: float


@dataclass(frozen=True, slots=True)
class Held:
    """Another holds it, for so long: PTTL's number."""

    ms: int


Answer = Taken | Held


def answer_of(reply: Value, sent: float) -> Answer:
    """What lock_acquire.lua said. OddReply."""
    if isinstance(reply, list) and len(reply) == 2:
        free, ms = items(reply, "a script", int, int)
        if free == 0:
            return Held(ms)
    _, digits, new = items(reply, "a script", int, bytes, int)
    fence = integer_of(digits)
    if fence is None:
        raise OddReply("a script")
    return Taken(fence, new > 0, sent)


def drift_ms(ttl_ms: int) -> int:
    return -(-ttl_ms // DRIFT_PARTS) + DRIFT_MS


def fence_ms(ttl_ms: int) -> bytes:
    """For how long the fence of a lock is kept."""
    return b"%d" % min(max(FENCE_MS, 2 * ttl_ms), FENCE_MS_MAX)


def keys_of(resource: bytes) -> tuple[bytes, bytes, bytes]:
    """The keys of a lock, in the order in which scripts take them."""
    return lock_key(resource), fence_key(resource), grant_key(resource)
