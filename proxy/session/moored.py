"""What a berth (berth.py) needs of the session that it is of."""

from __future__ import annotations

import asyncio
from typing import Protocol

from ..cluster.written import Written
from ..hot.answers import RunSlot
from ..hot.lane import LaneCore
from ..hot.near import NearReading
from ..resp.kernel import RouteMap
from .context import Context
from .identity import Identity


class Moored(Protocol):
    """The session that a berth is of: its state, and how it is told to wait, go on and end."""

    context: Context
    identity: Identity
    near: NearReading
    lane: LaneCore | None
    mode: int
    home: int
    head: RunSlot | None
    stalls: int
    at_drain: bool
    odd: bool
    closed: bool
    last: bytes
    queued: int
    queued_bytes: int
    flat: bool
    eof: bool
    large: bool
    window: int
    owed: int
    reply_bytes: int
    wire: asyncio.Transport | None
    written: Written | None

    def grow_large(self) -> None: ...
    def abort(self, why: str) -> None: ...
    def become(self, mode: int) -> None: ...
    def live_in(self, maps: list[RouteMap], home: int) -> None: ...
    def write(self, data: bytes) -> None: ...
    def stall(self, reason: int) -> object: ...
    def resume(self, reason: int) -> None: ...
    def take_rest(self) -> bytes: ...
    def drained(self) -> None: ...
    def close(self) -> None: ...
    def stop_reading(self) -> None: ...
    def start_reading(self) -> None: ...
