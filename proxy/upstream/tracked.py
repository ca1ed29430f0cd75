"""One db as one upstream user: the lanes on which commands of the proxy ask there, and who waits
for which key to change.

    flights, locks ── ask ──▶ tracked lane ──▶ server       replies and pushes of one connection
            ▲                      │                        are in order: what was changed before a
            └───── watches ◀───────┘ pushes                 reply was given, has been told before it

Watches fire inside the parser's callback. Never decides what a change means: that is flight.py and
locks.py."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Self, cast

import hiredis

from ...lua import Script
from ..errors import ProxyError, ServerError
from ..hot.session import LaneState
from ..log import event
from ..near.cache import NearCache, Space
from ..resp.requests import Value
from .ask import AskSlot, Reply, drop
from .lane import Lane
from .lane_key import LaneKey, Use
from .lanes import Lanes

log = logging.getLogger(__name__)

# What servers put behind an error that a script met: the client asked for no script.
_WHERE: Final = re.compile(rb" script: \S*,? ?on @user_script:\d+\.?(?=\r\n$)")
# A link that dies without a word is noticed by the second tick behind the last byte: PING, and no
# answer by the next.
STALE_MAX_MS: Final = 3000
# What is read next is remembered for us (CLIENT TRACKING ON OPTIN).
CACHING: Final = b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$3\r\nYES\r\n"
_INVALIDATE: Final = b">2\r\n$10\r\ninvalidate\r\n"


def invalidated(push: bytes) -> list[bytes] | None:
    """The keys that a push says have changed; None: all of them. Of other kinds: none."""
    if not push.startswith(_INVALIDATE):
        return []
    at = len(_INVALIDATE)
    if push[at : at + 1] != b"*":
        return None
    end = push.index(b"\r\n", at)
    count, at = int(push[at + 1 : end]), end + 2
    keys = []
    for _ in range(count):
        end = push.index(b"\r\n", at)
        size, at = int(push[at + 1 : end]), end + 2
        keys.append(push[at : at + size])
        at += size + 2
    return keys


def value_of(reply: bytes) -> Value:
    """A reply as a value. ServerError where it is an error."""
    if reply.startswith(b"-"):
        raise ServerError(reply)
    reader = hiredis.Reader()
    reader.feed(reply)
    return cast(Value, reader.gets())


def _packed(words: tuple[bytes, ...]) -> bytes:
    """A request, packed in C: it may be long."""
    return cast(bytes, hiredis.pack_command(cast(Any, words)))  # its stub says: tuples of one


class Watched:
    """A watch on some keys (spec.Watch)."""

    __slots__ = ("_event", "_keys", "_watches", "fired")

    def __init__(self, watches: dict[bytes, set[Watched]], keys: Sequence[bytes]) -> None:
        self._watches = watches
        self._keys = keys
        self._event = asyncio.Event()
        self.fired = False
        for key in keys:
            watches.setdefault(key, set()).add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fire(self, key: bytes | None) -> None:
        """The key has changed; None: any may have."""
        self.fired = True
        self._event.set()

    def clear(self) -> None:
        self.fired = False
        self._event.clear()

    async def wait(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._event.wait()
        except TimeoutError:
            return self.fired
        return True

    def close(self) -> None:
        for key in self._keys:
            watching = self._watches.get(key)
            if watching is not None:
                watching.discard(self)
                if not watching:
                    del self._watches[key]


class Asker:
    """Asks on one shared lane (spec.Asking)."""

    def __init__(self, lane: Callable[[], Lane], *, tracked: bool = False) -> None:
        self._lane = lane
        self._tracked = tracked
        self._loop = asyncio.get_running_loop()

    async def ask(self, *words: bytes) -> Value:
        return value_of(await self._reply(_packed(words), 1))

    async def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes],
        seen: Callable[[], None] | None = None,
    ) -> Value:
        """``seen`` is called as the reply comes, in order with the pushes around it."""
        words = (b"%d" % len(keys), *keys, *args)
        request = _packed((b"EVALSHA", script.sha, *words))
        reply = await self._reply(request, 1, seen, tracks=self._tracked)
        if reply.startswith(b"-NOSCRIPT"):
            request = _packed((b"EVAL", script.text, *words))
            reply = await self._reply(request, 1, seen, tracks=self._tracked)
        return value_of(_WHERE.sub(b"", reply) if reply.startswith(b"-") else reply)

    async def many(self, requests: Sequence[bytes]) -> list[Value]:
        if not requests:
            return []
        replies = await self._reply(b"".join(requests), len(requests))
        reader = hiredis.Reader()
        # As one array: taken one by one they cost three times as much.
        reader.feed(b"*%d\r\n" % len(requests))
        reader.feed(replies)
        values = cast("list[Value | hiredis.ReplyError]", reader.gets())
        return [
            ServerError(b"-" + str(value).encode("utf-8", "surrogateescape"))
            if isinstance(value, hiredis.ReplyError)
            else value
            for value in values
        ]

    async def _reply(
        self,
        request: bytes,
        count: int,
        seen: Callable[[], None] | None = None,
        *,
        tracks: bool = False,
    ) -> bytes:
        """The bytes of the replies. The error that says so, where they do not all come."""
        answered: asyncio.Future[Reply] = self._loop.create_future()

        def done(reply: Reply) -> None:
            if seen is not None:
                seen()
            if not answered.done():
                answered.set_result(reply)

        lane = self._lane()
        if tracks:
            lane.send(CACHING, AskSlot(drop))
        lane.send(request, AskSlot(done, count))
        reply = await answered
        if isinstance(reply, ProxyError):
            raise reply
        return reply


class TrackedLane:
    """What spec.Watching says, the two askers, and the near cache's space that the lane fills."""

    def __init__(self, lanes: Lanes, key: LaneKey, near: NearCache | None = None) -> None:
        self.near = near
        self._space: Space | None = None
        self._heard = -1  # reads of the lane at the last tick
        self._asked = False  # a PING was sent then
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
        """The tracked lane, as it is now."""
        lane = self._lane
        if lane is None or lane.state is LaneState.CLOSED:
            lane = self._lane = self._lanes.shared(self.key)
            lane.listener = self
        return lane

    @property
    def tracking(self) -> bool:
        return self._lane is not None and self._lane.tracking

    @property
    def watched(self) -> int:
        """Keys that somebody waits for."""
        return len(self.watches)

    def watch(self, *keys: bytes) -> Watched:
        return Watched(self.watches, keys)

    @property
    def idle(self) -> bool:
        """Whether nobody lives by what the lane tells."""
        return not self.watches and (self._lane is None or self._lane.state is LaneState.CLOSED)

    def filled(self) -> tuple[Space | None, Lane]:
        """The near cache's space and the lane that fills it, which may not be open yet; no space
        where nothing can fill it."""
        lane = self.lane()
        if self.near is None or (lane.state is LaneState.READY and not lane.tracking):
            return None, lane
        if self._space is None or not self._space.open:
            self._space = self.near.space(self.key.db, self.key.user)
        return self._space, lane

    def tick(self) -> None:
        """Once a second: the connection stands for as long as somebody lives by what it tells, and
        is asked whether it still does where it says nothing."""
        lane, space = self._lane, self._space
        if lane is None or not (self.watches or (space is not None and space.entries)):
            return
        lane.idle_ticks = 0
        if lane.state is not LaneState.READY or lane.paused:
            return
        if lane.heard == self._heard:
            # Half open, or the server is busy: what we have may be old (its bound: near-cache.md).
            if self._asked and space is not None:
                self._flush("silent")
            if not self._asked:
                lane.ask(drop, b"PING")
            self._asked = True
        else:
            self._asked = False
        self._heard = lane.heard

    # --- lane.Listener ------------------------------------------------------------------------

    def pushed(self, frame: bytes) -> None:
        keys = invalidated(frame)
        if keys is None:
            if self.near is not None:
                self.near.flush("null")
            self._fire_all()
            return
        for key in keys:
            if self.near is not None:
                self.near.invalidate(key)
            for watch in list(self.watches.get(key, ())):
                watch.fire(key)

    def opened(self) -> None:
        if self._lane is not None and not self._lane.tracking:
            event(log, logging.WARNING, "server does not track", db=self.key.db)

    def dropped(self) -> None:
        self._flush("lost")
        self._fire_all()

    def _flush(self, reason: str) -> None:
        """What came through our lane."""
        if self._space is not None and self.near is not None:
            self._space.flush()
            self.near.flushes[reason] += 1

    def _fire_all(self) -> None:
        for watch in {watch for watching in self.watches.values() for watch in watching}:
            watch.fire(None)
