"""All lanes: the shared ones by key, the warm ones to lend, and the health of the upstream.

    shared   one per key (db, RESP version, user, use), many sessions
    warm     idle lanes of a key; ``borrow`` takes the last used, ``give_back`` returns a clean one
    asking   one lane without any login, on which AUTH is asked: it never carries anything else

Lanes that are lent, and those kept warm for it, are bounded (``pinned_max``), and connect only when
no shared one waits for its connection, a few at a time: who blocks must not starve everybody else.
Who finds no place waits in line (``_line``), for ``pinned_wait`` seconds at most.

A lane that is lent comes back as it was lent: whoever changed its state marks it ``tainted``, and
it is closed. Refuses to choose: sessions and tracked.py say which lane they want."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from itertools import chain, count
from typing import Any, Final

from ..errors import NoPlace, ProxyError, UpstreamRefused
from ..hot.lane import LaneState
from ..log import event
from .dial import Dial
from .doubts import Doubts, Second
from .lane import Lane
from .lane_key import LaneKey, Use
from .may_track import may_track
from .newcomers import Newcomers
from .pause import Pause
from .ports import Home, Owner
from .spare import Spares

log = logging.getLogger(__name__)

# Seconds after which a shared lane that no session uses is closed, or a warm one not borrowed.
IDLE_TICKS: Final = 60

# So many lanes to lend connect at once: after a restart all who blocked come back together.
DIALS_MAX: Final = 16
# Of the server's connections so many, and at least a quarter, are not for lending.
RESERVED: Final = 32
# Where the server does not tell how many connections it takes.
PINNED_DEFAULT: Final = 512

# Beyond so many shared lanes those unused for EVICT_TICKS seconds are closed, beyond so many more
# all that are unused. Sooner, requests of a client that goes around its dbs would each cost one.
SHARED_MAX: Final = 64
SHARED_MOST: Final = 2048
EVICT_TICKS: Final = 10

Start = Callable[[Coroutine[Any, Any, None]], object]


class Lanes:
    """The pool that every lane comes from and reports to (ports.Home).

    ``down`` is why the upstream counts as down; None while it does not."""

    def __init__(
        self,
        dial: Dial,
        start: Start,
        *,
        timeout_s: float,
        most_s: float | None = None,
        offline_max: int,
        pinned_max: int | None = None,
        pinned_wait: float = 5.0,
        lane: Callable[..., Lane] = Lane,
        on_ready: Callable[[Lane], None],
        on_refused: Callable[[Lane, UpstreamRefused], None],
    ) -> None:
        self.dial = dial
        self.down: ProxyError | None = None
        self.pause = Pause()
        self._pause_end: asyncio.TimerHandle | None = None
        self.primary_key = LaneKey(db=dial.upstream.db)
        self.newcomers = Newcomers(self.asking, dial.upstream)
        self._start = start
        self.pinned_max = pinned_max or PINNED_DEFAULT
        self._pinned_set = pinned_max is not None
        self._pinned_wait = pinned_wait
        self._timeout_s, self._most_s = timeout_s, most_s
        self._offline_max, self._spoken = offline_max, False  # whether a connection has stood
        self._doubts = Doubts(self._second, start, dial.address, dial.wake)
        self._on_ready, self._on_refused = on_ready, on_refused
        self._numbers, self._lane = count(1), lane
        self._shared: dict[LaneKey, Lane] = {}
        self._evict_at = SHARED_MAX  # of these
        self._coming = set[Lane]()  # of these, those whose connection is still to stand
        self._warm: defaultdict[LaneKey, list[Lane]] = defaultdict(list)
        self._lent: set[Lane] = set()
        self._spares = Spares(self.give_back)
        self._dialling: set[Lane] = set()  # of those that are lent
        self.line = OrderedDict[Owner[Lane], tuple[LaneKey, float]]()  # and until when
        self._called: Owner[Lane] | None = None  # whose turn it is
        self._bad = 0  # lanes lent in a row that failed, or did not last
        self._dial_at = 0.0  # none connects before
        self._loop = asyncio.get_running_loop()
        self._asking: Lane | None = None

    def __repr__(self) -> str:
        warm = sum(map(len, self._warm.values()))
        return f"<Lanes shared={len(self._shared)} lent={len(self._lent)} warm={warm}>"

    def __len__(self) -> int:
        """How many connections stand."""
        return sum(lane.state is LaneState.READY for lane in self.every())

    def every(self) -> Iterator[Lane]:
        asking = () if self._asking is None else (self._asking,)
        return chain(self._shared.values(), self._lent, *self._warm.values(), asking)

    # --- Lending ------------------------------------------------------------------------------

    def shared(self, key: LaneKey) -> Lane:
        """The lane that all sessions of the key share."""
        lane = self._shared.get(key)
        if lane is None or lane.state is LaneState.CLOSED:
            if len(self._shared) >= self._evict_at:
                self._evict()
            lane = self._shared[key] = self._new(key)
        return lane

    def free(self, key: LaneKey) -> Lane:
        """The same; while large replies are on their way there, another."""
        lane = self.shared(key)
        return self.shared(replace(key, use=Use.ASIDE)) if lane.done < lane.heavy else lane

    def room(self, key: LaneKey) -> bool:
        """Whether a lane would be lent now."""
        return self.down is None and not self.line and self._has_place(key)

    def _evict(self) -> None:
        """Close the shared lanes that nobody needs: a client may come as a thousand users."""
        most = len(self._shared) >= SHARED_MOST
        for lane in list(self._shared.values()):
            busy = lane.users or lane.owes or lane.offline
            # One that is listened to would only be made again, for each look at its near cache.
            kept = lane.listener or lane.state in (LaneState.READY, LaneState.CONNECTING)
            if not busy and (most or not kept or lane.idle_ticks >= EVICT_TICKS):
                lane.close()
        self._forget_closed()
        self._evict_at = len(self._shared) + SHARED_MAX  # to look through a thousand takes 2 ms

    @property
    def newcomer_key(self) -> LaneKey:
        """What a client has that comes now."""
        barred = self.newcomers.barred
        return replace(self.primary_key, era=self.newcomers.era) if barred else self.primary_key

    def locked(self, key: LaneKey) -> bool:
        """Whether the server wants a login of a client with this key, and neither has one."""
        if key.user is not None or not self.newcomers.barred:
            return False
        primary = self._shared.get(self.primary_key)
        return bool(key.era) or (primary is not None and primary.locked)

    def forget(self, key: LaneKey) -> None:
        """Drop a shared lane that the server refused, if nobody else uses it."""
        lane = self._shared.get(key)
        if lane is not None and not (lane.users or lane.owes or lane.offline or key.db == 0):
            self._shared.pop(key).close()

    def take_maxclients(self, count: int) -> None:
        """The server takes so many connections, from all its clients together."""
        if not self._pinned_set:
            self.pinned_max = max(1, min(count - RESERVED, count * 3 // 4))

    def borrow(self, key: LaneKey, owner: Owner[Lane]) -> Lane | None:
        """A lane for the owner alone: a warm one, or a new one that takes requests while it
        connects. None: there is no place now, and the owner is called when there is one.
        ProxyError: the server is away."""
        if owner is not self._called and (self.line or not self._has_place(key)):
            self.line.setdefault(owner, (key, self._loop.time() + self._pinned_wait))
            return None
        warm = self._warm.get(key)
        self._spares.asked_for(key)
        while warm:
            lane = warm.pop()
            if lane.state is LaneState.READY:
                lane.owner = owner
                break
        else:
            if self.down is not None:
                raise self.down  # shared lanes try; nothing is won by more of them
            lane = self._open(key, owner)
        self._lent.add(lane)
        return lane

    def _open(self, key: LaneKey, owner: Owner[Lane]) -> Lane:
        lane = self._new(key, owner)
        self._dialling.add(lane)
        lane.open()
        return lane

    def _refill(self) -> None:
        """Open what is to stand ready, as far as nobody waits for a place."""
        for key in self._spares.wanted():
            coming = [lane for lane in self._dialling if lane.owner is self._spares]
            ready = len(self._warm.get(key, ())) + sum(lane.key == key for lane in coming)
            for _ in range(self._spares.kept(key) - ready):
                if not self._has_spare_place():
                    return
                self._lent.add(self._open(key, self._spares))

    def _has_spare_place(self) -> bool:
        """Whether one may be opened that nobody waits for: half of the places are for who does."""
        full = len(self._dialling) >= DIALS_MAX // 2 or self._loop.time() < self._dial_at
        if self.line or self.down is not None or full or self._awaited():
            return False
        return 2 * (len(self._lent) + sum(map(len, self._warm.values()))) < self.pinned_max

    @property
    def paused(self) -> bool:
        """Whether the server keeps requests waiting because a client of ours wants it."""
        return self.pause.any(self._loop.time())

    @property
    def writes_paused(self) -> bool:
        """Whether it does so with writes alone."""
        return self.pause.writes(self._loop.time())

    def at_pause_end(self, do: Callable[[], None]) -> None:
        """Call once, as the pause in force ends; who asked before is not called."""
        if self._pause_end is not None:
            self._pause_end.cancel()
        ends = self.pause.next_end(self._loop.time())
        self._pause_end = None if ends is None else self._loop.call_at(ends, do)

    def borrow_now(self, key: LaneKey, owner: Owner[Lane]) -> Lane | None:
        """As ``borrow``; None: not now. Nobody gets into the line by it, nor out of it."""
        return self.borrow(key, owner) if self.room(key) else None

    def _has_place(self, key: LaneKey) -> bool:
        if self._warm.get(key) or self.down is not None:
            return True
        if self._loop.time() < self._dial_at or len(self._dialling) >= DIALS_MAX:
            return False
        if self._awaited():
            return False
        spare = sum(map(len, self._warm.values()))
        if len(self._lent) + spare < self.pinned_max:
            return True
        other = next(filter(None, self._warm.values()), None)
        if other is not None:  # one of another key makes room
            other.pop(0).close()
        return other is not None

    def _awaited(self) -> bool:
        """Whether somebody waits for the connection of a shared lane."""
        return any(lane.users or lane.owes or lane.offline for lane in self._coming)

    def leave_line(self, owner: Owner[Lane]) -> None:
        """The owner wants no lane any more."""
        self.line.pop(owner, None)

    def _serve_line(self) -> None:
        """Call those whose turn has come, in the order in which they came."""
        while self.line:
            owner, (key, _) = next(iter(self.line.items()))
            if not self._has_place(key):
                return
            del self.line[owner]
            self._called = owner
            try:
                owner.lane_free()
            finally:
                self._called = None

    def _place_came(self) -> None:
        if self.line:
            self._loop.call_soon(self._serve_line)

    def _refuse_late(self) -> None:
        now = self._loop.time()
        if self.silent:  # it is not for want of places that they wait
            most = math.inf if self._most_s is None else self._most_s
            now -= max(0.0, most - self._pinned_wait)
        late = [owner for owner, (_, until) in self.line.items() if until <= now]
        for owner in late:
            del self.line[owner]
            owner.lane_refused(NoPlace(len(self._lent), self._pinned_wait))

    def give_back(self, lane: Lane) -> None:
        """End a loan: keep a lane that owes nothing and holds no state, close any other."""
        self._lent.discard(lane)
        self._dialling.discard(lane)
        self._place_came()
        if lane.state is not LaneState.CLOSED:
            self._bad = 0
        elif not lane.good:
            self._bad += 1
            pause = self.dial.retry.again(self._bad)
            self._dial_at = self._loop.time() + pause
            self._loop.call_later(pause, self._serve_line)
        lane.owner = None
        clean = not (lane.tainted or lane.tunnel or lane.waiting or lane.framing)
        if clean and lane.state is LaneState.READY:
            lane.idle_ticks, lane.patient = 0, False
            lane.resume_reading()
            self._warm[lane.key].append(lane)
        else:
            lane.close()

    def asking(self) -> Lane:
        """The lane for AUTH and HELLO ... AUTH: nobody else uses it, so that it may become any
        user."""
        if self._asking is None or self._asking.state is LaneState.CLOSED:
            self._asking = self._new(LaneKey(), bare=True)
        return self._asking

    def _new(
        self,
        key: LaneKey,
        owner: Owner[Lane] | None = None,
        *,
        home: Home[Lane] | None = None,
        bare: bool = False,
    ) -> Lane:
        return self._lane(
            next(self._numbers),
            key,
            self.dial,
            home or self,
            offline_max=self._offline_max,
            timeout_s=self._timeout_s,
            most_s=self._most_s,
            owner=owner,
            bare=bare,
        )

    def _second(self, doubts: Doubts, owner: Second, key: LaneKey) -> Lane:
        """A connection beside one that says nothing, to see whether it is answered."""
        return self._new(replace(key, db=0, resp=2, use=Use.PROBE), owner, home=doubts)

    # --- What lanes report (ports.Home) -------------------------------------------------------

    def start(self, lane: Lane) -> None:
        self._start(lane.run())

    def lane_moved(self, lane: Lane) -> None:
        waits = lane.state in (LaneState.CONNECTING, LaneState.DOWN)
        ours = waits and self._shared.get(lane.key) is lane
        (self._coming.add if ours else self._coming.discard)(lane)

    def lane_ready(self, lane: Lane) -> None:
        if self.down is not None:
            event(log, logging.WARNING, "upstream is back", upstream=self.dial.address)
        self.down = None
        self._spoken = True
        self._doubts.take(False)
        self._dialling.discard(lane)
        self._place_came()
        if lane is not self._asking and (lane.locked or lane.key.era):
            self.newcomers.take(lane.locked)
        self._on_ready(lane)
        if lane.owner is self._spares:
            self.give_back(lane)

    def lane_down(self, lane: Lane, why: ProxyError) -> None:
        if len(self):
            return  # others stand: it is this connection that the server, or the way to it, refuses
        if self.down is None:
            event(log, logging.ERROR, "upstream is down", upstream=self.dial.address, error=why)
        self.down = why
        self._place_came()  # to be told so

    @property
    def silent(self) -> bool:
        """Whether the server accepts connections and says nothing."""
        return self._doubts.silent

    def lane_silent(self, lane: Lane) -> None:
        # One that has never said a word may be no server at all: the retry rule holds.
        if self._spoken and self.down is None:
            self._doubts.take(True)

    def suspected(self, lane: Lane, why: str, *, hasty: bool = False) -> None:
        """Ask whether the lane is silent, or the server; ``hasty``: after little time."""
        ours = not self.locked(self.primary_key)  # else only the lane's user could say -BUSY
        self._doubts.suspect(lane, why, self.primary_key if ours else lane.key, hasty=hasty)

    def lane_refused(self, lane: Lane, why: UpstreamRefused) -> None:
        self._on_refused(lane, why)

    async def may_track(self, key: LaneKey) -> bool:
        if key.user is None:
            return True
        return await may_track(self.shared(self.primary_key).ask, key.user.name)

    # --- Time and end -------------------------------------------------------------------------

    def tick(self) -> None:
        """Once a second: give up lanes that died silently, close those that nobody uses."""
        for lane in list(self.every()):
            lane.tick()
        self._doubts.tick()
        for lane in self._surplus():
            event(log, logging.DEBUG, "idle lane closed", lane=lane.number)
            lane.close()
        self._forget_closed()
        self._evict_at = SHARED_MAX
        self._refuse_late()
        self._serve_line()
        self._spares.tick()
        self._refill()

    def _surplus(self) -> list[Lane]:
        """Lanes idle for long enough; counts the ticks."""
        surplus: list[Lane] = []
        for lane in chain(self._shared.values(), *self._warm.values()):
            busy = lane.users or lane.owes or lane.offline or lane.sent != lane.sent_before
            lane.sent_before = lane.sent
            lane.idle_ticks = 0 if busy else lane.idle_ticks + 1
            if lane.idle_ticks > IDLE_TICKS:
                surplus.append(lane)
        kept = {one for key, warm in self._warm.items() for one in warm[: self._spares.kept(key)]}
        return [lane for lane in surplus if lane not in kept]

    def _forget_closed(self) -> None:
        for key in [k for k, lane in self._shared.items() if lane.state is LaneState.CLOSED]:
            del self._shared[key]
        for key, warm in list(self._warm.items()):
            warm[:] = [lane for lane in warm if lane.state is LaneState.READY]
            if not warm:
                del self._warm[key]
        self._lent = {lane for lane in self._lent if lane.state is not LaneState.CLOSED}
        self._dialling &= self._lent

    def move(self, why: ProxyError) -> None:
        """The server is another from now on: nothing more is sent to the old one, nor heard."""
        self._doubts.move()
        self.pause.end()
        for lane in list(self.every()):
            lane.cut(why)
        self.down, self._bad, self._dial_at = None, 0, 0.0

    def close(self) -> None:
        """Close every lane; whoever waits on one is failed."""
        self.line.clear()
        self._doubts.close()
        for lane in list(self.every()):
            lane.close()
        self._forget_closed()
