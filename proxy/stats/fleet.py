"""The hits and misses of all proxies of one upstream, kept there: a hash that each adds to.

    reads ─▶ running ──── once a second ────▶ HINCRBY ─▶ counted
                │ running - sent = due            │
                ◀──── not sent, or refused ───────┤
                                                  └─ outcome unknown ─▶ lost

A proxy that only passes commands on leaves no trace there: nothing is sent before one of the
proxy's own commands was used, loaders are configured or the key was chosen (``keep``).

No read waits for any of it. A proxy that is killed loses what the last second counted. What may or
may not have been counted is never sent again: better lost than counted twice."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Final, Protocol

from ..errors import (
    BadInput,
    OddReply,
    ProxyError,
    ServerError,
    UpstreamLost,
    UpstreamRefused,
    shown,
)
from ..log import event
from ..resp.replies import BULK, Value, items, parsed
from ..resp.requests import integer_of
from ..upstream.ask import Done, Reply
from .counters import Stats

log = logging.getLogger(__name__)

ANSWER_S: Final = 3.0  # how long STATS waits for the server
FINISH_S: Final = 0.2  # and how long the end of the process does
# After a refusal (no permission, a replica) only so often is it tried again: the server keeps a log
# of refusals (ACL LOG) that we must not fill.
REST_TICKS: Final = 60


class Sending(Protocol):
    """One request on the primary lane (Lane.ask)."""

    def __call__(self, done: Done, /, *words: bytes) -> None: ...


class Outcome(Enum):
    """What became of an increment."""

    COUNTED = auto()
    NOT_SENT = auto()
    UNKNOWN = auto()
    REFUSED = auto()


def outcome(reply: Reply) -> Outcome:
    if isinstance(reply, bytes):
        return Outcome.REFUSED if reply.startswith(b"-") else Outcome.COUNTED
    if reply.outcome_unknown:
        return Outcome.UNKNOWN
    return Outcome.REFUSED if isinstance(reply, UpstreamRefused) else Outcome.NOT_SENT


@dataclass(slots=True)
class Share:
    """This process's part of one number of the fleet's."""

    field: bytes
    running: Callable[[], int]  # only grows
    sent: int = 0  # how much of it is the upstream's, or lost

    @property
    def due(self) -> int:
        return self.running() - self.sent


class Fleet:
    """No key: nothing is kept upstream, the numbers are this process's own. ``kept``: they are from
    the start, else from the first ``keep`` on, with all that was counted before."""

    def __init__(
        self,
        key: bytes,
        ask: Sending,
        *,
        hits: Callable[[], int],
        misses: Callable[[], int],
        kept: bool = True,
    ) -> None:
        self._key = key
        self._kept = kept
        self._ask = ask
        self._shares = (Share(b"hits", hits), Share(b"misses", misses))
        self._unanswered = 0
        self._rest = 0  # ticks
        self._complained = False

    def __repr__(self) -> str:
        due = " ".join(f"{share.field.decode()}={share.due}" for share in self._shares)
        return f"<Fleet {self._key!r} due {due} unanswered={self._unanswered}>"

    # --- Adding -------------------------------------------------------------------------------

    def keep(self) -> None:
        """Somebody uses this proxy as more than a proxy."""
        self._kept = True

    def tick(self) -> None:
        """Once a second: send what was counted since. One batch at a time, however long the
        upstream is away."""
        if self._rest:
            self._rest -= 1
        elif not self._unanswered:
            self._flush()

    def _flush(self) -> None:
        if not (self._key and self._kept):
            return
        for share in self._shares:
            due = share.due
            if due:
                share.sent += due
                self._unanswered += 1
                answered = partial(self._answered, share, due)
                self._ask(answered, b"HINCRBY", self._key, share.field, b"%d" % due)

    def _answered(self, share: Share, due: int, reply: Reply) -> None:
        self._unanswered -= 1
        came = outcome(reply)
        if came in (Outcome.NOT_SENT, Outcome.REFUSED):
            share.sent -= due
        if came is Outcome.COUNTED:
            self._complained = False
        elif came is Outcome.REFUSED:
            self._rest = REST_TICKS
            if not self._complained:
                self._complained = True
                why = ServerError(reply) if isinstance(reply, bytes) else reply
                event(
                    log,
                    logging.WARNING,
                    "hits and misses not kept",
                    key=shown(self._key),
                    error=why,
                )

    async def finish(self) -> None:
        """Before the lanes are closed: what is due, once more."""
        if not self._kept:
            return
        with contextlib.suppress(ProxyError, TimeoutError):
            async with asyncio.timeout(FINISH_S):
                await self.totals()

    # --- Asking -------------------------------------------------------------------------------

    async def totals(self) -> tuple[int, int]:
        """Hits and misses, everything of this process included. ProxyError: cannot be had."""
        if not self._key:
            hits, misses = (share.due for share in self._shares)
            return hits, misses
        self._flush()
        fields = [share.field for share in self._shares]
        reply = await self._reply(b"HMGET", self._key, *fields)
        try:
            words = items(parsed(reply), "HMGET", BULK, BULK)
        except ValueError:
            raise OddReply("HMGET") from None
        hits, misses = map(self._number, words)
        return hits, misses

    def _number(self, word: object) -> int:
        number = 0 if word is None else integer_of(word) if isinstance(word, bytes) else None
        if number is None:
            raise BadInput(f"the hash at {shown(self._key)} holds no numbers; see stats_key")
        return number

    async def reset(self) -> None:
        """From zero, for all proxies. ProxyError: not done, or nobody knows."""
        dropped = [(share, share.due) for share in self._shares]
        # Taken at the sending: what is counted from here on comes behind the DEL.
        for share, due in dropped:
            share.sent += due
        if not self._key:
            return
        try:
            await self._reply(b"DEL", self._key)
        except ProxyError as error:
            if not error.outcome_unknown:
                for share, due in dropped:
                    share.sent -= due
            raise

    async def _reply(self, *words: bytes) -> bytes:
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def take(reply: Reply) -> None:
            if not answered.done():  # the time may be over
                answered.set_result(reply)

        self._ask(take, *words)
        try:
            async with asyncio.timeout(ANSWER_S):
                reply = await answered
        except TimeoutError:
            raise UpstreamLost(f"no answer in {ANSWER_S:g} s") from None
        if isinstance(reply, ProxyError):
            raise reply
        if reply.startswith(b"-"):
            raise ServerError(reply)
        return reply


class Statistics:
    """What commands see of it all (Statistics): this process's rows behind the fleet's numbers."""

    def __init__(
        self, stats: Stats, fleet: Fleet, begin_anew: Callable[[], None] = lambda: None
    ) -> None:
        self._stats = stats
        self._fleet = fleet
        self._begin_anew = begin_anew  # all else that a reset is of

    def add(self, name: str, count: int = 1) -> None:
        self._stats.add(name, count)

    def read(self, *, hit: bool) -> None:
        self._stats.add("hits" if hit else "misses")

    async def show(self) -> Mapping[str, Value]:
        return self._stats.show(*await self._fleet.totals())

    async def reset(self) -> None:
        await self._fleet.reset()
        self._stats.reset()
        self._begin_anew()
