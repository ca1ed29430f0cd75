"""CLIENT UNBLOCK of a client that waits in some node: to that node, with the number that it knows.

    CLIENT UNBLOCK 1152921504606846977 ─▶ that connection's real lane ─▶ At(shard, ... UNBLOCK 42)

The server is asked as whoever asks, so that its ACL decides. Anything else is the planner's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..resp.requests import encode, integer_of
from .blocking import Blocked
from .cluster import Cluster
from .connection import Connection
from .plans import At, Plan, Planning, Spread


class Unblocking:
    """A planner, and what it does not know. ``open_``: the connections by their number."""

    def __init__(
        self, planner: Planning, cluster: Cluster, open_: Mapping[int, Connection]
    ) -> None:
        self._planner = planner
        self._cluster = cluster
        self._open = open_

    def plan(self, words: Sequence[bytes], resp: int = 2) -> Plan:
        if len(words) > 2 and words[0].upper() == b"CLIENT" and words[1].upper() == b"UNBLOCK":
            return self._unblock(words) or self._planner.plan(words, resp)
        return self._planner.plan(words, resp)

    def by_key(self, words: Sequence[bytes], resp: int = 2) -> Spread | None:
        return self._planner.by_key(words, resp)

    def _unblock(self, words: Sequence[bytes]) -> Plan | None:
        connection = self._open.get(integer_of(words[2]) or 0)
        waits: Blocked | None = connection.state(Blocked) if connection is not None else None
        lane = waits.lane if waits is not None else None
        topology = self._cluster.topology
        if lane is None or not lane.client_id or topology is None:
            return None
        for index, shard in enumerate(topology.shards):
            if (shard.primary.host, shard.primary.port) == (lane.host, lane.port):
                asked = encode([*words[:2], b"%d" % lane.client_id, *words[3:]])
                return At(index, asked, lambda replies: replies[0])
        return None
