"""Leases that clients hold: they compute the value themselves (LEASE GET, SET, CANCEL).

    lease ─▶ value | token | stand in line; its head waits for a push or a timer ─▶ asks again
    fill  ─▶ stored where the token is still the lease's and nothing has written the key

A granted lease has a watch on its key, so that a write and its undoing are not missed; a write
that it tells of deletes the lease, for SET may come through another proxy. Beyond the bound on
waiters, and for tokens of other proxies, the server decides alone. Nobody is told when a key is
deleted that is not there: such a DEL is only seen by the process that it passes (Scopes.void)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from ..bounds import WaitingRoom
from ..custom.spec import Counts, Expiry
from ..errors import UpstreamLost
from ..keys.ours import lease_key
from ..locking.lines import Line, Turn
from ..upstream.tracked import TrackedLane, Watched
from .lease_scripts import TOKEN, UNTRACKED, LeaseScripts, Start, Took, new_token


class _Watch(Watched):
    """Of a granted lease: the first change of its key ends it for all proxies, for its holder may
    SET through another one, which has not been told."""

    __slots__ = ("_changed", "_end")

    def __init__(self, tracked: TrackedLane, key: bytes) -> None:
        super().__init__(tracked.watches, (key,))
        self._changed = False
        self._end: Callable[[], object] | None = None

    def fire(self, key: bytes | None) -> None:
        super().fire(key)
        if key is not None:  # else all may have changed: this proxy refuses, which is enough
            self._changed = True
            self._end_once()

    def arm(self, end: Callable[[], object]) -> None:
        """The lease is granted: ``end`` it once the key changes, or has changed already."""
        self._end = end
        if self._changed:
            self._end_once()

    def _end_once(self) -> None:
        end, self._end = self._end, None
        if end is not None:
            end()

    def disarm(self) -> None:
        """Watch on, and end nothing: a change may be the holder's own."""
        self._end = None


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease that a client holds; the watch tells of writes to the key."""

    token: bytes
    since: float  # it was asked for then
    until: float
    watch: _Watch


@dataclass(frozen=True, slots=True)
class Held:
    """Another has the lease, for so long."""

    ms: int


class Leases:
    """The leases of one db and user."""

    def __init__(
        self,
        tracked: TrackedLane,
        scripts: LeaseScripts,
        *,
        start: Start,
        clock: Callable[[], float],
        counts: Counts,
        room: WaitingRoom,
    ) -> None:
        self._tracked = tracked
        self._scripts = scripts
        self._start = start
        self._clock = clock
        self._counts = counts
        self._room = room
        self._granted: dict[bytes, Granted] = {}
        self._lines: dict[bytes, Line] = {}

    def __repr__(self) -> str:
        return f"<Leases granted={len(self._granted)}>"

    @property
    def held(self) -> int:
        """How many clients have, as far as is known."""
        return len(self._granted)

    def void(self, keys: Sequence[bytes]) -> None:
        """These keys are being written: whoever holds a lease of them cannot store any more."""
        for key in keys if self._granted else ():
            granted = self._granted.get(key)
            if granted is not None:
                self._take_back(key, granted)

    def void_matching(self, pattern: re.Pattern[bytes]) -> None:
        """The same for every key that matches."""
        self.void([key for key in self._granted if pattern.fullmatch(key)])

    def void_tags(self, tags: Sequence[bytes]) -> None:
        """Nothing: a client says what a key belongs to as it stores the value, and is refused
        then."""

    async def lease(self, key: bytes, ms: int, wait_ms: int) -> tuple[bytes | None, bytes | None]:
        """(value, None), (None, token) or (None, None): another computes, and the wait is over."""
        if not wait_ms:
            with self._room:
                answer = await self._take(key, ms)
                return (None, None) if isinstance(answer, Held) else answer
        deadline = self._clock() + wait_ms / 1000
        with self._room, self._standing(key) as (line, turn):
            if not turn.done():
                await asyncio.wait([turn], timeout=max(0.0, deadline - self._clock()))
                if not turn.done():
                    return None, None
            value = turn.result()
            return (value, None) if value is not None else await self._lead(line, key, ms, deadline)

    async def _lead(
        self, line: Line, key: bytes, ms: int, deadline: float
    ) -> tuple[bytes | None, bytes | None]:
        """The head's part: ask whenever there may be a value or the lease is free. A value is for
        all who stood in the line as it was asked for; a lease is for one, and the rest wait on."""
        lost: UpstreamLost | None = None
        while await line.due(self._clock, deadline):
            line.watch.clear()
            line.retry_at = 0.0  # where the attempt fails or is left, the next head must ask
            entered = line.entered
            try:
                # Whoever lost a connection may try again, but for no longer than it may wait.
                left = None if lost is None else max(0.0, deadline - self._clock())
                async with asyncio.timeout(left):
                    answer = await self._take(key, ms)
            except TimeoutError:
                break
            except UpstreamLost as error:
                lost = error
                line.watch.clear()
                line.retry_at = self._clock() + UNTRACKED
                continue
            lost = None
            if isinstance(answer, Held):
                line.retry_at = self._clock() + self._scripts.patience(answer.ms)
                continue
            value, token = answer
            if value is not None:
                line.tell(value, entered)
            else:
                line.retry_at = self._clock() + self._scripts.patience(ms)
            return value, token
        if lost is not None:
            raise lost
        return None, None

    @contextmanager
    def _standing(self, key: bytes) -> Generator[tuple[Line, Turn], None, None]:
        """A place in the line for a key, which is there as long as somebody stands in it."""
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(self._tracked.watch(key, lease_key(key)))
        turn: Turn = asyncio.get_running_loop().create_future()
        line.enter(turn)
        try:
            yield line, turn
        finally:
            line.leave(turn)
            if not line.turns:
                del self._lines[key]
                line.watch.close()

    async def _take(self, key: bytes, ms: int) -> tuple[bytes | None, bytes | None] | Held:
        """One question to the server: (value, None), (None, token), or how long another has it."""
        token = new_token()
        now = self._clock()
        granted = Granted(token, now, now + ms / 1000, _Watch(self._tracked, key))
        try:
            took, rest = await self._scripts.take(key, token, ms, b"mine")
            if took is Took.LEASED:
                self._grant(key, granted)
                return None, token
        except asyncio.CancelledError:
            # The client has left: a lease that is granted now would be nobody's.
            self._start(self._scripts.give_up(key, token))
            raise
        finally:
            if self._granted.get(key) is not granted:
                granted.watch.close()
        return (cast(bytes, rest), None) if took is Took.HIT else Held(cast(int, rest))

    def taken(self, key: bytes, token: bytes) -> tuple[float, float] | None:
        """When a lease was asked for, and when it ends, of those that were taken here and stand."""
        granted = self._granted.get(key)
        if granted is None or granted.token != token:
            return None
        return granted.since, granted.until

    async def fill(self, key: bytes, token: bytes, value: bytes, expiry: Expiry | None) -> bool:
        """Store what a lease was taken for; False where it is void."""
        if not token.startswith(TOKEN):
            return False  # what a load left at the lease's key is nobody's lease
        granted = self._granted.get(key)
        if granted is None or granted.token != token:
            # Taken through another proxy, or not at all: the server decides alone.
            return await self._scripts.fill(key, token, value, expiry, b"", lambda: False)
        del self._granted[key]
        granted.watch.disarm()
        with granted.watch as watch:
            if watch.fired:
                await self._scripts.give_up(key, token)
                self._counts.add("fills_refused")
                return False
            return await self._scripts.fill(key, token, value, expiry, b"", lambda: watch.fired)

    async def cancel(self, key: bytes, token: bytes) -> bool:
        """Give a lease up; False where it was void."""
        if not token.startswith(TOKEN):
            return False
        granted = self._granted.get(key)
        if granted is not None and granted.token == token:
            del self._granted[key]
            granted.watch.close()
        return await self._scripts.settled(key, token, b"", 0)

    def _grant(self, key: bytes, granted: Granted) -> None:
        self._counts.add("leases")
        former = self._granted.pop(key, None)
        if former is not None:
            former.watch.close()
        if len(self._granted) < self._room.limit:  # beyond it the server decides alone
            self._granted[key] = granted
            granted.watch.arm(lambda: self._start(self._scripts.give_up(key, granted.token)))

    def _take_back(self, key: bytes, granted: Granted) -> None:
        """A client's lease is void: the key has been written."""
        del self._granted[key]
        granted.watch.close()
        self._start(self._scripts.give_up(key, granted.token))

    def tick(self) -> None:
        """Once a second: forget the leases that have ended."""
        now = self._clock()
        for key, granted in list(self._granted.items()):
            if granted.until <= now:
                del self._granted[key]
                granted.watch.close()
