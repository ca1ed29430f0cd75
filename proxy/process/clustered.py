"""What a cluster is made of: a pool of lanes for each node, and over them those that sessions use.

A part of the wiring, which hands in what the Config says. Starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from ..cluster.cluster import Cluster
from ..cluster.lanes import ClusterLanes, NodeLanes
from ..cluster.planner import Planner
from ..cluster.replicas import ReadFrom
from ..cluster.table import one_key
from ..resp.kernel import RouteMap
from ..resp.routes import Route
from ..settings.address import Upstream
from ..table.table import Command, snapshot
from ..upstream.dial import Dial, Retry
from ..upstream.lane import Lane
from ..upstream.lanes import Lanes

Start = Callable[[Coroutine[Any, Any, None]], object]


def cluster_lanes(
    upstream: Upstream,
    retry: Retry,
    start: Start,
    *,
    commands: Callable[[], Mapping[bytes, Command]],
    valkey: Callable[[], bool],
    node_ready: Callable[[], None],
    on_ready: Callable[[Lane], None],
    timeout_s: float,
    read_from: ReadFrom = ReadFrom.PRIMARY,
    max_lag: float = 5.0,
    zone: str = "",
    **bounds: Any,
) -> ClusterLanes:
    """The lanes of the cluster that the upstream's seeds belong to. ``commands`` and ``valkey``
    tell what its servers have said of themselves; ``node_ready`` is called when a connection stands
    that all share, for its node may be another version by now. ``timeout_s``, in seconds, is also
    for how long a request waits until a node can answer it; ``max_lag`` is how many a replica
    that is read may be late. ``bounds`` are those of Lanes."""

    dial = Dial(upstream, retry)

    def of_a_node(lane: Lane) -> None:
        if not lane.lent:
            node_ready()

    def pool_of(host: str, port: int) -> Lanes:
        path = None if port else upstream.path  # see Upstream.as_cluster
        return NodeLanes(
            lambda pool: cluster.refresh("a connection was lost", pool),
            Dial(replace(upstream, host=host, port=port, path=path), retry, tls=dial.tls),
            start,
            on_ready=of_a_node,
            timeout_s=timeout_s,
            **bounds,
        )

    cluster = Cluster(
        [(seed.host, seed.port) for seed in upstream.seeds],
        pool_of,
        start,
        patience=timeout_s,
        commands=commands,
        valkey=valkey,
        read_from=read_from,
        max_lag=max_lag,
        zone=zone,
    )
    return ClusterLanes(
        cluster,
        Planner(commands, lambda: cluster.topology, valkey, cluster.refresh),
        # Of the table that ships with us: what else a server knows takes the planner's way.
        RouteMap(dict.fromkeys(one_key(snapshot().commands), int(Route.PLAIN))),
        dial,
        start,
        on_ready=on_ready,
        timeout_s=timeout_s,
        **bounds,
    )
