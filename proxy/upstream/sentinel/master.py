"""All that finds the master of one upstream, put together: process/wiring.py makes one where the
URL has Sentinels, and server.py runs its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

from ...settings.address import Upstream
from ..dial import Retry
from ..tls import tls_of
from .dial import MasterDial
from .listening import EARS, Listening
from .sentinels import Sentinels
from .watch import Watch


class Master:
    """``dial`` is for lanes, ``watch`` says who it is. StartError, when it is made: the TLS files
    cannot be used."""

    def __init__(self, upstream: Upstream, retry: Retry) -> None:
        tls = tls_of(upstream)
        self.sentinels = Sentinels(upstream, tls)
        self.watch = Watch(self.sentinels, asyncio.get_running_loop().time)
        self.listening = Listening(self.sentinels, self.watch.told, self.watch.look_soon)
        self.dial = MasterDial(upstream, retry, self.watch, tls)

    def __repr__(self) -> str:
        return f"<Master {self.found}>"

    @property
    def found(self) -> str:
        """For people: who it is, and by whose word."""
        naming, known = self.watch.naming, len(self.sentinels.known)
        name = self.sentinels.name
        if naming is None:
            return f"no master {name}: {self.watch.why}"
        return f"master {name} at {naming}, named by {self.watch.answering} of {known} Sentinels"

    def runs(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What is to run as tasks for as long as the process does."""
        yield self.watch.run()
        for _ in range(EARS):
            yield self.listening.run()
