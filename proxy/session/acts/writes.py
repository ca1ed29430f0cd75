"""Writes, and scripts, which may write what their keys name."""

from __future__ import annotations

from ...resp.requests import encode
from ...table.table import READS
from ...upstream.lane_key import Use
from ..conducted import Conducted
from ..reasons import HOLD_MULTI
from ..writes import begin_write
from .plain import forward, write_any


def scripted(session: Conducted, args: list[bytes]) -> bool:
    """On the lane for scripts, where only other scripts wait behind a long one. It waits for what
    is outstanding elsewhere: that keeps the order."""
    berth = session.berth
    lane = berth.lane
    if berth.own is None and (lane is None or lane.key.use is not Use.SCRIPTS):
        if not berth.idle():
            return False
        berth.run_scripts()
    return write(session, args)


def write(session: Conducted, args: list[bytes]) -> bool:
    """Void the loads first: one that began before the write must not store behind it."""
    name = args[0].upper()
    if name == b"GETEX" and len(args) == 2:
        return forward(session, args)  # without an option it only reads
    keys = session.context.table.written(args)
    leases = begin_write(session.context, session.berth, keys or [])
    if session.context.swapping.may_swap(args):
        keys = None
    if session.berth.holds & HOLD_MULTI:
        session.transaction.writes(keys, leases)
        return forward(session, args)
    if keys is None:
        write_any(session, args)
    else:
        session.forward(encode(args), reads=int(name in READS), keys=keys)
    return True


def load(session: Conducted, args: list[bytes]) -> bool:
    """SCRIPT LOAD, FUNCTION LOAD: what the text says is of interest when it runs."""
    session.context.swapping.loaded(args)
    return forward(session, args)
