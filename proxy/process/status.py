"""What the status page shows, as values: this moment, the last minutes, the servers, a key.

    GET /api/status              show()   the rows of STATS of all workers since they began, rates
                                          of the last minutes, latencies, servers, the near cache
    GET /api/status/key?key=K    key(K)   its value (shortened), TTL, loader, tags, lease

``show`` asks no server, so that it tells also while one is away. A key's are asked on the lane of
the upstream's URL, as its user, and count as no reads. Decides nothing; http/page.py asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from ..cluster.lanes import ClusterLanes
from ..custom.spec import Asking
from ..errors import NOAUTH, ProxyError, ServerError
from ..jobs.board import Owner, Record
from ..keys.ours import lease_key
from ..loading.lease_scripts import TOKEN
from ..resp.kernel import BUILD
from ..resp.replies import Value
from ..settings.config import VERSION
from ..stats.counters import Reading, hit_ratio
from ..stats.families import Series
from ..stats.history import SUMS, History, Sample, durations_of
from ..stats.shared import Place
from .labels import pools_of
from .wiring import Parts

VALUE_MOST: Final = 512  # bytes of a value that are shown
# What says how large a value of each type is.
SIZES: Final = {
    "string": b"STRLEN",
    "list": b"LLEN",
    "set": b"SCARD",
    "zset": b"ZCARD",
    "hash": b"HLEN",
    "stream": b"XLEN",
}
# The families of stats/families.py that servers have, each with another label.
BY_NODE: Final = ("lanes", "tracked_lanes", "lane_queue")


class Status:
    """``place``: where there are several workers, all numbers are those of all."""

    def __init__(self, parts: Parts, place: Place | None, clock: Callable[[], float]) -> None:
        self._parts = parts
        self._place = place
        self._clock = clock
        self._history = History()
        self.tick()

    def __repr__(self) -> str:
        return f"<Status {self._history!r}>"

    def tick(self) -> None:
        """Once a second."""
        rows = self._rows()
        sums = {name: float(rows[name]) for name in SUMS}
        self._history.take(Sample(self._clock(), sums, durations_of(self._series())))

    def _rows(self) -> Mapping[str, Reading]:
        stats = self._parts.stats
        return stats.totals() if self._place is None else self._place.totals(stats)

    def _series(self) -> Series:
        families = self._parts.families
        return families.series() if self._place is None else self._place.series(families)

    # --- The proxy ----------------------------------------------------------------------------

    def show(self) -> Mapping[str, Value]:
        """ServerError: NOAUTH."""
        self._admit()
        rows, near, lanes = dict(self._rows()), self._parts.context.near, self._parts.lanes
        rows["tracking"] = "on" if rows["tracking"] in ("on", 1) else "off"
        ratio = hit_ratio(int(rows["hits"]), int(rows["misses"]))
        return {
            "version": VERSION,
            "build": BUILD,
            "stats": {"hit_ratio": ratio, **rows},
            "history": self._history.columns(self._clock()),
            "latencies": self._history.latencies(),
            "near_budget": None if near is None else near.budget,
            "down": _words(lanes.down),
            "nodes": self._nodes(self._series()),
            "jobs": [_job(one) for one in self._parts.jobs.all(Owner(lanes.primary_key.db))],
        }

    def _admit(self) -> None:
        """ServerError where the server wants a login and the upstream's URL has none."""
        lanes = self._parts.lanes
        if lanes.locked(lanes.newcomer_key):
            raise ServerError(NOAUTH)

    def _nodes(self, series: Series) -> Sequence[Value]:
        """Each server that is known: its part in the cluster, and the connections to it."""
        lanes = self._parts.lanes
        found: dict[str, dict[str, Value]] = {}
        if isinstance(lanes, ClusterLanes):
            for (primary, replicas), slots in zip(lanes.shards, lanes.slots, strict=True):
                found[primary] = {"role": "primary", "slots": slots}
                found |= {one: {"role": "replica", "slots": None} for one in replicas}
        down = {pool.dial.address: _words(pool.down) for pool in pools_of(lanes)}
        for address in down:
            found.setdefault(address, {"role": "server", "slots": None})
        return [
            {
                "address": address,
                **node,
                "down": down.get(address),
                **{name: _of_node(series, name, address) for name in BY_NODE},
            }
            for address, node in found.items()
        ]

    # --- A key --------------------------------------------------------------------------------

    async def key(self, key: bytes) -> Mapping[str, Value]:
        """ProxyError: the server is away, or its user may not look."""
        self._admit()
        server = self._parts.scopes.scope(self._parts.lanes.primary_key).tracked.upstream
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


def _of_node(series: Series, name: str, address: str) -> Mapping[str, Value]:
    return {
        labels[1]: int(numbers[0])
        for (family, labels), numbers in series.items()
        if family == name and labels[0] == address
    }


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


def _words(error: ProxyError | None) -> str | None:
    return None if error is None else str(error)
