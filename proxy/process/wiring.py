"""What one serving process is made of, and what is made of what.

    lanes ◀── scopes (flights, locks) ◀── context ◀── sessions, one for each client
      ▲         │ loaders, stats, near cache
      └─ fleet ─┘

``wire`` reads the Config, so that nothing below has to: each part gets its values. The only module
that imports the commands. Starts nothing and asks the upstream nothing: server.py does, with the
parts that it gets here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ...commands import COMMANDS
from ..cluster import local
from ..cluster.lanes import ClusterLanes
from ..cluster.replicas import ReadFrom
from ..custom.strings import strings
from ..errors import (
    NOAUTH,
    ProxyError,
    ServerError,
    UpstreamDown,
    UpstreamLost,
    UpstreamRefused,
    is_away,
)
from ..forgoing import forgoing
from ..hot.answers import Turn
from ..jobs.jobs import Jobs
from ..keys.ours import OurKeys
from ..loading.demo import DemoSource
from ..loading.loaders import Loaders
from ..near.cache import NearCache
from ..resp.kernel import BUILD
from ..resp.replies import Value
from ..session.acts.conduct import ALL_ACTS
from ..session.acts.permits import newcomers_changed
from ..session.clients import Clients
from ..session.context import Context
from ..session.holding import Holding
from ..session.scopes import Scopes
from ..session.session import Session
from ..session.spanned import command_span
from ..settings.address import Kind as UpstreamKind
from ..settings.address import Tcp, Upstream
from ..settings.config import VERSION, Config
from ..settings.loaders import DEMO
from ..stats.counters import Stats, info_section
from ..stats.families import Families
from ..stats.fleet import Fleet
from ..stats.keys import Keys
from ..stats.sampler import EVERY, Sampler
from ..stats.shared import Place
from ..stats.slowlog import SlowLog
from ..stats.views import Views
from ..table.table import Ours, snapshot
from ..upstream.dial import ATTEMPTS, Dial, Retry
from ..upstream.lane import Lane
from ..upstream.lanes import Lanes
from ..upstream.sentinel.answers import Change, Naming
from ..upstream.sentinel.lane import MasterLane
from ..upstream.sentinel.master import Master
from . import gauges, labels
from .clustered import cluster_lanes
from .lock_maker import LockMaker
from .lock_servers import LockServers
from .scope_maker import Rooms, ScopeMaker, Start
from .slow import SlowWatch
from .traced import traces_of

if TYPE_CHECKING:
    from ..http.api import Http
    from ..http.page import Shown

LEAVING = ProxyError(b"-STOPPING the proxy is about to stop")


@dataclass(frozen=True, slots=True)
class Told:
    """Whom the parts tell what happens: methods of the server."""

    client_left: Callable[[], None]
    lane_ready: Callable[[Lane], None]
    lane_refused: Callable[[Lane, UpstreamRefused], None]
    unknown_command: Callable[[], None]  # the table may not have all that the server knows
    is_cluster: Callable[[], None]  # the one server is a node of a cluster
    newcomers: Callable[[], None] = lambda: None  # the server bars them now, or lets them in


@dataclass(frozen=True, slots=True)
class Parts:
    """What the server itself has to do with."""

    lanes: Lanes
    master: Master | None  # where Sentinels name it
    loaders: Loaders
    stats: Stats
    fleet: Fleet
    scopes: Scopes
    context: Context
    lock_servers: LockServers | None  # where locks are a vote of several
    rooms: Rooms
    jobs: Jobs
    views: Views
    http_hosts: Sequence[str]  # names that HTTP may be asked under
    # http_token, and who may read /metrics
    http_gate: tuple[str | None, str] = field(repr=False)
    http_demo: bool  # whether HTTP makes up what no loader is for
    families: Families = field(default_factory=Families)

    @property
    def primary(self) -> Lane:
        """The lane of the upstream's URL, on which the proxy asks for itself."""
        return self.lanes.shared(self.lanes.primary_key)

    def session(self) -> Session:
        """The session of a client that has just connected."""
        session = Session(self.context, ALL_ACTS, self.lanes.newcomer_key)
        session.timed = self.loaders.any_timed
        self.context.holding.take(session)
        if isinstance(self.lanes, ClusterLanes):
            session.written = self.lanes.written()
        return session


