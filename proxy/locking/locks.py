"""Locks of one db and upstream user: who waits for which, and what becomes of a grant that nobody
takes.

    ACQUIRE ─▶ line: [ last ] .. [ second ] [ head ] ── attempt ──▶ server: granted | held for N ms
                                              ▲ │                             │
                                              │ └─────────── grant ◀──────────┤
                                              └── watch fires, or timer ◀─────┘

Only the head of a line asks, and it asks again when the key has changed or its time is over: a
release costs one attempt, however many wait. The watch stands for as long as the line does, and is
cleared before each attempt, so that no wake-up falls between two of them.

An attempt runs to its end also when its caller has left; its grant is then given back. Never knows
sessions: commands/lock.py calls."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, Protocol

from ...lua import Script, script
from ..bounds import WaitingRoom
from ..custom.spec import Counts, Tenure, Watch, Watching
from ..errors import BadInput, LockBusy, ProxyError, UpstreamLost, shown
from ..keys.ours import grant_key, lock_key
from ..resp.replies import BULK, Value, items, number
from ..resp.requests import integer_of
from .grants import Answer, Grant, Held, Taken, answer_of, drift_ms, fence_ms, keys_of
from .lines import Caller, Line, Turn
from .returns import Returns, Start
from .tenure import tenure_in

ACQUIRE: Final = script("lock_acquire")
RELEASE: Final = script("lock_release")
EXTEND: Final = script("lock_extend")
RENEW: Final = script("lock_renew")
INFO: Final = script("lock_info")

# How much later than a lock is due to end the head asks, in seconds: its end is told late, and the
# heads of all proxies at once would be a herd.
LATER: Final = (0.0, 0.05)
# A server that knows no tracking tells nothing; also the pause behind a grant that came too late.
UNTOLD: Final = (0.05, 0.15)
# The longest that a head relies on being told.
LONGEST: Final = 60.0

LINE_MAX: Final = 10_000

# How long replicas may take to have a grant, in milliseconds: a third of its time, at most this.
REPLICAS_MS: Final = 1_000


class Running(Protocol):
    """What scripts run in: a server, or several that act as one (quorum.py)."""

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value: ...


# Whether a script says 1, and so many replicas have what it wrote within so many milliseconds.
Replicated = Callable[[Script, Sequence[bytes], Sequence[bytes], int, int], Awaitable[bool]]


class Locks:
    """The locks of one db and upstream user (custom/spec.py, Locks).

    ``fresh``: each attempt is told from those before it, which may still be on their way back at
    some of several servers (quorum.py); with one server it is the next that finds a lost one."""

    def __init__(
        self,
        upstream: Running,
        watching: Watching,
        start: Start,
        *,
        replicated: Replicated | None = None,
        fresh: bool = False,
        clock: Callable[[], float],
        stats: Counts,
        room: WaitingRoom,
        token: Callable[[], bytes] = lambda: secrets.token_hex(16).encode(),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._upstream = upstream
        self._watching = watching
        self._replicated = replicated
        self._fresh = fresh
        self._start = start
        self._clock = clock
        self._stats = stats
        self._room = room
        self._token = token
        self._jitter = jitter
        self.keeping = 0  # locks that are renewed
        self._loop = asyncio.get_running_loop()
        self._lines: dict[bytes, Line] = {}
        self._returns = Returns(self._give_back, start, clock=clock, sleep=sleep)

    def __repr__(self) -> str:
        return (
            f"<Locks lines={len(self._lines)} waiting={self.waiting} "
            f"returning={len(self._returns)}>"
        )

    @property
    def waiting(self) -> int:
        """Requests that stand in a line."""
        return sum(len(line.turns) for line in self._lines.values())

    # --- What commands ask -----------------------------------------------------------------

    async def acquire(
        self, resource: bytes, ttl_ms: int, wait_ms: int, token: bytes | None, replicas: int = 0
    ) -> Grant | None:
        """The lock; None: another holds it, and the wait is over, or fewer than so many replicas
        have heard of it in time. LockBusy: too many wait."""
        if replicas and self._replicated is None:
            raise BadInput("REPLICAS is for one server's locks: those of lock_servers are a vote")
        # The wait is for what may happen meanwhile, a lost connection included: the token makes
        # attempts repeatable.
        deadline = self._clock() + wait_ms / 1000
        if token is None:
            caller = Caller(resource, self._token(), ttl_ms)
        else:
            caller = Caller(resource, token, ttl_ms, nonce=self._token())
        try:
            grant = await self._acquire(caller, wait_ms, deadline)
            if grant is None and caller.lost is not None:
                raise caller.lost
        except asyncio.CancelledError:
            self._give_back_lost(caller)
            raise
        except ProxyError:
            # The client that named its token is told that it may have the lock, and may ask again.
            if not caller.named:
                self._give_back_lost(caller)
            raise
        if grant is not None and replicas:
            grant = await self._confirmed(caller, grant, replicas)
        if grant is not None:
            self._stats.add("locks_acquired")
        return grant

    async def _confirmed(self, caller: Caller, grant: Grant, replicas: int) -> Grant | None:
        """The same, if so many replicas have it in time; else it is given back."""
        assert self._replicated is not None
        began, most = self._clock(), max(1, min(caller.ttl_ms // 3, REPLICAS_MS))
        # What is written behind the grant is behind it at every replica too.
        keys, ms = keys_of(caller.resource), caller.ttl_ms
        args = caller.token, b"%d" % ms, fence_ms(ms), b"", b""
        try:
            if await self._replicated(RENEW, keys, args, replicas, most):
                grant.valid_ms -= int((self._clock() - began) * 1000) + 1
                if grant.valid_ms > 0:
                    return grant
        except (ProxyError, asyncio.CancelledError):
            self._returns.give_back(caller)
            raise
        # Its client is told that it has nothing, whoever of its calls it was granted to first.
        await self._returns.undo(replace(caller, nonce=b""), self._clock() + REPLICAS_MS / 1000)
        return None

    async def _acquire(self, caller: Caller, wait_ms: int, deadline: float) -> Grant | None:
        grant = None
        if caller.resource not in self._lines:
            if not wait_ms:
                grant = await self._ask_once(caller, deadline)
        elif caller.named:
            # Behind others it would wait for them, and they for the lock that is its own.
            grant = await self._ask_once(caller, deadline, only_mine=True)
        else:
            self._contend(caller)
        if grant is None and wait_ms:
            grant = await self._wait(caller, deadline)
        return grant

    async def acquire_kept(
        self,
        resource: bytes,
        ttl_ms: int,
        wait_ms: int,
        token: bytes | None,
        tenure: Tenure,
        most_ms: int | None,
        replicas: int = 0,
    ) -> Grant | None:
        """As ``acquire``, and renewed for the client, for ``most_ms`` at most."""
        kept = tenure_in(tenure)
        kept.room(self)
        nonce = b"" if token is None else self._token()
        grant = await self.acquire(resource, ttl_ms, wait_ms, token, replicas)
        if grant is None:
            return None
        caller = Caller(resource, grant.token, ttl_ms, nonce)
        grant.valid_ms = await kept.take(self, caller, grant.fence, grant.valid_ms, most_ms)
        return grant if grant.valid_ms > 0 else None

    async def release(self, resource: bytes, token: bytes, tenure: Tenure | None = None) -> bool:
        """False: it is not the token's, or has ended. It is renewed no more in either case."""
        if tenure is not None:
            tenure_in(tenure).drop(self, resource, token)
        return await self._release(resource, token, b"")

    async def extend(
        self, resource: bytes, token: bytes, ttl_ms: int, tenure: Tenure | None = None
    ) -> bool:
        """Never revives a lock that has ended: False."""
        if tenure is not None:
            kept = await tenure_in(tenure).extend(self, resource, token, ttl_ms)
            if kept is not None:
                return kept
        args = token, b"%d" % ttl_ms, fence_ms(ttl_ms)
        reply = await self._write(EXTEND, keys_of(resource), args)
        return number(reply, "a script") > 0

    # --- What keeps locks (tenure.py) asks ----------------------------------------------------

    def now(self) -> float:
        return self._clock()

    async def renew(self, caller: Caller, ms: int, claim: bool) -> float:
        """When the lock's time is over, by our clock; 0.0: it is not this caller's any more."""
        keys = keys_of(caller.resource)
        how = b"claim" if claim else b""
        sent = self._clock()
        reply = await self._write(
            RENEW, keys, (caller.token, b"%d" % ms, fence_ms(ms), caller.nonce, how)
        )
        valid = sent + (ms - drift_ms(ms)) / 1000
        return valid if number(reply, "a script") > 0 else 0.0

    def give_back(self, caller: Caller) -> object:
        return self._returns.give_back(caller)

    def watch(self, caller: Caller) -> Watch:
        return self._watching.watch(lock_key(caller.resource))

    def count(self, name: str) -> None:
        self._stats.add(name)

    async def info(self, resource: bytes) -> Mapping[str, Value]:
        """LOCK INFO's map, which never has the token."""
        reply = await self._upstream.run(INFO, keys_of(resource)[:2], ())
        held, ms, fence = items(reply, "a script", int, int, BULK)
        line = self._lines.get(resource)
        return {
            "held": bool(held),
            "fence": integer_of(fence) if fence is not None else None,
            "ttl_ms": ms if ms >= 0 else None,
            "waiters": len(line.turns) if line is not None else 0,
        }

    async def _release(self, resource: bytes, token: bytes, nonce: bytes) -> bool:
        keys = lock_key(resource), grant_key(resource)
        return number(await self._write(RELEASE, keys, (token, nonce)), "a script") > 0

    async def _write(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        reply = await self._upstream.run(script, keys, args)
        self._watching.forget(*keys)
        return reply

    async def _give_back(self, caller: Caller) -> bool:
        return await self._release(caller.resource, caller.token, caller.nonce)

    # --- Waiting ------------------------------------------------------------------------------

    async def _ask_once(
        self, caller: Caller, deadline: float, only_mine: bool = False
    ) -> Grant | None:
        answer = await self._try(caller, deadline, only_mine)
        if answer is None:
            return None
        if isinstance(answer, Held):
            self._contend(caller)
            return None
        grant = self._in_time(caller, answer)
        if grant is None:
            await self._returns.undo(caller, deadline)
        return grant

    async def _wait(self, caller: Caller, deadline: float) -> Grant | None:
        """In line until its turn, then as its head."""
        with self._standing(caller.resource) as (line, turn):
            if not turn.done():
                self._contend(caller)
                await asyncio.wait([turn], timeout=max(0.0, deadline - self._clock()))
                if not turn.done() or self._clock() >= deadline:
                    return None
            return await self._lead(line, caller, deadline)

    async def _lead(self, line: Line, caller: Caller, deadline: float) -> Grant | None:
        """The head's part: ask whenever the lock may be free."""
        while await line.due(self._clock, deadline):
            line.watch.clear()
            line.retry_at = 0.0  # where the attempt fails or is left, the next head must ask
            answer = await self._try(caller, deadline)
            if answer is None:
                line.watch.clear()
                line.retry_at = self._clock() + self._jitter(*UNTOLD)
                continue
            if isinstance(answer, Held):
                self._contend(caller)
                line.retry_at = self._clock() + self._patience(answer.ms)
                continue
            grant = self._in_time(caller, answer)
            if grant is not None:
                line.retry_at = self._clock() + self._patience(caller.ttl_ms)
                return grant
            # Without the pause a time too short to be of use would be asked for again at once, and
            # for as long as it may wait.
            line.retry_at = self._clock() + self._jitter(*UNTOLD)
            await self._returns.undo(caller, deadline)
            line.watch.clear()
        return None

    def _patience(self, ms: int) -> float:
        """Seconds until the head asks of its own accord, of a lock that is held for so long."""
        left = ms / 1000 if ms >= 0 else 0.0 if ms == -2 else LONGEST
        if not self._watching.tracking:
            return min(left + self._jitter(*LATER), self._jitter(*UNTOLD))
        return min(left, LONGEST) + self._jitter(*LATER)

    @contextmanager
    def _standing(self, resource: bytes) -> Generator[tuple[Line, Turn], None, None]:
        """A place in the line for a resource, which is there as long as somebody stands in it."""
        line = self._lines.get(resource)
        if line is not None and len(line.turns) >= LINE_MAX:
            raise LockBusy(f"{LINE_MAX} requests wait for the lock {shown(resource)} already")
        with self._room:
            if line is None:
                line = self._lines[resource] = Line(self._watching.watch(lock_key(resource)))
            turn: Turn = self._loop.create_future()
            line.enter(turn)
            try:
                yield line, turn
            finally:
                line.leave(turn)
                if not line.turns:
                    del self._lines[resource]
                    line.watch.close()

    # --- Attempts -----------------------------------------------------------------------------

    async def _try(self, caller: Caller, deadline: float, only_mine: bool = False) -> Answer | None:
        """One attempt. None: its connection was lost, and there is time for another, which then
        takes no longer than that."""
        lost = caller.lost
        left = None if lost is None else max(0.0, deadline - self._clock())
        try:
            async with asyncio.timeout(left):
                return await self._attempt(caller, only_mine)
        except TimeoutError:
            assert lost is not None
            raise lost from None
        except UpstreamLost:
            if self._clock() >= deadline:
                raise
            return None

    async def _attempt(self, caller: Caller, only_mine: bool = False) -> Answer:
        """One question to the server. It goes on without us when we are cancelled."""
        if self._fresh and caller.named:
            caller.nonce = self._token()
        elif self._fresh:
            caller.token = self._token()
        answered: asyncio.Future[Answer] = self._loop.create_future()
        self._start(self._ask(caller, only_mine, answered))
        try:
            return await answered
        except asyncio.CancelledError:
            # Both may have happened in one turn of the loop: the answer, and our end.
            if answered.done() and not answered.cancelled() and answered.exception() is None:
                self._orphan(caller, answered.result())
            raise

    async def _ask(self, caller: Caller, only_mine: bool, answered: asyncio.Future[Answer]) -> None:
        mine = b"mine" if only_mine else b""
        keys = keys_of(caller.resource)
        args = caller.token, b"%d" % caller.ttl_ms, fence_ms(caller.ttl_ms), mine, caller.nonce
        sent = self._clock()
        try:
            # Inside, too: whoever waits must hear also of an answer that is none.
            answer = answer_of(await self._write(ACQUIRE, keys, args), sent)
            caller.lost = None
        except Exception as error:
            if isinstance(error, ProxyError) and error.outcome_unknown:
                caller.lost = error
            if not answered.done():
                answered.set_exception(error)
            else:
                self._give_back_lost(caller)
            return
        except asyncio.CancelledError:  # the proxy stops
            answered.cancel()
            raise
        if answered.done():
            self._orphan(caller, answer)
        else:
            answered.set_result(answer)

    def _orphan(self, caller: Caller, answer: Answer) -> None:
        """An answer whose caller has left. What its token held before stays: the client that named
        it may count on that."""
        if isinstance(answer, Taken) and (answer.new or not caller.named):
            self._returns.give_back(caller)

    def _give_back_lost(self, caller: Caller) -> None:
        if caller.lost is not None:
            self._returns.give_back(caller)

    def _in_time(self, caller: Caller, taken: Taken) -> Grant | None:
        """What the client gets; None where nothing is left of it: we were stopped, or the server
        was."""
        spent = int((self._clock() - taken.sent) * 1000) + 1
        valid_ms = caller.ttl_ms - spent - drift_ms(caller.ttl_ms)
        return Grant(caller.token, taken.fence, valid_ms) if valid_ms > 0 else None

    def _contend(self, caller: Caller) -> None:
        if not caller.contended:
            caller.contended = True
            self._stats.add("locks_contended")
