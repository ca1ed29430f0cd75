"""Locks that are a vote of several servers which know nothing of each other (Redlock).

    Locks ── script ──▶ Quorum ──▶ server 1 .. N, each with a deadline of its own
                          ├ most of all N agree: one reply, as one server would give it
                          └ they do not: what was taken is given back, wherever that may be

    ACQUIRE   1. each server grants, or says who holds it; most must grant
              2. the greatest of their fences becomes that of most: any two majorities have a
                 server in common, so that the next fence is greater
    a watch fires when as many servers have changed as were missing at the last attempt

What is left of the lock's time is counted from before the first question: by locks.py, which sees
one server here. Owns no connection: process/lock_servers.py does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from ...lua import Script, script
from ..bell import Bell
from ..errors import ProxyError, UpstreamDown, UpstreamLost
from ..keys.ours import grant_key, lock_key, resource_of
from ..resp.replies import Value, number
from . import votes
from .grants import Taken
from .lines import Caller
from .returns import Returns, Start
from .votes import Enough, Vote

ACQUIRE: Final = script("lock_acquire")
FENCE: Final = script("lock_fence")
RELEASE: Final = script("lock_release")
EXTEND: Final = script("lock_extend")
RENEW: Final = script("lock_renew")
INFO: Final = script("lock_info")

# How long one server may take, in seconds: a part of the lock's time, so that those that are away
# do not use it up, and not less than a network needs.
PART: Final = 20
LEAST: Final = 0.05
MOST: Final = 1.0
# The pause of who has taken some and not enough: all who ask at once would do so again.
SPLIT: Final = (0.0, 0.1)


class Closing(Protocol):
    def close(self) -> None: ...


class LockServer(Protocol):
    """One of the servers (process/lock_servers.py)."""

    name: str  # for people

    @property
    def connected(self) -> bool: ...

    @property
    def tracking(self) -> bool:
        """Whether it tells of changes now."""
        ...

    async def ready(self) -> None:
        """Wait until it can be asked: nothing is kept for later. ProxyError: it is away."""
        ...

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value: ...

    def listen(self, key: bytes, changed: Callable[[], None]) -> Closing:
        """Call ``changed`` whenever the key may have changed, until that is closed."""
        ...


class QuorumWatch(Bell):
    """Whether a lock may have become free (custom/spec.py, Watch).

    The servers that change are counted from ``clear`` on, and compared with what the attempt finds
    that comes behind it: it is the last of ``missing`` that fires, never one that was free."""

    def __init__(self, servers: Sequence[LockServer], key: bytes, close: Callable[[], None]):
        super().__init__()
        self._changed = set[int]()
        self._elsewhere: frozenset[int] | None = None  # None: no attempt has told
        self._missing = 0
        self._close = close
        self._ears = [s.listen(key, partial(self._heard, at)) for at, s in enumerate(servers)]

    def __repr__(self) -> str:
        return f"<QuorumWatch changed={len(self._changed)} fired={self.fired}>"

    def _heard(self, at: int) -> None:
        self._changed.add(at)
        self._look()

    def found(self, elsewhere: frozenset[int], missing: int) -> None:
        """What an attempt has found: so many of these servers have to change."""
        self._elsewhere, self._missing = elsewhere, missing
        self._look()

    def _look(self) -> None:
        if self._elsewhere is None:
            return
        if len(self._changed & self._elsewhere) >= max(1, self._missing):
            self.ring()

    def clear(self) -> None:
        super().clear()
        self._changed.clear()
        self._elsewhere = None

    def close(self) -> None:
        for ear in self._ears:
            ear.close()
        self._close()


class Quorum:
    """The servers as one (locks.py, Running; custom/spec.py, Watching). ``start`` runs what asks
    one of them; it goes on when the majority is known."""

    def __init__(
        self,
        servers: Sequence[LockServer],
        start: Start,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        assert len(servers) % 2
        self._servers = servers
        self._start = start
        self._sleep = sleep
        self._jitter = jitter
        self._loop = asyncio.get_running_loop()
        self._watches: dict[bytes, set[QuorumWatch]] = {}
        self._returns = [
            Returns(partial(_give_back, server), start, clock=clock, sleep=sleep)
            for server in servers
        ]
        self._scripts: Mapping[
            Script, Callable[[Sequence[bytes], Sequence[bytes]], Awaitable[Value]]
        ] = {
            ACQUIRE: self._acquire,
            RELEASE: self._release,
            EXTEND: partial(self._prolong, EXTEND),
            RENEW: partial(self._prolong, RENEW),
            INFO: self._info,
        }

    def __repr__(self) -> str:
        connected = sum(server.connected for server in self._servers)
        returning = sum(map(len, self._returns))
        return f"<Quorum {connected}/{len(self._servers)} returning={returning}>"

    @property
    def majority(self) -> int:
        return len(self._servers) // 2 + 1

    # --- Watching -----------------------------------------------------------------------------

    @property
    def tracking(self) -> bool:
        """Whether all that are there tell of changes, and enough are."""
        telling = sum(server.tracking for server in self._servers)
        return telling >= max(self.majority, sum(server.connected for server in self._servers))

    def watch(self, *keys: bytes) -> QuorumWatch:
        (key,) = keys
        watching = self._watches.setdefault(key, set())

        def closed() -> None:
            watching.discard(watch)
            if not watching and self._watches.get(key) is watching:
                del self._watches[key]

        watch = QuorumWatch(self._servers, key, closed)
        watching.add(watch)
        return watch

    def forget(self, *keys: bytes) -> None:
        """Nothing of these servers is kept near."""

    # --- Scripts ------------------------------------------------------------------------------

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        """What one server would answer. NoMajority; ServerError where most refuse."""
        return await self._scripts[script](keys, args)

    async def _acquire(self, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        token, ms, keep, mine, nonce = args
        seconds = patience(int(ms))
        said = await self._poll(ACQUIRE, keys, args, seconds, self._decided)
        ballot = votes.ballot(said, self.majority)
        for watch in self._watches.get(keys[0], ()):
            # Where it is won the token's own servers are those that have to change.
            own = frozenset(range(len(said))) if ballot.won else ballot.elsewhere()
            watch.found(own, self.majority if ballot.won else ballot.missing)
        trouble = said
        if ballot.won:
            fences = [taken.fence for taken in ballot.taken]
            words = token, b"%d" % max(fences), keep, nonce
            agreed = await self._agree(keys, words, fences, seconds)
            if agreed is None:
                return [1, b"%d" % max(fences), int(any(taken.new for taken in ballot.taken))]
            trouble = agreed
        taken = False
        if not mine:
            resource = resource_of(keys[0])
            assert resource is not None
            taken = self._give_all_back(Caller(resource, token, int(ms), nonce), said)
        if ballot.won:
            raise votes.complaint(trouble, votes.tally(trouble).answered)
        if ballot.answered < self.majority:
            raise votes.complaint(said, ballot.answered)
        if taken and not ballot.over:
            await self._sleep(self._jitter(*SPLIT))
        return [0, votes.frees_in(ballot.held, ballot.missing)]

    def _decided(self, said: Sequence[Vote]) -> bool:
        return votes.ballot(said, self.majority).over

    async def _agree(
        self, keys: Sequence[bytes], args: Sequence[bytes], fences: Sequence[int], seconds: float
    ) -> Sequence[Vote] | None:
        """Have most servers know of a fence. None: they do; else what they said."""
        if len(set(fences)) == 1:
            return None
        said = await self._poll(FENCE, keys, args, seconds, _passed)
        return None if _passed(said) else said

    def _give_all_back(self, caller: Caller, said: Sequence[Vote]) -> bool:
        """Release what was taken, or may have been; whether any was."""
        taken = False
        for returns, vote in zip(self._returns, said, strict=True):
            if not isinstance(vote, ProxyError):
                answer = votes.ballot([vote], 1).answers[0]
                mine = answer is None or isinstance(answer, Taken)
                taken |= isinstance(answer, Taken)
            else:
                mine = vote.outcome_unknown
            if mine:
                returns.give_back(caller)
        return taken

    async def _release(self, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        said = await self._poll(RELEASE, keys, args, MOST, self._released)
        tally = votes.tally(said)
        if tally.answered < self.majority:
            raise votes.complaint(said, tally.answered, unknown=True)
        # It may have been the token's with those that are away.
        return int(tally.yes > 0 and tally.no < self.majority)

    def _released(self, said: Sequence[Vote]) -> bool:
        tally = votes.tally(said)
        return tally.passed or tally.no >= self.majority

    async def _prolong(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        said = await self._poll(script, keys, args, patience(int(args[1])), _passed_or_failed)
        tally = votes.tally(said)
        if not (tally.passed or tally.failed):
            raise votes.complaint(said, tally.answered, unknown=True)
        return int(tally.passed)

    async def _info(self, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        said = await self._poll(INFO, keys, args, MOST, lambda said: votes.looks(said).over)
        looks = votes.looks(said)
        if len(looks.seen) < self.majority:
            raise votes.complaint(said, len(looks.seen))
        return looks.reply()

    # --- Asking all ---------------------------------------------------------------------------

    async def _poll(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes],
        seconds: float,
        enough: Enough,
    ) -> Sequence[Vote]:
        """Ask all servers side by side, until enough is known or each has answered or used up its
        time. Who is slower goes on: what was asked of a server stays in its order there."""
        said: list[Vote] = [
            UpstreamDown(f"{server.name}: none in time") for server in self._servers
        ]
        left = len(said)
        settled: asyncio.Future[None] = self._loop.create_future()

        async def ask(at: int, server: LockServer) -> None:
            nonlocal left
            try:
                async with asyncio.timeout(seconds):
                    await server.ready()
                    if settled.done() and script is ACQUIRE:
                        return  # it was counted as one that has not taken it
                    # From here on nobody knows, until it answers.
                    said[at] = UpstreamLost(f"{server.name}: no answer in {seconds:g} s")
                    said[at] = await server.run(script, keys, args)
            except TimeoutError:
                pass
            except ProxyError as error:
                said[at] = error
            finally:
                left -= 1
                if not settled.done() and (not left or enough(said)):
                    settled.set_result(None)

        for at, server in enumerate(self._servers):
            self._start(ask(at, server))
        await settled
        return list(said)


def patience(ttl_ms: int) -> float:
    """How long one server may take, in seconds, for a lock of so many milliseconds."""
    return min(max(ttl_ms / 1000 / PART, LEAST), MOST)


def _passed(said: Sequence[Vote]) -> bool:
    return votes.tally(said).passed


def _passed_or_failed(said: Sequence[Vote]) -> bool:
    tally = votes.tally(said)
    return tally.passed or tally.failed


async def _give_back(server: LockServer, caller: Caller) -> bool:
    """Release at one server. ProxyError."""
    keys = lock_key(caller.resource), grant_key(caller.resource)
    try:
        async with asyncio.timeout(MOST):
            await server.ready()
            return (
                number(await server.run(RELEASE, keys, (caller.token, caller.nonce)), "a script")
                > 0
            )
    except TimeoutError:
        raise UpstreamLost(f"{server.name}: no answer in {MOST:g} s") from None
