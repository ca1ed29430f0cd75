"""What lanes report to the session that has one of its own, or waits for one (upstream's Owner).

    pushes, bytes of a tunnel ─▶ the client
    the lane's end ─▶ the client's too, if it had state or waited in the server
    room to write, a place to borrow ─▶ the session parses on

Made by Berth, which decides what lane a session has."""

from __future__ import annotations

import logging
from typing import Final, Protocol

from ..errors import ProxyError
from ..log import event
from ..upstream.lane import Lane
from ..upstream.monitoring import Monitoring
from .context import Context
from .identity import Identity
from .reasons import (
    HOLD_BLOCKED,
    HOLD_TUNNEL,
    HOLD_UPLOAD,
    HOLDS_STATE,
    STALL_DRAIN,
    STALL_END,
    STALL_LANE,
    STALL_PLACE,
    STALL_REPLY,
)
from .tunnel import Tunnel

log = logging.getLogger(__name__)

# Of a client whose invalidations went to another one that has gone; the id is that one's lane's.
_BROKEN: Final = b">2\r\n$21\r\ntracking-redir-broken\r\n:"


class Told(Protocol):
    """The session that hears of it."""

    context: Context
    identity: Identity
    stalls: int
    at_drain: bool
    odd: bool

    def write(self, data: bytes) -> None: ...
    def resume(self, reason: int) -> None: ...
    def take_rest(self) -> bytes: ...
    def close(self) -> None: ...
    def start_reading(self) -> None: ...


class Berthed(Protocol):
    """Its berth."""

    holds: int
    tunnel: Tunnel | None
    refusal: ProxyError | None

    @property
    def lane(self) -> Lane | None: ...
    @lane.setter
    def lane(self, lane: Lane | None) -> None: ...
    def let_go(self, why: int) -> None: ...
    def leave_tunnel(self) -> None: ...
    def close_tunnel(self) -> None: ...


class Reports:
    __slots__ = ("_berth", "_session")

    def __init__(self, berth: Berthed, session: Told) -> None:
        self._berth = berth
        self._session = session

    def __repr__(self) -> str:
        return f"<Reports {self._berth!r}>"

    def lane_pushed(self, lane: Lane, frame: bytes) -> None:
        if isinstance(lane.framing, Monitoring):
            frame = lane.framing.shown(frame, self._session.context.turn.clock())
        elif frame.startswith(_BROKEN):
            frame = _BROKEN + b"%d\r\n" % self._session.identity.redirect
        if frame:
            self._session.write(frame)

    def lane_raw(self, lane: Lane, data: bytes) -> None:
        self._session.write(data)
        tunnel = self._berth.tunnel
        if tunnel is None or not tunnel.opening:
            return
        if tunnel.heard(data):
            self._berth.leave_tunnel()
        elif not tunnel.opening:
            self._session.odd = True
            self._session.resume(STALL_REPLY)

    def lane_ends(self, lane: Lane) -> None:
        if self._berth.lane is not lane:
            return
        if self._berth.holds & HOLDS_STATE:
            # What is still to come was meant for the state that is lost: none of it may run
            # elsewhere.
            self._session.stalls |= STALL_END
            self._session.at_drain = True
            self._session.take_rest()
        elif self._berth.holds & HOLD_BLOCKED and lane.patient and lane.owes:
            # It waited in the server, and hears what a server's own clients hear of its end: that
            # of the connection. For an error in place of an element the workers of Celery and RQ
            # end themselves; a lost connection they make anew.
            self._close(lane.why)

    def lane_lost(self, lane: Lane, why: ProxyError) -> None:
        if self._berth.lane is not lane:
            return
        self._berth.lane = None
        self._berth.close_tunnel()
        self._session.context.lanes.give_back(lane)
        if self._berth.holds & HOLDS_STATE:
            self._close(why)
            return
        self._berth.let_go(HOLD_BLOCKED)
        self._session.resume(STALL_DRAIN)

    def _close(self, why: ProxyError) -> None:
        client, reason = self._session.identity.id, "its lane is lost"
        event(log, logging.INFO, "client closed", client=client, reason=reason, error=why)
        self._session.close()

    def lane_free(self) -> None:
        self._session.resume(STALL_PLACE)

    def lane_refused(self, why: ProxyError) -> None:
        self._berth.refusal = why
        self._session.resume(STALL_PLACE)

    def lane_writable(self, lane: Lane) -> None:
        if self._berth.holds & (HOLD_TUNNEL | HOLD_UPLOAD):
            self._session.start_reading()
        self._session.resume(STALL_LANE)
