"""What a cluster is made of: a pool of lanes for each node, and over them those that sessions use.

A part of the wiring, which hands in what the Config says. Starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from ..cluster.cluster import Cluster
from ..cluster.lanes import ClusterLanes, NodeLanes
from ..cluster.planner import Planner
from ..cluster.table import one_key
from ..resp.kernel import RouteMap
from ..resp.routes import Route
from ..settings.address import Upstream
from ..table.table import snapshot
from ..upstream.dial import Dial, Retry
from ..upstream.lane import Lane
from ..upstream.lanes import Lanes

Start = Callable[[Coroutine[Any, Any, None]], object]


def cluster_lanes(
    upstream: Upstream,
    retry: Retry,
    start: Start,
    *,
    on_ready: Callable[[Lane], None],
    timeout_s: float,
    **bounds: Any,
) -> ClusterLanes:
    """The lanes of the cluster that the upstream's seeds belong to. ``timeout_s``, in seconds, is
    also for how long a request waits until a node can answer it; ``bounds`` are those of Lanes."""
    table = snapshot()

    def pool_of(host: str, port: int) -> Lanes:
        path = None if port else upstream.path  # see Upstream.as_cluster
        return NodeLanes(
            lambda pool: cluster.refresh("a connection was lost", pool),
            Dial(replace(upstream, host=host, port=port, path=path), retry),
            start,
            on_ready=_of_a_node,
            timeout_s=timeout_s,
            **bounds,
        )

    cluster = Cluster(
        [(seed.host, seed.port) for seed in upstream.seeds],
        pool_of,
        start,
        patience=timeout_s,
        commands=lambda: table.commands,
    )
    return ClusterLanes(
        cluster,
        Planner(lambda: table.commands, lambda: cluster.topology),
        RouteMap(dict.fromkeys(one_key(table.commands), int(Route.PLAIN))),
        Dial(upstream, retry),
        start,
        on_ready=on_ready,
        timeout_s=timeout_s,
        **bounds,
    )


def _of_a_node(_lane: Lane) -> None:
    """A connection to one node stands: what it means for the whole is cluster/'s."""