def wire(
    config: Config,
    upstream: str,
    *,
    loop: asyncio.AbstractEventLoop,
    start: Start,
    start_work: Start,
    told: Told,
    as_cluster: bool = False,
) -> Parts:
    """All parts. ``start`` runs lanes, ``start_work`` runs commands of our own and their loads;
    ``as_cluster``: the upstream's one server is known to be a node of a cluster.
    StartError: a function that a loader calls is not there."""
    behind = config.behind(upstream)
    address = behind.as_cluster if as_cluster else behind
    master = _master(address)
    # The loop's own clock stands still while it runs what has come.
    sampler = Sampler(EVERY, clock=time.perf_counter)
    lanes = _lanes(config, address, master, start, told, lambda: context, sampler)
    traces = traces_of(config, address.address)
    loaders = Loaders(config.loaders, demo=config.env == "development", traces=traces)
    stats = Stats()
    fleet = _fleet(config, lanes, stats)
    near = NearCache(config.near_cache, ttl_max=config.near_ttl)
    near.fresh_ms = loaders.near_ms if loaders.any_timed else None
    near.stale_s = config.stale_if_down
    rooms = Rooms(config.max_waiters)
    keys, slow = Keys(), SlowLog(time.time, loop.time, config.slowlog)
    views = Views(keys, slow, sampler)
    locks = LockMaker(
        lanes, config.lock_servers, (start, start_work), loop.time, stats, rooms.locks
    )
    jobs = Jobs(start_work, loop.time, stats, traces)
    make_scope = ScopeMaker(
        lanes=lanes,
        loaders=loaders,
        stats=stats,
        fleet=fleet,
        near=near if near.active else None,
        start=start_work,
        clock=loop.time,
        rooms=rooms,
        jobs=jobs,
        ours=OurKeys(config.stats_key.encode()),
        running=lambda db: scopes.running(db),
        locks=locks,
        views=views,
    )
    scopes = Scopes(COMMANDS, make_scope, fleet.keep)
    context = _context(config, told, scopes, make_scope, loop)
    context.sampler = sampler
    context.slow, context.keys, context.traces = slow, keys, traces
    context.turn.time_by(sampler.gap, sampler.clock)
    listens = [one.host for one in config.http if isinstance(one, Tcp)]
    hosts = (*config.http_hosts, *listens)
    # As the service did that had this API first. Who has loaders has said where values come from.
    demo = config.env == "development" and not config.loaders

    def changed() -> None:
        newcomers_changed(context)
        told.newcomers()

    lanes.newcomers.changed = changed
    context.holding.seconds = config.hold_writes_on_failover
    if master is not None:
        _follow(master, context, stats)
    if isinstance(lanes, ClusterLanes):
        gauges.read_cluster(stats, lanes)
        context.hello = local.hello
    gate = (config.http_token, config.http_metrics)
    votes = locks.servers
    parts = Parts(
        lanes,
        master,
        loaders,
        stats,
        fleet,
        scopes,
        context,
        votes,
        rooms,
        jobs,
        views,
        hosts,
        gate,
        demo,
    )
    _show(parts, near, rooms, loop.time)
    gauges.read_tasks(stats, loop)
    return parts


def _master(upstream: Upstream) -> Master | None:
    # A failover takes seconds: no shorter in development.
    retry = Retry(ATTEMPTS["production"])
    return Master(upstream, retry) if upstream.kind is UpstreamKind.SENTINEL else None


def _follow(master: Master, context: Context, stats: Stats) -> None:
    """Have lanes and clients go where the master goes, and tell of it."""

    def moved(old: Naming, new: Naming) -> None:
        context.lanes.move(UpstreamLost(f"the master was {old} and is {new}"))
        context.holding.end("the master is another")

    def failover(change: Change) -> None:
        if change is Change.BEGINS:
            context.holding.begin()
        else:
            context.holding.end("the failover has come to nothing")

    info = context.info
    context.info = lambda: info() + f"master:{master.found}\r\n".encode()
    gauges.read_master(stats, master)
    master.watch.moved.append(moved)
    master.watch.failover = failover


def _lanes(
    config: Config,
    upstream: Upstream,
    master: Master | None,
    start: Start,
    told: Told,
    context: Callable[[], Context],
    sampler: Sampler,
) -> Lanes:
    kind = Lane if master is None else MasterLane

    def timed(*args: Any, **more: Any) -> Lane:
        lane = kind(*args, slow_s=config.slow_command_timeout, **more)
        if not lane.lent:  # whose clients may wait for the future
            lane.time_by(sampler.trips)
        return lane

    bounds: dict[str, Any] = {
        "lane": timed,
        "timeout_s": config.upstream_timeout,
        "most_s": config.command_timeout,
        "offline_max": config.offline_queue,
        "pinned_max": config.max_pinned,
        "pinned_wait": config.pinned_wait,
        "on_refused": told.lane_refused,
    }
    if upstream.kind is UpstreamKind.CLUSTER:
        retry = Retry(ATTEMPTS[config.env])
        return cluster_lanes(
            upstream,
            retry,
            start,
            commands=lambda: context().table.commands,
            valkey=lambda: context().valkey,
            node_ready=told.unknown_command,
            on_ready=told.lane_ready,
            read_from=ReadFrom(config.read_from),
            max_lag=config.replica_max_lag,
            zone=config.availability_zone or "",
            **bounds,
        )
    on_cluster = told.is_cluster if config.cluster == "auto" else None
    return Lanes(
        Dial(upstream, Retry(ATTEMPTS[config.env]), on_cluster) if master is None else master.dial,
        start,
        on_ready=told.lane_ready,
        **bounds,
    )


def _fleet(config: Config, lanes: Lanes, stats: Stats) -> Fleet:
    return Fleet(
        config.stats_key.encode(),
        lanes.shared(lanes.primary_key).ask,
        hits=lambda: stats.running("hits"),
        misses=lambda: stats.running("misses"),
        kept=bool(config.loaders) or config.chosen("stats_key"),
    )


