"""What the status page shows, as values: this moment, the last minutes, the servers, a key.

    GET /api/status              show()   all that present.py has, rates of the last minutes,
                                          latencies, hot keys, jobs
    GET /api/status/key?key=K    key(K)   its value (shortened), TTL, loader, tags, lease

The server is asked on the lane of the upstream's URL, as its user, and nothing counts as a read:
for a key, and for ``show`` only which of the hot keys that user may read. It tells all else also
while the server is away. Decides nothing; http/page.py asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, cast

from ..custom.spec import Asking
from ..custom.visible import visible
from ..errors import NOAUTH, ProxyError, ServerError
from ..jobs.board import Owner, Record
from ..keys.ours import lease_key
from ..loading.lease_scripts import TOKEN
from ..resp.replies import Value
from ..stats.history import SUMS, History, Sample, durations_of
from ..stats.keys import HOT
from ..stats.shared import Place
from .present import Present
from .wiring import Parts

VALUE_MOST: Final = 512  # bytes of a value that are shown
HOT_MOST: Final = 10
SAY_S: Final = 0.5  # for the server to say which of them may be seen
# What says how large a value of each type is.
SIZES: Final = {
    "string": b"STRLEN",
    "list": b"LLEN",
    "set": b"SCARD",
    "zset": b"ZCARD",
    "hash": b"HLEN",
    "stream": b"XLEN",
}


class Status:
    """``place``: where there are several workers, all numbers are those of all."""

    def __init__(self, parts: Parts, place: Place | None, clock: Callable[[], float]) -> None:
        self._parts = parts
        self._present = Present(parts, place)
        self._key = parts.lanes.primary_key
        self._clock = clock
        self._history = History()
        self.tick()

    def __repr__(self) -> str:
        return f"<Status {self._history!r}>"

    def tick(self) -> None:
        """Once a second."""
        rows = self._present.rows()
        sums = {name: float(rows[name]) for name in SUMS}
        self._history.take(Sample(self._clock(), sums, durations_of(self._present.series())))

    # --- The proxy ----------------------------------------------------------------------------

    async def show(self) -> Mapping[str, Value]:
        """ServerError: NOAUTH."""
        self._admit()
        return {
            **self._present.show(),
            "history": self._history.columns(self._clock()),
            "latencies": self._history.latencies(),
            "hot_keys": await self._hot_keys(),
            "jobs": [_job(one) for one in self._parts.jobs.all(Owner(self._key.db))],
        }

    async def _hot_keys(self) -> Value:
        """Those that the user of the upstream's URL may read, as the server says now; None: it does
        not say."""
        found = self._parts.views.seen(HOT, self._key.db)
        if not found:
            return []
        if self._parts.lanes.down is not None:
            return None
        try:
            async with asyncio.timeout(SAY_S):
                rows = await visible(self._parts.scopes.scope(self._key).call, found)
        except (ProxyError, TimeoutError):
            return None
        return rows[:HOT_MOST]

    def _admit(self) -> None:
        """ServerError where the server wants a login and the upstream's URL has none."""
        lanes = self._parts.lanes
        if lanes.locked(lanes.newcomer_key):
            raise ServerError(NOAUTH)

    # --- A key --------------------------------------------------------------------------------

    async def key(self, key: bytes) -> Mapping[str, Value]:
        """ProxyError: the server is away, or its user may not look."""
        self._admit()
        server = self._parts.scopes.scope(self._key).tracked.upstream
        kind = _name(await server.ask(b"TYPE", key))
        size = await server.ask(SIZES[kind], key) if kind in SIZES else None
        value = None
        if kind == "string":
            value = await server.ask(b"GETRANGE", key, b"0", b"%d" % (VALUE_MOST - 1))
        loader = self._parts.loaders.match(key)
        return {
            "type": kind,
            "size": size,
            "value": value,
            "shown": VALUE_MOST,
            "ttl_ms": await server.ask(b"PTTL", key),
            "loader": None if loader is None else loader.name,
            "loads_from": None if loader is None else loader.kind,
            "tags": [] if loader is None else loader.tags(key),
            "lease": await _lease(server, key),
        }


def _name(reply: Value) -> str:
    """A simple string, which is bytes or text by the protocol."""
    return reply.decode("latin-1") if isinstance(reply, bytes) else str(reply)


def _job(record: Record) -> Mapping[str, Value]:
    """Without what failed in it key by key."""
    map = {name: value for name, value in record.reply().items() if name != "errors"}
    return {"id": record.id, "command": record.command, **map}


async def _lease(server: Asking, key: bytes) -> Value:
    """Who loads the key, or how the last load ended, as take.lua has it; never the token."""
    name = lease_key(key)
    stands = cast("bytes | None", await server.ask(b"GET", name))
    if stands is None:
        return None
    ends_ms = await server.ask(b"PTTL", name)
    if stands.startswith(TOKEN):
        return {"state": "held", "ms": ends_ms}
    if stands.startswith(b"n"):
        return {"state": "not found", "ms": ends_ms}
    return {"state": "failed", "ms": ends_ms}
