"""Which nodes of a shard may answer reads (``read_from``), as they tell of themselves.

    tick ── INFO ─▶ each node ─▶ Health: link up? loading? how far? ─▶ readers(shard)

A replica is read while it answers, its link is up, it is not loading, and it has all that its
primary had ``max_lag`` seconds ago. Otherwise it is left until it is well again. Owns no request:
which of the readers a client has is reads.py's."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final

from ..upstream.ask import Reply
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey
from ..upstream.lanes import Lanes
from .topology import Node, Shard

# Seconds after which a node whose INFO has not come is read no more, and is given up.
SILENT_S: Final = 0.9
LOST_S: Final = 1.9
# Round trips of which the lowest counts, and by how much another node must be better.
TRIPS: Final = 8
BETTER: Final = 0.7
BETTER_S: Final = 0.0001

_FIELD: Final = re.compile(rb"^([a-z_]+):([^\r\n]*)", re.MULTILINE)


class ReadFrom(Enum):
    PRIMARY = "primary"
    PREFER_REPLICA = "prefer_replica"
    NEAREST = "nearest"
    REPLICA = "replica"


class Health:
    """What a node has said of itself."""

    def __init__(self) -> None:
        self.well = False  # a replica that may be read, but for its lag
        self.zone = ""
        self.offset = -1
        self.idle = 0  # seconds since it heard of its primary
        self.asked = 0.0  # when, and not answered yet; 0: it is
        self.heard = 0.0  # when it answered last
        self.past = deque[tuple[float, int]]()  # as primary: when it was so far
        self.trips = deque[float](maxlen=TRIPS)

    def __repr__(self) -> str:
        return f"<Health well={self.well} offset={self.offset} zone={self.zone!r}>"

    def take(self, info: bytes, now: float, keep: float) -> None:
        fields = dict(_FIELD.findall(info))
        self.heard = now
        self.trips.append(now - self.asked)
        self.zone = fields.get(b"availability_zone", b"").decode("latin-1")
        replica = fields.get(b"role") == b"slave"
        up = fields.get(b"master_link_status") == b"up"
        self.well = replica and up and fields.get(b"loading", b"0") == b"0"
        self.idle = _number(fields.get(b"master_last_io_seconds_ago"))
        self.offset = _number(
            fields.get(b"slave_repl_offset" if replica else b"master_repl_offset")
        )
        if replica:
            self.past.clear()
            return
        # It was so far when it was asked, at the least.
        self.past.append((self.asked, self.offset))
        while len(self.past) > 1 and self.past[1][0] <= now - keep:
            self.past.popleft()

    @property
    def trip(self) -> float:
        return min(self.trips, default=float("inf"))


class Replicas:
    """``pool`` gives the lanes to a node, ``changed`` is told that some node may be read that
    could not, or the other way round."""

    def __init__(
        self,
        read_from: ReadFrom,
        pool: Callable[[str, int], Lanes],
        clock: Callable[[], float],
        *,
        max_lag: float,
        zone: str = "",
    ) -> None:
        self.read_from = read_from
        self.version = 0  # grows when ``readers`` may answer otherwise
        self.reads = 0  # requests that were sent to replicas
        self._pool = pool
        self._clock = clock
        self._max_lag = max_lag
        self._zone = zone
        self._health: dict[bytes, Health] = {}
        self._doubted: set[bytes] = set()  # until they have answered again
        self._nearest: dict[bytes, bytes] = {}  # by primary, who was it last
        self._told: dict[bytes, tuple[bytes, ...]] = {}

    def __repr__(self) -> str:
        return f"<Replicas {self.read_from.value} nodes={len(self._health)} reads={self.reads}>"

    @property
    def active(self) -> bool:
        return self.read_from is not ReadFrom.PRIMARY

    # --- Who may be read --------------------------------------------------------------------------

    def readers(self, shard: Shard) -> list[Node]:
        """The nodes of a shard that reads go to: any of them. Without any: to the primary, but
        for ``replica``, where that is an error."""
        primary = self._of(shard.primary)
        fit = [node for node in shard.replicas if self._fit(node, primary)]
        if self.read_from is not ReadFrom.NEAREST:
            return fit
        nodes = [shard.primary, *fit]
        if self._zone:
            near = [node for node in nodes if self._of(node).zone == self._zone]
            if near:
                return near
        return [self._closest(shard.primary.id, nodes)]

    def _fit(self, node: Node, primary: Health) -> bool:
        health, now = self._of(node), self._clock()
        if not health.well or node.id in self._doubted:
            return False
        if health.asked and now - health.asked > SILENT_S:
            return False
        if not primary.heard or now - primary.heard > max(self._max_lag, 2 * LOST_S):
            return health.idle <= self._max_lag  # the primary does not tell how far it is
        long_ago = health.heard - self._max_lag
        was = [offset for at, offset in primary.past if at <= long_ago]
        return not was or health.offset >= was[-1]

    def _closest(self, shard: bytes, nodes: list[Node]) -> Node:
        last = next((node for node in nodes if node.id == self._nearest.get(shard)), nodes[0])
        best = min(nodes, key=lambda node: self._of(node).trip)
        ours, trip = self._of(last).trip, self._of(best).trip
        if trip < ours * BETTER and trip < ours - BETTER_S:
            last = best
        self._nearest[shard] = last.id
        return last

    def doubt(self, node: Node) -> None:
        """It has refused a read, or was lost: not before it has answered again."""
        self._doubted.add(node.id)
        self.version += 1

    # --- Asking -----------------------------------------------------------------------------------

    def tick(self, shards: Iterable[Shard]) -> None:
        """Once a second: ask all nodes how they are."""
        if not self.active:
            return
        shards = list(shards)
        nodes = [node for shard in shards for node in (shard.primary, *shard.replicas)]
        for gone in self._health.keys() - {node.id for node in nodes}:
            del self._health[gone]
            self._doubted.discard(gone)
        for node in nodes:
            self._ask(node)
        self._look(shards)

    def silent(self, node: Node) -> bool:
        """Whether it has been asked for so long that what is in flight there is given up."""
        asked = self._of(node).asked
        return bool(asked) and self._clock() - asked > LOST_S

    def _ask(self, node: Node) -> None:
        health = self._of(node)
        if health.asked:
            return
        asked = health.asked = self._clock()
        doubted = node.id in self._doubted

        def told(reply: Reply) -> None:
            if health.asked != asked:
                return
            if isinstance(reply, bytes) and reply[:1] in b"$=":
                health.take(reply, self._clock(), self._max_lag)
                if doubted:
                    self._doubted.discard(node.id)
            else:
                health.well = False
            health.asked = 0.0
            self.version += 1

        lane: Lane = self._pool(node.host, node.port).shared(LaneKey())
        lane.ask(told, b"INFO")

    def _look(self, shards: list[Shard]) -> None:
        """Time alone makes a node unfit."""
        found = {
            shard.primary.id: tuple(node.id for node in self.readers(shard)) for shard in shards
        }
        if found != self._told:
            self._told = found
            self.version += 1

    def _of(self, node: Node) -> Health:
        return self._health.setdefault(node.id, Health())


def _number(field: bytes | None) -> int:
    return int(field) if field is not None and field.lstrip(b"-").isdigit() else -1
