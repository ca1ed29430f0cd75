"""A client whose replies are large, or that does not read them: what that costs others, bounded.

    replies large ─▶ what follows goes to a lane of its own, where there is a place;
                     else to the shared one, one at a time
    on a shared lane now ─▶ others go elsewhere until it is answered (Lane.carry_heavy)
    not read ─▶ its lane is paused; a shared one is, where nobody else waits there,
                or where the bound of unread.py is reached: then it has to read, or is cut;
                beyond client_output_buffer it is cut in any case

Called by the session as bytes go to its socket, and by its berth when all is answered."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, cast

from ..hot.answers import STALL_CLIENT, WINDOW_BYTES, RunSlot
from ..hot.lane import LaneCore
from ..hot.near import NearReading
from ..resp.modes import Mode
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey
from .context import Context
from .reports import Reports
from .unread import overcome

# Others wait behind a client that does not read: after one look in which it has read nothing, or
# after so many in which it was too slow, it is cut.
LOOKS_MAX: Final = 10
LOOK_EVERY: Final = 0.5  # seconds
# Who was cut may not have been the only one: others are not made to wait again so soon.
IMPATIENT: Final = 10.0


class Weighed(Protocol):
    """The session."""

    context: Context
    wire: asyncio.Transport | None
    near: NearReading
    lane: LaneCore | None
    head: RunSlot | None
    mode: int
    stalls: int
    large: bool
    window: int
    reply_bytes: int

    def grow_large(self) -> None: ...
    def abort(self, why: str) -> None: ...


class Berthed(Protocol):
    """Its berth."""

    lane_key: LaneKey
    reports: Reports

    def choose_mode(self) -> None: ...


class Weight:
    __slots__ = ("_berth", "_held", "_large", "_looks", "_session", "_unread")

    def __init__(self, berth: Berthed, session: Weighed) -> None:
        self._berth = berth
        self._session = session
        self._large = False  # as the home mode was chosen
        self._unread = 0  # bytes, as last counted
        self._held: Lane | None = None  # not read from on our account, though others wait
        self._looks = 0

    def __repr__(self) -> str:
        return f"<Weight large={self._large} unread={self._unread}>"

    def weigh(self) -> None:
        """More has gone to the socket: of large replies, or of a client that does not read."""
        session = self._session
        if session.head is not None and (session.large or session.reply_bytes > WINDOW_BYTES):
            if not session.large:
                session.grow_large()
            passing = session.mode in (Mode.TRACKED, Mode.OWN)
            lane = session.near.lane if passing else session.lane
            if lane is not None:
                cast(Lane, lane).carry_heavy()
        if session.stalls & STALL_CLIENT:
            self.lag()

    def settle(self) -> None:
        """Nothing is outstanding: go the way that the sizes of our replies want."""
        session = self._session
        if session.large != self._large:
            self._large = session.large
            self._berth.choose_mode()
        if session.large and not session.context.lanes.room(self._berth.lane_key):
            session.window = 1

    def lag(self) -> None:
        """The client does not read."""
        session, unread = self._session, self._session.context.unread
        if session.wire is None or session.wire.is_closing():
            return
        lanes = self._lanes()
        for lane in lanes:
            lane.pause_reading(session)
        before, self._unread = self._unread, session.wire.get_write_buffer_size()
        too_much = unread.count(before, self._unread)
        if unread.passed(self._unread):
            self._cut(overcome(self._unread, "the hard one"))
            return
        if too_much and self._held is None:
            for lane in lanes:
                if not lane.paused and lane.waits_for(session):
                    self._hold(lane)
                    return

    def _hold(self, lane: Lane) -> None:
        """Read no further for those behind this client, for a while."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._session.context.unread.impatient_until:
            self._cut(self._slow)
            return
        lane.hold_reading(self._session)
        self._held, self._looks = lane, 0
        self._look_later()

    @property
    def _slow(self) -> str:
        return f"{self._unread} bytes of replies are not read while others wait"

    def _cut(self, why: str) -> None:
        self._session.context.clients.cut(self._session, why)

    def keep_up(self) -> None:
        """The client reads again, or is gone."""
        self._session.context.unread.count(self._unread, 0)
        self._unread = 0
        self._held = None
        for lane in self._lanes():
            lane.resume_reading(self._session)

    def _look_later(self) -> None:
        asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        """Whether others still wait, and whether the client reads."""
        session = self._session
        if self._held is None or session.wire is None:
            return
        if not self._held.others_wait(_lags):
            self._look_later()  # nobody is harmed
            return
        before, self._unread = self._unread, session.wire.get_write_buffer_size()
        session.context.unread.count(before, self._unread)
        self._looks += 1
        if self._unread >= before or self._looks >= LOOKS_MAX:
            session.context.unread.impatient_until = asyncio.get_running_loop().time() + IMPATIENT
            self._cut(self._slow)
        else:
            self._look_later()

    def _lanes(self) -> list[Lane]:
        """Those that replies for us may come from."""
        lanes = self._session.lane, self._session.near.lane
        return [cast(Lane, lane) for lane in lanes if lane is not None]


def _lags(reader: object) -> bool:
    """Whether this one, too, does not read."""
    return bool(getattr(reader, "stalls", 0) & STALL_CLIENT)
