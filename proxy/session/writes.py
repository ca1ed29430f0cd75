"""What a write that passes does before it is sent, beside what the near cache forgets.

Two owners, one for each thing that a write makes old: the near cache's replies are forgotten as the
write is sent and again by the slot that waits for its reply; loads are void from here on.
Called by acts and by uploads."""

from __future__ import annotations

from collections.abc import Sequence

from ..hot.fills import forget
from ..keys.ours import lease_key
from ..upstream.ask import drop
from .berth import Berth
from .context import Context
from .reasons import HOLD_MULTI


def begin_write(context: Context, berth: Berth, keys: Sequence[bytes]) -> list[bytes]:
    """These keys are about to be written: no load of them may be joined from now on, and their
    leases are deleted first, so that no load that began before can store behind the write. Inside
    MULTI nothing is sent: the leases that EXEC must see deleted."""
    context.scopes.void(berth.lane_key, keys)
    leases = [lease_key(key) for key in keys if context.loaders.manages(key)]
    if leases and context.near is not None:
        forget(context.near, leases)
    if leases and not berth.holds & HOLD_MULTI:
        (berth.lane or berth.attach()).ask(drop, b"DEL", *leases)
    return leases
