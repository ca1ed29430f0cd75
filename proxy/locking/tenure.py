"""The locks that are kept for one client for as long as it stays (RENEW).

    grant ─▶ kept ── a third of its time ──▶ renewed ─▶ kept
               │ the client goes: given back
               │ RELEASE: over, and nothing more is asked
               └ not this token's any more, or its time is over: lost, and the client is told

A renewal that fails is tried again until the lock's time is over, by this process's clock: whoever
wakes up later than that, because the process was stopped, says lost and never asks for more time.
Knows no session: it is handed what runs a task that ends with the client, and what tells it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from ..custom.spec import Watch
from ..errors import LockBusy, LockLost, ProxyError, shown
from .lines import Caller

log = logging.getLogger(__name__)

# Locks kept for one client, and in one db and user of a process.
CLIENT_MAX: Final = 100
KEPT_MAX: Final = 10_000
# Which part of its time a lock is renewed after, and tried again after, where that failed.
THIRD: Final = 3
AGAIN: Final = 20
AGAIN_MOST: Final = 1.0  # seconds


class Renewing(Protocol):
    """What keeps locks in the server: Locks."""

    keeping: int

    def now(self) -> float: ...

    async def renew(self, caller: Caller, ms: int, claim: bool) -> float:
        """When the lock's time is over, by our clock; 0.0: it is not this caller's any more."""
        ...

    def give_back(self, caller: Caller) -> object: ...

    def watch(self, caller: Caller) -> Watch:
        """While it stands this is the Locks that the client's next command asks."""
        ...

    def count(self, name: str) -> None: ...


@dataclass(slots=True, eq=False)
class Kept:
    """One lock that is kept. ``valid``: when its time is over, by our clock; ``ends``: when it is
    kept no more."""

    caller: Caller
    fence: int
    valid: float
    ends: float
    last: bool  # MAXHOLD lets it be renewed no more
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    started: bool = False  # the task stands that gives it back
    over: bool = False  # released, or replaced: nobody is told, nothing is given back

    def __repr__(self) -> str:
        return f"<Kept {shown(self.caller.resource)} ttl={self.caller.ttl_ms} over={self.over}>"


Key = tuple[Renewing, bytes, bytes]