def _context(
    config: Config,
    told: Told,
    scopes: Scopes,
    make_scope: ScopeMaker,
    loop: asyncio.AbstractEventLoop,
) -> Context:
    """What all sessions share, of the same parts that scopes are made of."""
    loaders, near, stats = make_scope.loaders, make_scope.near, make_scope.stats
    clients = Clients(config.max_clients, told.client_left)
    ours = Ours(
        commands=frozenset(scopes.specs),
        voids=loaders.any_managed,
        reads_through=loaders.any_read_through,
        near=near is not None,
        near_any=config.near_reads == "all",
    )
    return Context(
        lanes=make_scope.lanes,
        clients=clients,
        holding=Holding(clients, loop.call_later),
        table=snapshot(ours),
        learn=told.unknown_command,
        turn=Turn(loop.call_soon, loop.time(), loop.time),
        scopes=scopes,
        loaders=loaders,
        start=make_scope.start,
        customs=scopes.specs,
        info=lambda: info_section(stats.here()),
        near=near,
    )


def _show(parts: Parts, near: NearCache, rooms: Rooms, clock: Callable[[], float]) -> None:
    """Let the counters show what each part counts or holds itself."""
    stats, context = parts.stats, parts.context
    gauges.read_turn(stats, context.turn)
    gauges.read_near(stats, near)
    families = parts.families
    labels.read_commands(families, stats, context.turn, context.sampler)
    labels.read_strings(families, context.turn, stats.running)
    labels.read_loaders(families, parts.loaders)
    labels.read_scopes(families, parts.scopes)
    labels.read_lanes(families, parts.lanes)
    gauges.read_rooms(stats, loads=rooms.loads, locks=rooms.locks)
    stats.gauge("jobs_running", lambda: parts.jobs.running)
    gauges.read_process(
        stats, clients=context.clients, lanes=parts.lanes, scopes=parts.scopes, clock=clock
    )


def slow_watch_of(parts: Parts, now: Callable[[], float]) -> SlowWatch:
    """What watches the lanes for requests that take long."""
    lanes = parts.lanes

    def pools() -> Sequence[Lanes]:
        return (lanes, *lanes.pools) if isinstance(lanes, ClusterLanes) else (lanes,)

    return SlowWatch(pools, parts.context, now)


def http_of(
    parts: Parts,
    place: Place | None = None,
    leaving: Callable[[], bool] = lambda: False,
    status: Shown | None = None,
) -> Http:
    """The HTTP API over the same commands and counters, in the db of the upstream's URL. With a
    place on a board, its metrics are those of all workers. ``leaving``: the proxy is about to stop,
    and not ready for more. ``status``: what the status page shows."""
    # Imported here: it costs 50 ms, which those without HTTP need not pay.
    from ..http.api import Api, Http
    from ..http.gate import Gate
    from ..http.hosts import Hosts
    from ..stats.prometheus import CONTENT_TYPE, Metrics

    key = parts.lanes.primary_key
    stats = parts.stats
    reading = stats.reading if place is None else partial(place.reading, stats)
    families = parts.families
    series = families.series if place is None else partial(place.series, families)

    def admit() -> None:
        """Each request is a newcomer's."""
        if parts.lanes.locked(parts.lanes.newcomer_key):
            raise ServerError(NOAUTH)

    async def ping() -> object:
        if leaving():
            raise LEAVING
        if parts.lanes.silent:
            raise UpstreamDown("the server accepts connections and says nothing")
        try:
            return await parts.scopes.scope(key).tracked.upstream.ask(b"PING")
        except ServerError as error:
            # Of a server that asks clients for a login of theirs, that is an answer.
            if not str(error).startswith("NOAUTH "):
                raise
            return None

    async def run(words: Sequence[bytes]) -> Value:
        admit()
        with command_span(parts.context, words, key.db):
            return await parts.scopes.ask(words, key)

    async def get(name: bytes) -> bytes | None:
        admit()
        call = parts.scopes.scope(key).call
        if call.loads.alone(name):
            return None
        try:
            with forgoing(call.loads.fails_open(name)):
                if call.refreshes is not None and call.refreshes.timed(name):
                    value: Value = (await strings(call, [name]))[0]
                else:
                    value = await call.upstream.ask(b"GET", name)
        except ProxyError as why:
            if not is_away(why):
                raise
            return None  # GETORSET, which is asked next, gives its loader's value or this error
        if value is not None:
            parts.stats.add("hits")  # a miss is counted where it is loaded
        return cast("bytes | None", value)

    async def demo(name: bytes) -> tuple[bytes, int]:
        return (await DemoSource().load(name, {})).value or b"", round(DEMO.ttl * 1000)

    return Http(
        Api(
            run=run,
            get=get,
            ping=ping,
            metrics=Metrics(reading, VERSION, BUILD, series).text,
            metrics_type=CONTENT_TYPE,
            hosts=Hosts(parts.http_hosts),
            gate=Gate(*parts.http_gate),
            demo=demo if parts.http_demo else None,
            status=status,
        )
    )
