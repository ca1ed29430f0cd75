"""The commands of the proxy's own: one module each, and one line here."""

from __future__ import annotations

from typing import Final

from . import getorset, jobs, lease, lock, mgetorset, stats

COMMANDS: Final = (
    getorset.SPEC,
    jobs.INVALIDATE,
    lease.SPEC,
    lock.SPEC,
    mgetorset.SPEC,
    stats.SPEC,
    jobs.WARM,
)
