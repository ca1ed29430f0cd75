"""Clients as CLIENT sees them, without a connection: what tests of session/ put into a list."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nearhit.proxy.session.clients import Traffic
from nearhit.proxy.session.transaction import Transaction
from nearhit.proxy.session.waiting import Waiting
from nearhit.proxy.upstream.lane import Lane
from nearhit.proxy.upstream.lane_key import LaneKey


@dataclass(eq=False)
class Someone:
    """What a session shows of itself."""

    id: int = 0
    lane_key: LaneKey = field(default_factory=LaneKey)
    name: bytes = b""
    library: tuple[bytes, bytes] = (b"", b"")
    peer: str = "10.0.0.1:5000"
    local: str = "10.0.0.2:6380"
    born: float = 100.0
    active: float = 100.0
    last: bytes = b""
    lane: Lane | None = None
    blocking: int = 0
    queued: int = -1
    queued_bytes: int = 0
    holds: int = 0
    waits: Waiting = field(default_factory=Waiting)
    capa: str = ""
    traffic: Traffic = field(default_factory=Traffic)
    transaction: Transaction = field(default_factory=Transaction)
    mute: int = 0
    redirect: int = -1
    asks: int = -1
    flags: str = "N"
    subscriptions: tuple[int, int, int] = (0, 0, 0)
    ended: bool = False
    cut: str = ""
    postponed: bool = False

    @property
    def user(self) -> bytes:
        return self.lane_key.user.name if self.lane_key.user else b"default"

    @property
    def identity(self) -> Any:
        """Its own: the fake is flat."""
        return self

    @property
    def berth(self) -> Any:
        return self

    def stall(self, reason: int) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    def drain(self) -> bool:
        return True

    def abort(self, why: str) -> None:
        self.cut = why
