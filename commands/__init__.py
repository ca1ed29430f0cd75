"""The commands of the proxy's own: one module each, and one line here."""

from __future__ import annotations

from typing import Final

from . import getorset, invalidate, lease, lock, mgetorset, stats, warm

COMMANDS: Final = (
    getorset.SPEC,
    invalidate.SPEC,
    lease.SPEC,
    lock.SPEC,
    mgetorset.SPEC,
    stats.SPEC,
    warm.SPEC,
)
