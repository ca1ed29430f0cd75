"""Whom a lane talks to: the protocols that its pool, its owner and its listeners fulfil.

    Home       the pool that the lane came from                      lanes.Lanes
    Owner      the session that the lane was lent to                 session.Session
    Listener   who lives by the pushes of a tracked lane             tracked.TrackedLane
    Framing    which frames of a subscribed lane are messages        subscriptions.Channels

Owner and Home are generic in the lane, so that this module need not import it. Nothing here
runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from ..errors import ProxyError, UpstreamRefused
from ..hot.answers import Slot
from .lane_key import LaneKey

LaneT = TypeVar("LaneT", contravariant=True)


class Owner(Protocol[LaneT]):
    """The one that a lane was lent to."""

    def lane_pushed(self, lane: LaneT, frame: bytes) -> None:
        """Take a whole push, or a frame that no slot waits for."""

    def lane_raw(self, lane: LaneT, data: bytes) -> None:
        """Take bytes of a tunnel, as they came."""

    def lane_ends(self, lane: LaneT) -> None:
        """The connection is gone and the lane is about to fail its slots: send nothing more."""

    def lane_lost(self, lane: LaneT, why: ProxyError) -> None:
        """The connection is gone and the lane has failed its slots."""

    def lane_writable(self, lane: LaneT) -> None:
        """The lane takes data again after it was ``choked``."""

    def lane_free(self) -> None:
        """It is this one's turn to borrow: now, or not at all."""

    def lane_refused(self, why: ProxyError) -> None:
        """Its turn to borrow did not come in time."""


class Listener(Protocol):
    """One that lives by what a tracked lane is told, in the order in which it is told."""

    def pushed(self, frame: bytes) -> None:
        """Take a whole push: every reply before it has been handed over, and none behind it."""

    def opened(self) -> None:
        """A connection stands; ``lane.tracking`` says whether the server tells of changes."""

    def dropped(self) -> None:
        """The connection is gone, and the server has forgotten what was read on it."""

    def failing(self, why: ProxyError) -> None:
        """An attempt to connect has failed; others follow."""

    def does_without(self, slot: Slot, keys: Sequence[bytes]) -> bool:
        """Whether it is a read of these keys that can be answered without the server."""
        ...


class Home(Protocol[LaneT]):
    """The pool that a lane reports to."""

    def start(self, lane: LaneT) -> None:
        """Run ``lane.run()`` as a task, once."""

    def lane_moved(self, lane: LaneT) -> None:
        """The lane's state is another."""

    def lane_ready(self, lane: LaneT) -> None:
        """A connection stands and its handshake is done."""

    def lane_down(self, lane: LaneT, why: ProxyError) -> None:
        """The lane has used up its attempts to connect."""

    def lane_refused(self, lane: LaneT, why: UpstreamRefused) -> None:
        """The server answered the handshake with an error."""

    def lane_silent(self, lane: LaneT) -> None:
        """The host has accepted a connection, on which nobody says a word."""

    def suspected(self, lane: LaneT, why: str) -> None:
        """The lane owes replies and has said nothing for long; ``why`` is for its slots, if it is
        dead."""

    async def may_track(self, key: LaneKey) -> bool:
        """Whether the key's user may do what a tracked lane does, as far as it can be known
        without asking as that user: the server's ACL LOG would show it."""
        ...

    @property
    def paused(self) -> bool:
        """Whether requests wait in the server because a client wants it."""
        ...

    @property
    def silent(self) -> bool:
        """Whether the server accepts connections and says nothing: requests wait for it."""
        ...

    @property
    def down(self) -> ProxyError | None:
        """Why the upstream counts as down; None while it does not."""
        ...


class Framing(Protocol):
    """Tells replies from messages on a subscribed lane."""

    resp: int

    def unasked(self, frame: bytes, head: Slot | None) -> bool:
        """Whether no request waits for the frame. ``head`` is the slot that waits longest; for a
        frame that answers it, its ``want`` may be set."""
        ...

    @property
    def empty(self) -> bool:
        """Whether no subscription is left."""
        ...

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many channels, patterns and shard channels are subscribed."""
        ...

    @property
    def size(self) -> int:
        """Bytes of their names."""
        ...
