"""The tracked lane of one db and upstream user, and who waits for which key to change.

    flights, locks ── ask ──▶ tracked lane ──▶ server       replies and pushes of one connection
            ▲                      │                        are in order: what was changed before a
            └───── watches ◀───────┘ pushes                 reply was given, has been told before it

Owns the watches and the near cache's space that the lane fills; watches fire inside the parser's
callback. Never decides what a change means: whoever watches does (loading/, locking/). Commands of
the proxy ask here through two askers, ``upstream`` on the tracked lane and ``bulk`` beside it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Literal, Self

from ..bell import Bell
from ..errors import ProxyError
from ..hot.answers import Slot
from ..hot.fills import forget
from ..hot.lane import LaneState
from ..hot.own import GetOrSetRun, GetOrSetSlot
from ..log import event
from ..near.cache import NearCache, Space
from .ask import AskSlot, drop
from .asker import Asker
from .lane import Lane
from .lane_key import LaneKey, Use
from .lanes import Lanes

log = logging.getLogger(__name__)

# A link that dies without a word is noticed by the second tick behind the last byte: it is asked,
# and does not answer by the next.
STALE_MAX_MS: Final = 3000
# What any user may ask: of PING the server's log of refusals would tell where a user may not.
STANDS: Final = (b"HELLO",)
_INVALIDATE: Final = b">2\r\n$10\r\ninvalidate\r\n"


def invalidated(push: bytes) -> list[bytes] | None:
    """The keys that a push says have changed. None: all of them may have. A push that is no
    invalidation names none."""
    if not push.startswith(_INVALIDATE):
        return []
    at = len(_INVALIDATE)
    if push[at : at + 1] != b"*":
        return None
    end = push.index(b"\r\n", at)
    count, at = int(push[at + 1 : end]), end + 2
    keys: list[bytes] = []
    for _ in range(count):
        end = push.index(b"\r\n", at)
        size, at = int(push[at + 1 : end]), end + 2
        keys.append(push[at : at + size])
        at += size + 2
    return keys


class Watched(Bell):
    """Whether some keys have changed since the watch began or was last cleared.

    It counts from when it is made until ``close``; ``with`` closes it."""

    __slots__ = ("_keys", "_watches")

    def __init__(self, watches: dict[bytes, set[Watched]], keys: Sequence[bytes]) -> None:
        super().__init__()
        self._watches = watches
        self._keys = keys
        for key in keys:
            watches.setdefault(key, set()).add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} keys={len(self._keys)} fired={self.fired}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fire(self, key: bytes | None) -> None:
        """The key has changed; None: any may have."""
        self.ring()

    def close(self) -> None:
        for key in self._keys:
            watching = self._watches.get(key)
            if watching is not None:
                watching.discard(self)
                if not watching:
                    del self._watches[key]


def _never(key: bytes) -> bool:
    return False


class TrackedLane:
    """A lane on which the server remembers what we read and tells us when it changes.

    Fulfils Watching (custom/spec.py) for commands and ports.Listener for the lane. The connection
    stands for as long as somebody watches or the near cache keeps what came through it."""

    def __init__(self, lanes: Lanes, key: LaneKey, near: NearCache | None = None) -> None:
        self.near = near
        self._space: Space | None = None
        self.alone: Callable[[bytes], bool] = _never  # whether a key needs no server that is away
        self.fails_open: Callable[[bytes], bool] = _never  # and where it is not known to be
        self.crowded = False  # others read from all the spaces that there may be
        self.narrow = False  # a key that the user may GET he may not be allowed to MGET
        self._heard = -1  # reads of the lane at the last tick
        self._asked = False  # whether it stands was asked then
        self.key = replace(key, resp=2, use=Use.TRACKED)
        self._bulk_key = replace(key, resp=2, use=Use.BULK)
        self._lanes = lanes
        self._lane: Lane | None = None
        self.watches: dict[bytes, set[Watched]] = {}
        self.upstream = Asker(self.lane, tracked=True)
        self.bulk = Asker(lambda: lanes.shared(self._bulk_key))

    def __repr__(self) -> str:
        state = "on" if self.tracking else "off"
        return f"<TrackedLane db={self.key.db} tracking={state} watches={len(self.watches)}>"

    def lane(self) -> Lane:
        """The tracked lane as it is now; a new one where the last was closed."""
        lane = self._lane
        if lane is None or lane.state is LaneState.CLOSED:
            lane = self._lane = self._lanes.shared(self.key)
            lane.listener = self
        return lane

    @property
    def tracking(self) -> bool:
        """Whether the server tells us of changes now. If not, only a lost connection fires."""
        return self._lane is not None and self._lane.tracking

    def is_away(self, key: bytes) -> bool:
        """Whether the server is known not to be there, of a cluster whoever has the key."""
        return self._lane is not None and self._lane.is_away(key)

    def watch(self, *keys: bytes) -> Watched:
        """Watch these keys from now on. Ask behind it: the server remembers what is read."""
        return Watched(self.watches, keys)

    def forget(self, *keys: bytes) -> None:
        """We have written these: the push that says so comes behind the reply."""
        if self.near is not None:
            forget(self.near, [*keys])

    @property
    def idle(self) -> bool:
        """Whether nobody watches and no connection is kept."""
        return not self.watches and (self._lane is None or self._lane.state is LaneState.CLOSED)

    def filled(self) -> tuple[Space | None, Lane]:
        """The near cache's space and the lane that fills it, which may not be connected yet. The
        space is None without a near cache, where the server does not track, and where the near
        cache is ``crowded``."""
        lane = self.lane()
        if self.near is None or not lane.can_track:
            return None, lane
        if self._space is None or not self._space.open:
            self.crowded = not self.near.has_room(self.key.db, self.key.user)
            if self.crowded:
                return None, lane
            self._space = self.near.space(self.key.db, self.key.user)
        self.crowded = False
        return self._space, lane

    def tick(self) -> None:
        """Once a second: keep the connection that somebody lives by, and ask it whether it still
        stands when it has said nothing since the last tick. If that is not answered by the next,
        it is no longer read from, and given up if others are answered."""
        lane, space = self._lane, self._space
        if space is not None:
            if space.until and space.until <= asyncio.get_running_loop().time():
                self._flush("lost")
            space.tick()
            if not space.open and lane is not None and not (self.watches or lane.owes):
                self._space = None
                lane.close()  # its room has gone to others, who need connections too
                return
        if lane is None:
            return
        if not (self.watches or lane.owes or (space is not None and space.entries)):
            return
        lane.idle_ticks = 0
        if lane.state is not LaneState.READY or lane.paused:
            return
        if lane.heard != self._heard:
            self._asked = lane.silent = False
        elif self._asked:
            # Half open, or the server is busy: what we have may be old. docs/near-cache.md has the
            # bound.
            self._flush("silent")
            lane.silent = True
            self._lanes.suspected(lane, "silent, while the server answers others", hasty=True)
        else:
            lane.ask(drop, *STANDS)
            self._asked = True
        self._heard = lane.heard

    # --- What the lane tells (ports.Listener) -------------------------------------------------

    def pushed(self, frame: bytes) -> None:
        keys = invalidated(frame)
        if keys is None:
            if self.near is not None:
                self.near.flush("null")
            self.fire_all()
            return
        for key in keys:
            if self.near is not None:
                self.near.invalidate(key)
            for watch in list(self.watches.get(key, ())):
                watch.fire(key)

    def opened(self) -> None:
        if self._space is not None and self._space.until:
            self._flush("lost")  # what has changed meanwhile nobody tells
        if self._lane is not None and not self._lane.tracking:
            event(log, logging.WARNING, "server does not track", db=self.key.db)

    def dropped(self) -> None:
        self._asked = False
        if self._lane is not None:
            self._lane.silent = False
        closed = self._lane is None or self._lane.state is LaneState.CLOSED
        if not closed and self._keeps():
            self._stand_by()
        else:
            self._flush("lost")
        if closed and self._space is not None and self.near is not None:
            self.near.release(self._space)
        self.fire_all()

    def failing(self, why: ProxyError) -> None:
        lane = self._lane
        for slot in () if lane is None else lane.offline.let_go(self._does_without):
            slot.fail(why, False)

    def _does_without(self, slot: Slot) -> bool:
        """Whether it is a read that is answered without the server."""
        if isinstance(slot, GetOrSetRun):
            return all(map(self.alone, slot.keys))
        return isinstance(slot, GetOrSetSlot) and bool(slot.command) and self.alone(slot.key)

    def does_without(self, slot: Slot, keys: Sequence[bytes]) -> bool:
        if isinstance(slot, AskSlot):
            return slot.forgoes
        reads = isinstance(slot, GetOrSetRun) or (
            isinstance(slot, GetOrSetSlot) and bool(slot.command)
        )
        return reads and all(map(self.fails_open, keys))

    def _keeps(self) -> bool:
        """Whether what is near may be told while the server is away. Not of a cluster: the others
        of its nodes go on, and slots move."""
        lane, near = self._lane, self.near
        return near is not None and near.stale_s > 0 and lane is not None and lane.router is None

    def _stand_by(self) -> None:
        """What came through our lane was right until now, and is told for a while if there is no
        other (``stale_if_down``). It goes as a connection stands again, before anything is read."""
        space, near = self._space, self.near
        if space is not None and near is not None:
            for ticket in list(space.tickets.values()):
                space.give_up(ticket)
            if space.others is not None:
                space.others.flush()
            space.until = asyncio.get_running_loop().time() + near.stale_s
            if self._lane is not None:  # sooner than it is asked: whether the server is away
                self._lane.call_soon(self._lane.open)

    def _flush(self, reason: Literal["lost", "silent"]) -> None:
        """Forget what came through our lane; the reason is counted."""
        space = self._space
        if space is not None and self.near is not None:
            self.near.flushes[reason] += space.holds()
            space.flush()

    def fire_all(self) -> None:
        """Any key may have changed."""
        for watch in {watch for watching in self.watches.values() for watch in watching}:
            watch.fire(None)
