"""Loads of one loader that are put together: one call of its source for up to ``batch`` keys.

    flights ─ coming ─▶ take ─▶ leased ─ load ─▶ waiting ─▶ a call at a time of up to ``most`` keys
                                others ─ gone                 (``calls`` of them side by side)

Nobody has a key wait for what may come: a call goes out when all takes that were under way as its
first key came are answered, which is what MGETORSET and a pipeline sent in one piece, or after
``LINGER`` where one of them is not. Knows no lease: flights.py tells what is coming."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from .source import Loaded, SourceError

LINGER: Final = 0.05  # seconds; a node that does not answer holds nobody up for longer

Outcomes = Sequence[Loaded | SourceError]
Start = Callable[[Coroutine[Any, Any, None]], object]


class Batches:
    """``call`` has an outcome for each of the keys, in their order. ``seconds``: its time."""

    def __init__(
        self,
        call: Callable[[Sequence[bytes]], Awaitable[Outcomes]],
        *,
        most: int,
        calls: int,
        seconds: float,
    ) -> None:
        self._call = call
        self._most = most
        self._calls = calls
        self._seconds = seconds
        self._running = 0
        self._count = 0  # takes so far
        self._coming: dict[int, None] = {}  # those under way, the oldest first
        # A key, who waits for it, and the newest take that it waits for.
        self._waiting: deque[tuple[bytes, asyncio.Future[Loaded], int]] = deque()

    def __repr__(self) -> str:
        return f"<Batches running={self._running}/{self._calls} waiting={len(self._waiting)}>"

    @contextmanager
    def coming(self, start: Start) -> Generator[None, None, None]:
        """For the length of the block it is asked for the lease of a key that may follow."""
        self._count += 1
        number = self._count
        self._coming[number] = None
        try:
            yield
        finally:
            del self._coming[number]
            # Later: the key itself comes behind this block, in the same turn of the loop.
            asyncio.get_running_loop().call_soon(self._send, start)

    async def load(self, key: bytes, start: Start) -> Loaded:
        """What the source has for the key, by a call that others may share. SourceError, or what
        the call raised. Cancelled, the call goes on without it."""
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[Loaded] = loop.create_future()
        if not self._waiting:
            loop.call_later(LINGER, self._linger_ends, mine, start)
        self._waiting.append((key, mine, self._count))
        loop.call_soon(self._send, start)
        return await mine

    def _linger_ends(self, first: asyncio.Future[Loaded], start: Start) -> None:
        """Nobody waits for takes any more, if the first of those keys still waits."""
        if any(mine is first for _, mine, _ in self._waiting):
            self._waiting = deque((key, mine, 0) for key, mine, _ in self._waiting)
            self._send(start)

    def _send(self, start: Start) -> None:
        """Start what calls can go out now."""
        while self._running < self._calls and self._due():
            batch: list[tuple[bytes, asyncio.Future[Loaded]]] = []
            while self._waiting and len(batch) < self._most:
                key, mine, _ = self._waiting.popleft()
                if not mine.done():
                    batch.append((key, mine))
            if not batch:
                return
            if self._waiting:
                first = self._waiting[0][1]
                asyncio.get_running_loop().call_later(LINGER, self._linger_ends, first, start)
            self._running += 1
            start(self._run(batch, start))

    def _due(self) -> bool:
        if len(self._waiting) >= self._most or not self._waiting:
            return bool(self._waiting)
        oldest = next(iter(self._coming), None)
        return oldest is None or oldest > self._waiting[0][2]

    async def _run(
        self, batch: Sequence[tuple[bytes, asyncio.Future[Loaded]]], start: Start
    ) -> None:
        failure: BaseException = SourceError("the call that it was part of was ended")
        outcomes: Outcomes = ()
        try:
            async with asyncio.timeout(self._seconds):
                outcomes = await self._call([key for key, _ in batch])
            assert len(outcomes) == len(batch), "an outcome for each key"
        except TimeoutError:
            # Each of its keys has the same time, and says itself that it is over.
            failure = SourceError(f"no answer in {round(self._seconds * 1000)} ms")
        except Exception as error:  # those who wait raise it
            failure, outcomes = error, ()
        finally:
            self._running -= 1
            for at, (_, mine) in enumerate(batch):
                outcome = outcomes[at] if outcomes else failure
                if mine.done():
                    continue
                if isinstance(outcome, Loaded):
                    mine.set_result(outcome)
                else:
                    mine.set_exception(outcome)
            self._send(start)
