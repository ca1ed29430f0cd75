"""A session as acts see it, and acts as a session sees them: fifteen names, and no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ..errors import ProxyError
from ..hot.answers import Answers, RunSlot, Slot
from ..hot.near import NearReading
from ..hot.own import OwnReads
from ..resp.routes import Route
from ..upstream.lane import Lane
from .berth import Berth
from .clients import Client
from .context import Context
from .transaction import Transaction


class Conducted(Protocol):
    """A session as acts see it: these names, and no others. Session has the docstrings."""

    @property
    def context(self) -> Context: ...
    @property
    def answers(self) -> Answers: ...
    @property
    def client(self) -> Client: ...
    @property
    def mode(self) -> int: ...
    @property
    def berth(self) -> Berth: ...
    @property
    def transaction(self) -> Transaction: ...
    @property
    def near(self) -> NearReading: ...

    mute: int

    def stall(self, reason: int) -> Callable[[], None]: ...
    def say(self, text: bytes, near_bytes: int = 0) -> None: ...
    def reads_near(self) -> bool: ...
    def take_place(self, slot: RunSlot, mode: int | None = None) -> None: ...
    def send(self, data: bytes, slot: Slot, lane: Lane | None = None) -> None: ...
    def forward(
        self, data: bytes, count: int = 1, reads: int = 0, keys: list[bytes] | None = ...
    ) -> None: ...
    def peek(
        self,
        data: bytes,
        seen: Callable[[bytes], bytes],
        lane: Lane | None = None,
        lost: Callable[[ProxyError], bytes] = ...,
    ) -> None: ...


class Conduct(Protocol):
    """What requests other than PLAIN do (acts/conduct.py)."""

    def __call__(self, session: Conducted, route: Route, args: list[bytes]) -> bool:
        """Act on the request; False where it must wait: the session has been stalled, nothing was
        done."""
        ...


class Shortcut(Protocol):
    """What some routes do with the bytes alone."""

    def __call__(self, session: Conducted, data: bytes, pos: int) -> int:
        """Act on the request that begins at pos; the offset behind what was done, 0: nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Acts:
    """What Session.special calls: the table of acts, and shortcuts by route; and what the reads of
    GETORSET call."""

    conduct: Conduct
    shortcuts: Mapping[int, Shortcut]
    own: OwnReads
