"""Subscriptions to the events of Sentinels, on several: the one that hears of a failover first may
be on the host that died.

    ear 1 ── subscribe ─▶ Sentinel a ── messages ─▶ told      each ear has a Sentinel of its own,
    ear 2 ── subscribe ─▶ Sentinel b ── messages ─▶ told      and takes another when it fails

Pub/sub is lossy: what happened while no ear listened is found by asking (watch.py), which each new
subscription and each loss begins. An ear asks PING, for a connection that died silently brings no
events. On up to five, for only the Sentinel that leads a failover tells that it begins."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import hiredis

from ...log import event
from ...settings.address import Tcp
from .answers import CHANGES, Event, told_of
from .link import Link, SentinelError
from .sentinels import Sentinels

log = logging.getLogger(__name__)

EARS: Final = 5
PING_EVERY: Final = 1.0  # seconds
PONG_WITHIN: Final = 1.0
# After a Sentinel failed another is tried; the same one no sooner.
AGAIN: Final = 1.0


class Listening:
    """``told`` gets each event with who has sent it; ``look`` is called where some may have been
    missed."""

    def __init__(
        self,
        sentinels: Sentinels,
        told: Callable[[Tcp, Event], None],
        look: Callable[[], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sentinels = sentinels
        self._told = told
        self._look = look
        self._sleep = sleep
        self._clock = asyncio.get_running_loop().time
        self._taken: dict[Tcp, bool] = {}  # by an ear, and whether it hears
        self._failed: dict[Tcp, float] = {}  # when

    def __repr__(self) -> str:
        return f"<Listening to {self.hearing} of {len(self._sentinels.known)}>"

    @property
    def hearing(self) -> int:
        """How many Sentinels are heard."""
        return sum(self._taken.values())

    async def run(self) -> None:
        """One ear. No failure ends it."""
        while True:
            address = self._next()
            if address is None:
                await self._sleep(AGAIN)
                continue
            self._taken[address] = False
            try:
                await self._listen(address)
            except OSError as why:
                self._lost(address, why)
            except Exception:  # a defect of ours: the next Sentinel may do without it
                log.exception("listening to a Sentinel failed")
                self._failed[address] = self._clock()
                await self._sleep(AGAIN)
            finally:
                del self._taken[address]

    def _next(self) -> Tcp | None:
        """A Sentinel that no ear has, the one whose failure is longest ago. None: there is none,
        now."""
        known = self._sentinels.known
        self._failed = {one: when for one, when in self._failed.items() if one in known}
        free = [one for one in known if one not in self._taken]
        best = min(free, key=lambda one: self._failed.get(one, 0.0), default=None)
        if best is None or self._failed.get(best, -AGAIN) + AGAIN > self._clock():
            return None
        return best

    async def _listen(self, address: Tcp) -> None:
        """Hear one Sentinel until it fails, or is known no more. OSError: why."""
        link = await self._sentinels.connect(address, partial(self._message, address))
        try:
            for answer in await link.ask_all([(b"SUBSCRIBE", channel) for channel in CHANGES]):
                if isinstance(answer, hiredis.ReplyError):
                    raise SentinelError(str(answer))
            self._taken[address] = True
            self._failed.pop(address, None)
            event(log, logging.DEBUG, "sentinel heard", sentinel=address)
            self._look()
            while address in self._sentinels.known:
                await self._until_ping(link)
                await link.ask(b"PING", seconds=PONG_WITHIN)
        finally:
            link.close()

    async def _until_ping(self, link: Link) -> None:
        try:
            async with asyncio.timeout(PING_EVERY):
                await asyncio.shield(link.gone)
        except TimeoutError:
            return

    def _message(self, address: Tcp, channel: bytes, text: bytes) -> None:
        what = told_of(channel, text)
        if what is not None:
            event(log, logging.DEBUG, "sentinel says", sentinel=address, channel=channel.decode())
            self._told(address, what)

    def _lost(self, address: Tcp, why: OSError) -> None:
        heard = self._taken[address]
        self._failed[address] = self._clock()
        level = logging.WARNING if heard else logging.DEBUG
        reason = str(why) or type(why).__name__
        event(log, level, "sentinel lost", sentinel=address, error=reason)
        if heard:
            self._look()
