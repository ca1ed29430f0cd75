"""Where the numbers are that /metrics shows with labels: gauges.py's counterpart.

Owns the list of (row of stats/families.py, where its values stand). What is counted as it happens
needs no line here. Called once by wiring.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from ..cluster.lanes import ClusterLanes
from ..hot.answers import Turn
from ..hot.lane import LaneState
from ..loading.loaders import Loaders
from ..session.scopes import Scopes
from ..stats.counters import Stats
from ..stats.families import Families, Labels, Numbers, numbers_of
from ..stats.sampler import Class, Sampler, Tier
from ..upstream.lane import Lane
from ..upstream.lane_key import Use
from ..upstream.lanes import Lanes

# Who can answer a command of each class: what else never happens, and has no series.
TIERS = {
    Class.READ: (Tier.NEAR, Tier.SERVER, Tier.LOAD, Tier.PROXY),
    Class.WRITE: (Tier.SERVER, Tier.PROXY),
    Class.OWN: (Tier.NEAR, Tier.SERVER, Tier.LOAD, Tier.PROXY),
    Class.OTHER: (Tier.SERVER, Tier.PROXY),
}


def read_commands(families: Families, stats: Stats, turn: Turn, sampler: Sampler) -> None:
    """What sessions count, and what was seen of how long it took; STATS has the sums."""

    def commands() -> Iterator[tuple[Labels, Numbers]]:
        counts = {
            (Class.READ, Tier.NEAR): turn.near_reads,
            (Class.OWN, Tier.NEAR): turn.near_owns,
            (Class.READ, Tier.SERVER): turn.asking,
            (Class.WRITE, Tier.SERVER): turn.writing,
            (Class.OWN, Tier.SERVER): turn.owns,
            (Class.OTHER, Tier.SERVER): turn.others,
            **{(kind, Tier.PROXY): count for kind, count in sampler.local.items()},
        }
        for (kind, tier), count in counts.items():
            yield (kind.value, tier.value), [count]

    def durations() -> Iterator[tuple[Labels, Numbers]]:
        for (kind, tier), histogram in sampler.commands.items():
            if tier in TIERS[kind]:
                yield (kind.value, tier.value), numbers_of(histogram)

    families.read("commands", commands)
    families.read("command_duration_seconds", durations)
    families.read("upstream_duration_seconds", lambda: [((), numbers_of(sampler.trips.histogram))])
    families.read(
        "command_errors", lambda: [(("server",), [turn.errors]), (("proxy",), [sampler.failures])]
    )
    stats.counter("commands", lambda: int(sum(count for _, (count,) in commands())))
    stats.counter("command_errors", lambda: turn.errors + sampler.failures)


def read_strings(families: Families, turn: Turn, running: Callable[[str], int]) -> None:
    """Hits and misses, by who answered; ``running`` has those of all."""

    def reads() -> Iterator[tuple[Labels, Numbers]]:
        hits, nils = turn.near_hits, turn.near_nils
        yield ("near", "hit"), [hits]
        yield ("near", "miss"), [nils]
        yield ("server", "hit"), [running("hits") - hits]
        yield ("server", "miss"), [running("misses") - nils]

    families.read("reads", reads)


def read_loaders(families: Families, loaders: Loaders) -> None:
    loaders.told = families.loaded
    families.read("loads_running", lambda: [((one.name,), [one.gate.running]) for one in loaders])
    families.read("loads_queued", lambda: [((one.name,), [one.gate.waiting]) for one in loaders])


def read_scopes(families: Families, scopes: Scopes) -> None:
    families.read("leases_held", lambda: [((), [scopes.leases_held])])
    families.read("locks_renewing", lambda: [((), [scopes.locks_renewing])])


def read_lanes(families: Families, lanes: Lanes) -> None:
    """The lanes of each server; in a cluster, of each node."""

    def counted(count: Callable[[Lane], Labels | None]) -> Iterator[tuple[Labels, Numbers]]:
        for pool in pools_of(lanes):
            found = Counter(map(count, pool.every()))
            for labels, number in found.items():
                if labels is not None:
                    yield (pool.dial.address, *labels), [number]

    def queues() -> Iterator[tuple[Labels, Numbers]]:
        for pool in pools_of(lanes):
            waits = [(len(lane.waiting), len(lane.offline)) for lane in pool.every()]
            yield (pool.dial.address, "sent"), [sum(sent for sent, _ in waits)]
            yield (pool.dial.address, "unsent"), [sum(unsent for _, unsent in waits)]

    families.read("lanes", lambda: counted(use_of))
    families.read("tracked_lanes", lambda: counted(tracking_of))
    families.read("lane_queue", queues)
    families.read("pinned_waiters", lambda: [((), [len(pool.line)]) for pool in _lenders(lanes)])


def pools_of(lanes: Lanes) -> Sequence[Lanes]:
    """Those whose lanes are connections."""
    return lanes.pools if isinstance(lanes, ClusterLanes) else (lanes,)


def _lenders(lanes: Lanes) -> Sequence[Lanes]:
    return (lanes, *lanes.pools) if isinstance(lanes, ClusterLanes) else (lanes,)


def use_of(lane: Lane) -> Labels | None:
    """What a connection is there for; None: there is none."""
    if lane.state is not LaneState.READY:
        return None
    if not lane.lent:
        return ("shared",)
    return ("warm",) if lane.owner is None else ("pinned",)


def tracking_of(lane: Lane) -> Labels | None:
    """Whether the server tells of changes there; None: nobody waits for it."""
    if lane.key.use is not Use.TRACKED or lane.lent:
        return None
    return ("on" if lane.tracking and lane.state is LaneState.READY else "off",)