class Tenure:
    """``run``: runs a task that is cancelled when the client goes; ``tell``: tells it that a lock
    is lost, and says whether it could."""

    def __init__(
        self,
        run: Callable[[Coroutine[Any, Any, None]], None],
        left: Callable[[], bool],
        tell: Callable[[bytes, int], bool],
    ) -> None:
        self._run = run
        self._left = left
        self._tell = tell
        self._kept: dict[Key, Kept] = {}
        self._lost: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Tenure kept={len(self._kept)} lost={len(self._lost)}>"

    def check(self) -> None:
        """LockLost: a lock was lost, and the client has not been told."""
        lost, self._lost = self._lost, []
        if lost:
            raise LockLost(lost)

    def room(self, locks: Renewing) -> None:
        """LockBusy: no more locks are kept."""
        if len(self._kept) >= CLIENT_MAX:
            raise LockBusy(f"{CLIENT_MAX} locks are renewed for this client already")
        if locks.keeping >= KEPT_MAX:
            raise LockBusy(f"{KEPT_MAX} locks are renewed for this database and user already")

    async def take(
        self, locks: Renewing, caller: Caller, fence: int, valid_ms: int, most_ms: int | None
    ) -> int:
        """Renew what was just granted, from now on; for how many milliseconds it is good."""
        now = locks.now()
        valid, ends = now + valid_ms / 1000, now + most_ms / 1000 if most_ms else float("inf")
        if caller.named:
            # Its client may ask with the token through another connection: the last one keeps it.
            try:
                valid = await locks.renew(caller, caller.ttl_ms, claim=True)
            except (ProxyError, asyncio.CancelledError):
                locks.give_back(caller)  # it may be ours by now
                raise
            valid_ms = int((valid - locks.now()) * 1000)
            if valid_ms <= 0:
                locks.give_back(caller)
                return 0
        await self._keep_on(
            locks, caller, Kept(caller, fence, valid, ends, ends <= now + caller.ttl_ms / 1000)
        )
        return valid_ms

    async def _keep_on(self, locks: Renewing, caller: Caller, kept: Kept) -> None:
        key = locks, caller.resource, caller.token
        self.drop(*key)
        if self._left():
            locks.give_back(caller)
            return
        self._kept[key] = kept
        self._run(self._keep(locks, key, kept))
        try:
            await asyncio.sleep(0)
        finally:
            # A task that is cancelled before its first step gives nothing back.
            if not kept.started:
                self._forget(key, kept)
                locks.give_back(caller)

    def drop(self, locks: Renewing, resource: bytes, token: bytes) -> None:
        """It is being released: renew it no more, whatever comes of that."""
        kept = self._kept.pop((locks, resource, token), None)
        if kept is not None:
            kept.over = True
            kept.changed.set()

    async def extend(self, locks: Renewing, resource: bytes, token: bytes, ms: int) -> bool | None:
        """Renew it at once, and with this time from now on. None: it is not kept here."""
        kept = self._kept.get((locks, resource, token))
        if kept is None:
            return None
        now = locks.now()
        if now >= kept.valid:
            return False
        kept.caller.ttl_ms = ms
        # The answer may be lost, and the time be a shorter one from now on.
        kept.valid = min(kept.valid, now + ms / 1000)
        try:
            return await self._renew(locks, kept)
        finally:
            kept.changed.set()

    async def _keep(self, locks: Renewing, key: Key, kept: Kept) -> None:
        kept.started = True
        locks.keeping += 1
        watch = locks.watch(kept.caller)
        try:
            try:
                await self._renew_on(locks, kept)
            except Exception:  # a defect of ours: the client must not count on the lock
                log.exception("a renewal failed")
            if not kept.over:
                locks.count("locks_lost")
                if not self._tell(kept.caller.resource, kept.fence):
                    self._lost.append(kept.caller.resource)
        finally:
            watch.close()
            locks.keeping -= 1
            self._forget(key, kept)
            # Lost or left: where it is the token's all the same, it must not stay.
            if not kept.over:
                locks.give_back(kept.caller)

    async def _renew_on(self, locks: Renewing, kept: Kept) -> None:
        """Until it is lost, or over."""
        pause = self._third(locks, kept)
        while True:
            await _within(kept.changed.wait(), min(pause, kept.valid - locks.now()))
            if kept.over:
                return
            if kept.changed.is_set():
                kept.changed.clear()
                pause = self._third(locks, kept)
                continue
            left = kept.valid - locks.now()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    if not await self._renew(locks, kept):
                        return
                pause = self._third(locks, kept)
            except (ProxyError, TimeoutError):
                pause = min(kept.caller.ttl_ms / 1000 / AGAIN, AGAIN_MOST)

    async def _renew(self, locks: Renewing, kept: Kept) -> bool:
        now = locks.now()
        ms = int(min(kept.caller.ttl_ms, (kept.ends - now) * 1000))
        if ms < 1:
            return False
        valid = await locks.renew(kept.caller, ms, claim=False)
        if valid <= locks.now():
            return False
        kept.valid = valid
        kept.last = ms < kept.caller.ttl_ms
        locks.count("locks_renewed")
        return True

    def _third(self, locks: Renewing, kept: Kept) -> float:
        """Seconds until it is renewed; behind its last renewal it ends."""
        return kept.valid - locks.now() if kept.last else kept.caller.ttl_ms / 1000 / THIRD

    def _forget(self, key: Key, kept: Kept) -> None:
        if self._kept.get(key) is kept:
            del self._kept[key]


def tenure_in(call: object) -> Tenure:
    """What a call was given as its client's tenure: there is one kind."""
    assert isinstance(call, Tenure)
    return call


async def _within(work: Awaitable[object], seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await work
