"""The proxy as it is now, as values: the rows of STATS, its servers with the connections to them,
and what runs. Of all workers, and asked of no server.

    STATS PROXY, and by it ``nearhit top``       show()
    the status page                              status.py, which has the last minutes besides"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..cluster.lanes import ClusterLanes
from ..errors import ProxyError
from ..resp.kernel import BUILD
from ..resp.replies import Value
from ..settings.config import VERSION
from ..stats.counters import Reading, hit_ratio
from ..stats.families import Series
from ..stats.shared import Place
from .labels import pools_of
from .wiring import Parts

# The families of stats/families.py that servers have, each with another label.
BY_NODE: Final = ("lanes", "tracked_lanes", "lane_queue")
# Those that are told as sums.
SUMMED: Final = (
    "loads_running",
    "loads_queued",
    "leases_held",
    "locks_renewing",
    "pinned_waiters",
)


class Present:
    """``place``: where there are several workers, all numbers are those of all."""

    def __init__(self, parts: Parts, place: Place | None) -> None:
        self._parts = parts
        self._place = place

    def __repr__(self) -> str:
        return f"<Present workers={self._workers}>"

    @property
    def _workers(self) -> int:
        return 1 if self._place is None else self._place.workers

    def rows(self) -> Mapping[str, Reading]:
        """The rows of stats/counters.py, since the workers began."""
        stats = self._parts.stats
        return stats.totals() if self._place is None else self._place.totals(stats)

    def series(self) -> Series:
        """What has labels."""
        families = self._parts.families
        return families.series() if self._place is None else self._place.series(families)

    def show(self) -> Mapping[str, Value]:
        near, lanes, series = self._parts.context.near, self._parts.lanes, self.series()
        return {
            "version": VERSION,
            "build": BUILD,
            "workers": self._workers,
            "stats": self._stats(),
            "near_budget": None if near is None else near.budget * self._workers,
            **{name: _summed(series, name) for name in SUMMED},
            "down": words(lanes.down),
            "nodes": self._nodes(series),
        }

    def _stats(self) -> Mapping[str, Value]:
        rows = self.rows()
        ratio = hit_ratio(int(rows["hits"]), int(rows["misses"]))
        # Sums of workers are floats, and what they count is whole.
        whole = {name: int(row) for name, row in rows.items() if name != "tracking"}
        tracking = "on" if rows["tracking"] in ("on", 1) else "off"
        return {"hit_ratio": ratio, **whole, "tracking": tracking}

    def _nodes(self, series: Series) -> Sequence[Value]:
        """Each server that is known: its part in the cluster, and the connections to it."""
        lanes = self._parts.lanes
        found: dict[str, dict[str, Value]] = {}
        if isinstance(lanes, ClusterLanes):
            for (primary, replicas), slots in zip(lanes.shards, lanes.slots, strict=True):
                found[primary] = {"role": "primary", "slots": slots}
                found |= {one: {"role": "replica", "slots": None} for one in replicas}
        down = {pool.dial.address: words(pool.down) for pool in pools_of(lanes)}
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


def words(error: ProxyError | None) -> str | None:
    return None if error is None else str(error)


def _summed(series: Series, name: str) -> int:
    return int(sum(numbers[0] for (family, _), numbers in series.items() if family == name))


def _of_node(series: Series, name: str, address: str) -> Mapping[str, Value]:
    return {
        labels[1]: int(numbers[0])
        for (family, labels), numbers in series.items()
        if family == name and labels[0] == address
    }
