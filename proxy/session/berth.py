"""Where a session's requests go: its lane, why it keeps one of its own, and its home mode.

    no lane ── attach ──▶ shared lane (users + 1) ── unpin ──▶ no lane
       └─────── pin ────▶ lent lane, ours alone ─── unpin ──▶ clean: to the pool; tainted: closed

A lane of our own is kept for as long as anything is held (reasons.py) or outstanding. Order: a
session uses one lane at a time; another may be taken only when nothing is outstanding. What a
lent lane reports comes by reports.py. Used by Session and by acts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from ..errors import ProxyError
from ..hot.lane import LaneCore
from ..log import event
from ..resp.modes import Mode
from ..upstream.ask import Reply
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey, Use
from .flags import flags_of, postponed
from .moored import Moored
from .reasons import (
    HOLD_BLOCKED,
    HOLD_MULTI,
    HOLD_REPLICA,
    HOLD_SUBSCRIBED,
    HOLD_TUNNEL,
    HOLD_UPLOAD,
    STALL_DRAIN,
    STALL_LANE,
    STALL_PLACE,
    STALL_REPLY,
    STALLS_OF_BYTES,
)
from .reports import Reports
from .tunnel import Held, Passing, Tunnel
from .weight import Weight

log = logging.getLogger(__name__)

# Seconds after which a client looks again whether the near cache has room for its db and user.
AGAIN: Final = 10.0


class Berth:
    __slots__ = (
        "_running", "_session", "blocking", "holds", "lane_key", "refusal", "reports", "sending",
        "tunnel", "vouched", "weight",
    )  # fmt: skip

    def __init__(self, session: Moored, lane_key: LaneKey) -> None:
        self._session = session
        self.lane_key = lane_key
        self.reports = Reports(self, session)
        self.weight = Weight(self, session)
        self.holds = self.blocking = 0  # the latter: blocking commands outstanding
        self.sending = 0  # bytes of the proxy's own commands outstanding that their like may follow
        self.tunnel: Tunnel | None = None
        self._running: set[asyncio.Task[None]] = set()  # what ends with the client
        self.vouched = session.context.lanes.dial.moves  # WAIT tells of writes since then
        self.refusal: ProxyError | None = None  # why no lane could be borrowed

    def __repr__(self) -> str:
        return f"<Berth db={self.lane_key.db} holds={self.holds} {self.lane!r}>"

    @property
    def lane(self) -> Lane | None:
        return cast("Lane | None", self._session.lane)

    @lane.setter
    def lane(self, lane: Lane | None) -> None:
        self._session.lane = lane

    @property
    def mode(self) -> int:
        return self._session.mode

    @property
    def queued(self) -> int:
        """Commands queued since MULTI; -1 outside of it."""
        return self._session.queued

    @queued.setter
    def queued(self, count: int) -> None:
        self._session.queued = count
        if count <= 0:
            self._session.queued_bytes = 0

    @property
    def quiet(self) -> bool:
        """Whether nothing is outstanding."""
        return self._session.head is None

    @property
    def left(self) -> bool:
        """Whether the client is gone."""
        return self._session.closed

    @property
    def own(self) -> Lane | None:
        """The lane where it is ours alone."""
        lane = self.lane
        return lane if lane is not None and lane.lent else None

    @property
    def leaving(self) -> bool:
        """Whether the client has said that it sends no more: it must not begin to wait for
        anything."""
        return self._session.eof

    @property
    def subscriptions(self) -> tuple[int, int, int]:
        """Channels, patterns and shard channels subscribed."""
        framing = self.lane.framing if self.lane is not None else None
        return framing.counts if framing is not None else (0, 0, 0)

    @property
    def user(self) -> bytes:
        """The upstream user that our commands run as."""
        if self.lane_key.user is not None:
            return self.lane_key.user.name
        return (self._session.context.lanes.dial.upstream.username or "default").encode()

    @property
    def flags(self) -> str:
        """CLIENT LIST's flags."""
        holds = self.holds | (HOLD_BLOCKED if self.postponed else 0)
        return flags_of(holds) + self._session.identity.marks or "N"

    @property
    def postponed(self) -> bool:
        """Whether the server keeps a write waiting for the end of CLIENT PAUSE."""
        return not self.quiet and postponed(self._session)

    # --- Taking and leaving a lane --------------------------------------------------------------

    def idle(self) -> bool:
        """Whether nothing is outstanding; if something is, the session stalls until it is
        answered."""
        if self.quiet:
            return True
        self._session.stall(STALL_DRAIN)
        return False

    def attach(self) -> Lane:
        """The shared lane of our key; while writes are paused or our replies large, one of ours."""
        self.unpin()
        own = self._apart()
        if own is not None:
            return own
        lane = self.lane = self._session.context.lanes.free(self.lane_key)
        self._session.at_drain |= self._stays_not(lane)
        lane.users += 1
        return lane

    def _apart(self) -> Lane | None:
        lanes = self._session.context.lanes
        apart = lanes.writes_paused or self._session.large
        own = lanes.borrow_now(self.lane_key, self.reports) if apart else None
        if own is not None:
            self.lane = own
            self._session.at_drain = True
        return own

    def take_pause(self) -> None:
        """Whether writes are paused may have changed."""
        self.choose_mode()
        if self.lane is not None and not self.lane.lent:
            self._session.at_drain = True  # to leave it, while they are
            if self.quiet:
                self.settle()

    def pin(self, key: LaneKey | None = None) -> bool:
        """Take a lane of our own; False: not yet, something is outstanding on a shared one, or
        there is no place. ProxyError: there was none for too long, or the server is away."""
        lane = self.lane
        if lane is not None and lane.lent:
            return True
        if not self.idle():
            return False
        refusal, self.refusal = self.refusal, None
        if refusal is not None:
            raise refusal
        own = self._session.context.lanes.borrow(key or self.lane_key, self.reports)
        if own is None:
            self._session.stall(STALL_PLACE)
            return False
        if lane is not None:
            lane.users -= 1
        self.lane = own
        self._session.at_drain = True
        return True

    def pin_now(self) -> bool:
        """Take a lane of our own, for another's sake; False: not now."""
        if self.own is not None or not self.quiet:
            return self.own is not None
        own = self._session.context.lanes.borrow_now(self.lane_key, self.reports)
        if own is not None:
            self.unpin()
            self.lane = own
        return own is not None

    def unpin(self) -> None:
        """Give the lane back; it is clean, or tainted."""
        lane, self.lane = self.lane, None
        if lane is not None and lane.lent:
            self._session.context.lanes.give_back(lane)
            if (written := self._session.written) is not None:
                written.wrote_any()  # nobody has looked into what went there
        elif lane is not None:
            lane.users -= 1

    def run_scripts(self) -> None:
        """Go to the lane for scripts until all is answered; nothing is outstanding now."""
        self.unpin()
        if self._apart() is not None:
            return
        self.lane = self._session.context.lanes.shared(replace(self.lane_key, use=Use.SCRIPTS))
        self.lane.users += 1
        if self.mode in (Mode.NEAR, Mode.FAR):
            self._session.become(Mode.SCRIPTING)
        self._session.at_drain = True

    def rekey(self, key: LaneKey) -> None:
        """Go on under another db, RESP version or user; a lane of our own has changed with us."""
        lane = self.lane
        if lane is not None and lane.lent:
            lane.key = key
            if lane.framing is not None:
                lane.framing.resp = key.resp
        elif lane is not None:
            self.unpin()
        self.lane_key = key
        if self._session.near.lane is not None:
            self.find_tracked()
        self.choose_mode()

    def settle(self) -> None:
        """Nothing is outstanding: a lane that nothing holds goes back."""
        self.weight.settle()
        lane = self.lane
        if lane is None:
            return
        if lane.lent:
            self._session.at_drain = True
            if lane.framing is not None and lane.framing.empty:
                lane.unsubscribe()
                self.let_go(HOLD_SUBSCRIBED)
            if not self.holds:
                self.unpin()
        elif lane.key.use is Use.SCRIPTS:
            self.unpin()
            self._session.become(self._session.home)
        elif self._stays_not(lane):
            self.unpin()

    def _stays_not(self, lane: Lane) -> bool:
        """Whether a shared lane is left when all is answered: there may be a better one by then."""
        paused = self._session.context.lanes.writes_paused
        return paused or self._session.large or lane.key.use is Use.ASIDE

    def leave(self) -> None:
        """The client is gone."""
        for task in self._running:
            task.cancel()
        self.weight.keep_up()
        self._session.context.lanes.leave_line(self.reports)
        self.close_tunnel()
        lane, self.lane = self.lane, None
        if lane is not None:
            if lane.lent:
                # With it go MULTI, WATCH, a wait: no element is popped for nobody.
                lane.tainted |= bool(self.holds or self._session.head is not None)
                self._session.context.lanes.give_back(lane)
            else:
                lane.users -= 1

    def run(self, work: Coroutine[Any, Any, None], finishes: bool = False) -> None:
        """Run it as a task, which ends with the client unless it has to finish."""
        task = self._session.context.start(work)
        if not finishes:
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    # --- Holds and modes ------------------------------------------------------------------------

    def hold(self, why: int) -> None:
        self.holds |= why
        self.choose_mode()

    def let_go(self, why: int) -> None:
        self.holds &= ~why
        self.choose_mode()

    def choose_mode(self) -> None:
        """Which requests the kernel may forward unseen, in the state we are in."""
        session = self._session
        session.flat = self.lane_key.resp == 2
        session.near.cache = session.context.near
        session.near.space = None
        home = self._home()
        if home is Mode.NEAR:
            self.find_tracked()
        session.live_in(session.context.maps(self.lane_key, near=home is Mode.NEAR), home)

    def _home(self) -> Mode:
        session = self._session
        if session.context.lanes.locked(self.lane_key):
            return Mode.LOCKED
        if self.holds & HOLD_MULTI:
            return Mode.QUEUEING
        if self.holds & HOLD_SUBSCRIBED and self.lane_key.resp == 2:
            return Mode.SUBSCRIBED
        far = self.holds or session.large or not session.context.table.ours.near
        # The tracked lane carries scripts of our own, which may be waiting there.
        return Mode.FAR if far or session.context.lanes.writes_paused else Mode.NEAR

    def find_tracked(self) -> Lane:
        """The tracked lane and the space that it fills, of the db and user that we have now."""
        near, context = self._session.near, self._session.context
        tracked = context.scopes.scope(self.lane_key).tracked
        near.space, lane = tracked.filled()
        near.again = context.turn.now + AGAIN if tracked.crowded else 0.0
        near.moved(lane)
        return lane

    # --- Bytes that are no requests ---------------------------------------------------------------

    def enter_tunnel(self, *, opening: bool = False, leases: Sequence[bytes] = ()) -> None:
        """From now on bytes pass both ways as they are, for as long as the connection lasts.
        ``opening``: if the server's answer is no error; until then the client waits."""
        assert self.lane is not None
        assert self.lane.lent
        self.lane.enter_tunnel()
        self.tunnel = Tunnel(self._session.context, self.lane_key, opening=opening, leases=leases)
        self._session.stalls &= STALLS_OF_BYTES
        self.hold(HOLD_TUNNEL)
        if opening:
            self._session.stall(STALL_REPLY)
        else:
            self._session.odd = True

    def leave_tunnel(self) -> None:
        """It was none: the connection is as it was before the request."""
        assert self.lane is not None
        self.lane.leave_tunnel()
        self.close_tunnel()
        self.let_go(HOLD_TUNNEL | HOLD_REPLICA)
        self._session.stalls &= ~STALL_REPLY
        self._session.drained()

    def close_tunnel(self) -> None:
        tunnel, self.tunnel = self.tunnel, None
        if tunnel is not None:
            tunnel.close()

    def through(self, data: bytes) -> None:
        """More of what the client sends into a tunnel."""
        lane, tunnel = self.lane, self.tunnel
        if lane is None or tunnel is None:
            return
        todo = tunnel.watch(data)
        if isinstance(todo, Passing):
            self._pass(lane, data)
        elif isinstance(todo, Held):
            self._pass_behind(lane, data, todo)
        else:
            event(
                log,
                logging.INFO,
                "client cut",
                client=self._session.identity.id,
                reason="nobody can tell what it writes in its tunnel",
            )
            self._session.close()

    def _pass(self, lane: Lane, data: bytes) -> None:
        lane.send_part(data)
        if lane.choked:
            self.wait_for(lane)

    def _pass_behind(self, lane: Lane, data: bytes, held: Held) -> None:
        """Pass the bytes on when the leases are gone; the client waits."""
        session, wanted = self._session, len(held.keys)
        session.odd = False
        session.stall(STALL_REPLY)

        def deleted(_: Reply) -> None:
            nonlocal wanted
            wanted -= 1
            if not wanted and self.lane is lane:
                self._pass(lane, data)
                session.odd = True
                session.resume(STALL_REPLY)

        for key in held.keys:
            session.context.lanes.shared(key).ask(deleted, b"DEL", *held.leases)

    # --- Flow control -----------------------------------------------------------------------------

    def wait_for(self, lane: LaneCore) -> None:
        """Parse on when the lane takes more."""
        assert isinstance(lane, Lane)
        self._session.stalls |= STALL_LANE
        lane.waiting_for_room.append(self.reports)
        if self.holds & (HOLD_TUNNEL | HOLD_UPLOAD):
            self._session.stop_reading()
