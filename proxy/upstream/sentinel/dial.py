"""Opens connections to the master that Sentinels name now.

    open ─ Watch.named ─▶ connect ─▶ handshake with ROLE (handshake.py)
             ▲                │           │
             └── doubt ◀── it fails ◀─────┘ no master

What a lane sees of it is a Dial whose attempts fail or wait while there is no master, and end at
once when there is another. Knows no lane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ...settings.address import Tcp, Upstream
from ..dial import Dial, Retry
from ..tls_files import TlsFiles
from .answers import Naming
from .watch import Watch


class MasterDial(Dial):
    """``moves`` counts how often the master became another."""

    def __init__(
        self, upstream: Upstream, retry: Retry, watch: Watch, tls: TlsFiles | None = None
    ) -> None:
        super().__init__(upstream, retry, tls=tls)
        self.watch = watch
        self._clocks: set[asyncio.Timeout] = set()  # of connections on their way
        watch.moved.append(self._take_move)

    @property
    def address(self) -> str:
        naming = self.watch.naming
        return self.upstream.master if naming is None else f"{self.upstream.master} at {naming}"

    def _take_move(self, old: Naming, new: Naming) -> None:
        self.moves += 1
        self.wake()
        now = asyncio.get_running_loop().time()
        for clock in self._clocks:
            clock.reschedule(now)

    def failed(self) -> None:
        self.watch.doubt()

    async def open(
        self, loop: asyncio.AbstractEventLoop, protocol: Callable[[], asyncio.Protocol]
    ) -> asyncio.Transport:
        place, moves = await self.watch.named(), self.moves
        clock = asyncio.timeout(None)  # until the master is another
        try:
            async with clock:
                self._clocks.add(clock)
                wire = await self._connect(loop, protocol, place)
        except TimeoutError:
            if moves != self.moves:
                raise _moved(place) from None
            raise
        finally:
            self._clocks.discard(clock)
        if moves != self.moves:
            wire.abort()
            raise _moved(place)
        return wire


def _moved(place: Tcp) -> ConnectionError:
    return ConnectionError(f"{place} is the master no more")
