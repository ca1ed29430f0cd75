"""One serving process: builds the lanes and the sessions, owns every task, ends them in order.

serve ─ start: listen, connect, read COMMAND ─ ready ─ ... ─ signal ─ drain ─ close"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

import hiredis

from ...commands import COMMANDS
from ..bounds import WaitingRoom
from ..custom.spec import Call
from ..errors import CacheBusy, ExitCode, LockBusy, ProxyError, StartError, UpstreamRefused
from ..hot.session import Turn
from ..loading.flights import Flights
from ..loading.loaders import Loaders
from ..locking.locks import Locks
from ..log import event
from ..near.cache import NearCache
from ..resp.requests import Dialect
from ..session import clients
from ..session.acts.conduct import conduct
from ..session.acts.own import getorset
from ..session.clients import Clients
from ..session.scopes import Scope, Scopes
from ..session.session import Context, Session
from ..settings.address import BACKLOG, Upstream
from ..settings.config import VERSION, Config
from ..stats.counters import Stats, info_section
from ..stats.fleet import Fleet, Statistics
from ..table.table import Ours, snapshot, table_from_reply
from ..upstream.ask import Reply
from ..upstream.dial import ATTEMPTS, Dial, Retry
from ..upstream.lane import Lane, LaneKey
from ..upstream.lanes import Lanes
from ..upstream.tracked import STALE_MAX_MS, TrackedLane
from .listen import Doors

if TYPE_CHECKING:
    from ..http.api import Http

log = logging.getLogger(__name__)

LEARN_EVERY: Final = 10.0  # seconds
NEAR_FROM: Final = 7  # the version of Redis
LAST_WORDS: Final = 1.0  # seconds for leases and locks to be given up at the end


class Tasks:
    """Every task of the process: kept, ended at stop, and its failure made known."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task failed", exc_info=error)

    async def stop(self, seconds: float = 0.0) -> None:
        """Cancel all; what they start as they end (a lease to give up) gets so many seconds."""
        cancelled = set(self._running)
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)
        if self._running and seconds:
            await asyncio.wait(self._running, timeout=seconds)
        if self._running:
            await self.stop()


class Server:
    def __init__(self, config: Config, upstream: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks(self._loop)
        self._work = Tasks(self._loop)  # commands of our own and their loads
        self._config = config
        self._began = self._loop.time()
        self._dial = Dial(Upstream.parse(upstream), Retry(ATTEMPTS[config.env]))
        self._drain_timeout = config.drain_timeout
        self._listeners: list[asyncio.Server] = []
        self._stopping = False
        self._learnt_at = 0.0
        self._drained = asyncio.Event()  # the last client has left, or nobody waits for it
        self._answered = asyncio.Event()  # the upstream has been reached, or given up for now
        self._refused: ProxyError | None = None
        self.version = ""
        self.lanes = Lanes(
            self._dial,
            self._tasks.start,
            timeout_s=config.upstream_timeout,
            offline_max=config.offline_queue,
            on_ready=self._lane_ready,
            on_refused=self._lane_refused,
        )
        self._primary = self.lanes.shared(self.lanes.primary_key)
        self._turn = Turn(self._loop.call_soon, self._loop.time(), self._loop.time)
        most = config.max_waiters
        self._room = WaitingRoom(most, "loads and leases", CacheBusy)
        self._lock_room = WaitingRoom(most, "locks", LockBusy)
        self._loaders = Loaders(config.loaders, demo=config.env == "development")
        self._stats = Stats()
        self._fleet = Fleet(
            config.stats_key.encode(),
            self._primary.ask,
            hits=lambda: self._stats.running("hits"),
            misses=lambda: self._stats.running("misses"),
        )
        self.commands = Scopes(COMMANDS, self._place)
        self.near = NearCache(config.near_cache, ttl_max=config.near_ttl)
        self._ours = Ours(
            commands=frozenset(self.commands.specs),
            voids=self._loaders.any_managed,
            reads_through=self._loaders.any_read_through,
            near=self.near.active,
        )
        self.context = Context(
            lanes=self.lanes,
            clients=Clients(config.max_clients, self._client_left),
            table=snapshot(self._ours),
            conduct=conduct,
            learn=self._learn_again,
            turn=self._turn,
            commands=self.commands,
            loaders=self._loaders,
            start=self._work.start,
            getorset=getorset,
            customs=self.commands.specs,
            info=lambda: info_section(self._stats.here()),
            near=self.near if self.near.active else None,
        )
        self._read_gauges()
        self._http: Http | None = None

    def _place(self, key: LaneKey) -> Scope:
        """What commands have in a db that is asked for the first time."""
        scope = TrackedLane(self.lanes, key, self.context.near)
        flights = Flights(
            scope,
            self._loaders,
            start=self._work.start,
            clock=self._loop.time,
            count=self._stats.add,
            room=self._room,
        )
        locks = Locks(
            scope.upstream,
            scope,
            self._work.start,
            clock=self._loop.time,
            stats=self._stats,
            room=self._lock_room,
        )
        call = Call(
            request=None,
            upstream=scope.upstream,
            bulk=scope.bulk,
            leases=flights,
            locks=locks,
            stats=Statistics(self._stats, self._fleet),
            now=self._loop.time,
            sleep=asyncio.sleep,
        )
        return Scope(scope, flights, locks, call)

    def _read_gauges(self) -> None:
        """Where the numbers are that are not counted but looked at."""
        stats = self._stats
        stats.counter("hits", lambda: self._turn.hits)
        stats.counter("misses", lambda: self._turn.misses)
        near = self.near
        stats.counter("near_hits", lambda: near.hits)
        stats.counter("near_misses", lambda: near.misses)
        stats.counter("near_evictions", lambda: near.evictions)
        stats.counter("near_fills", lambda: near.fills)
        stats.counter("near_fills_refused", lambda: near.fills_refused)
        stats.counter("near_invalidations", lambda: near.invalidations)
        stats.counter("near_flushed_lost", lambda: near.flushes["lost"])
        stats.counter("near_flushed_silent", lambda: near.flushes["silent"])
        stats.counter("near_flushed_null", lambda: near.flushes["null"])
        stats.counter("near_flushed_written", lambda: near.flushes["flushed"])
        stats.gauge("near_stale_max_ms", lambda: STALE_MAX_MS)
        stats.gauge("near_entries", lambda: near.entries)
        stats.gauge("near_bytes", lambda: near.used)
        stats.gauge("clients", lambda: len(self.context.clients))
        stats.gauge("upstream_connections", lambda: len(self.lanes))
        stats.gauge("uptime_s", lambda: int(self._loop.time() - self._began))
        stats.gauge("tracking", lambda: "on" if self.commands.tracking else "off")
        stats.gauge("waiting", lambda: self._room.waiting)
        stats.gauge("lock_waiters", lambda: self._lock_room.waiting)

    async def start(self, doors: Doors[socket.socket]) -> None:
        """Listen, and wait until the upstream has answered or the retry rule is exhausted."""
        self._primary.users += 1
        self._tasks.start(self._tick())
        for sock in doors.clients:
            listen = (
                self._loop.create_unix_server
                if sock.family == socket.AF_UNIX
                else self._loop.create_server
            )
            listener = await listen(self._session, sock=sock, backlog=BACKLOG)
            self._listeners.append(listener)
        self._learn()
        if doors.http:
            # Imported here: it costs 0.3 s, which those without HTTP need not pay.
            from ..http.api import Api, Http
            from ..stats.prometheus import CONTENT_TYPE, Metrics

            metrics = Metrics(self._stats, VERSION)
            self._http = Http(
                Api(
                    run=lambda words: self.commands.ask(words, self.lanes.primary_key),
                    get=self._get,
                    ping=lambda: self._here.upstream.ask(b"PING"),
                    metrics=metrics.text,
                    metrics_type=CONTENT_TYPE,
                )
            )
            await self._http.start(doors.http)
        await self._answered.wait()
        if self._refused is not None:
            raise StartError(
                f"the upstream {self._dial.address} refused us: {self._refused}; "
                "see the user, password and database in --upstream (REDIS_URL)",
                ExitCode.REFUSED,
            )

    @property
    def _here(self) -> TrackedLane:
        """Where HTTP asks: the db and user of the upstream's URL."""
        return self.commands.place(self.lanes.primary_key).scope

    async def _get(self, key: bytes) -> bytes | None:
        value = cast("bytes | None", await self._here.upstream.ask(b"GET", key))
        if value is not None:
            self._stats.add("hits")  # a miss is counted where it is loaded
        return value

    def _session(self) -> asyncio.Protocol:
        # A compiled class cannot derive from asyncio.Protocol; it has all of its methods.
        return cast(asyncio.Protocol, Session(self.context, self.lanes.primary_key))

    async def _tick(self) -> None:
        """The clock: everything that happens once a second."""
        while True:
            self.context.turn.now = self._loop.time()
            await asyncio.sleep(1)
            self.commands.tick()
            self.lanes.tick()
            self._fleet.tick()

    # --- What is learnt from the upstream -----------------------------------------------------

    def _lane_ready(self, lane: Lane) -> None:
        if lane is self._primary and self._answered.is_set():
            self._learn()  # a new connection may be another version

    def _lane_refused(self, lane: Lane, why: UpstreamRefused) -> None:
        if lane is self._primary and not self._answered.is_set():
            self._refused = why
        elif lane.key.user is not None and why.login:
            # The server has dropped this user or its password: so do we drop its clients.
            for session in self.context.clients:
                if session.lane_key.user == lane.key.user:
                    session.close()

    def _learn_again(self) -> None:
        """A client knew a command that we do not; asked at most every ten seconds."""
        if self._loop.time() - self._learnt_at > LEARN_EVERY:
            self._learn()

    def _learn(self) -> None:
        self._learnt_at = self._loop.time()
        self._primary.ask(self._take_info, b"INFO", b"server")
        self._primary.ask(self._take_commands, b"COMMAND")
        self._primary.ask(self._take_fields, b"CLIENT", b"INFO")

    def _take_info(self, reply: Reply) -> None:
        if isinstance(reply, ProxyError):
            self.version = self.version or "no answer yet"
            return
        rows = dict(
            row.split(":", 1)
            for row in reply.decode("utf-8", "replace").split("\r\n")
            if ":" in row
        )
        valkey = rows.get("valkey_version")
        if valkey is not None:
            self.version = f"Valkey {valkey}"
            if int(valkey.partition(".")[0]) >= 9:
                self.context.dialect = Dialect.VALKEY
        elif "redis_version" in rows:
            self.version = f"Redis {rows['redis_version']}"
            self._near_needs(int(rows["redis_version"].partition(".")[0]))
        elif not self.version:
            self.version = "wants a login"

    def _near_needs(self, major: int) -> None:
        """Redis 6 puts pushes inside of other replies (redis#8935): nothing is read near there."""
        near = self.near.active and major >= NEAR_FROM
        if self.near.active and not near:
            event(log, logging.WARNING, "near cache off", server=self.version, needs=NEAR_FROM)
        self._ours = replace(self._ours, near=near)

    def _take_commands(self, answer: Reply) -> None:
        reply = answer.line if isinstance(answer, ProxyError) else answer
        try:
            self.context.table = table_from_reply(_parsed(reply), self._ours)
        except ValueError:
            event(
                log, logging.INFO, "upstream gives no COMMAND", reply=reply[:80].decode("latin-1")
            )
            return
        for session in self.context.clients:
            session.choose_routes()

    def _take_fields(self, reply: Reply) -> None:
        if isinstance(reply, bytes):
            self.context.fields = clients.fields_of(reply)
        self._answered.set()

    # --- End ----------------------------------------------------------------------------------

    def hurry(self) -> None:
        """Wait for no client any more."""
        self._drained.set()

    def _client_left(self) -> None:
        if self._stopping and not len(self.context.clients):
            self._drained.set()

    async def stop(self) -> None:
        """Accept no more, let what runs finish within the drain time, close everything."""
        self._stopping = True
        began = self._loop.time()
        for listener in self._listeners:
            listener.close()
        if self._http is not None:
            self._http.close()
        for session in self.context.clients:
            session.drain()
        if len(self.context.clients):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), self._drain_timeout)
        for session in self.context.clients:
            session.abort("the proxy stops")
        if self._http is not None:
            await self._http.stop(max(0.0, began + self._drain_timeout - self._loop.time()))
        await self._work.stop(LAST_WORDS)
        await self._fleet.finish()
        await self._loaders.close()
        self.lanes.close()
        await self._tasks.stop()
        await asyncio.sleep(0)  # the transports' last callbacks


def _parsed(reply: bytes) -> object:
    reader = hiredis.Reader()
    reader.feed(reply)
    try:
        value = reader.gets()
    except hiredis.ProtocolError as error:
        raise ValueError(str(error)) from error
    if isinstance(value, Exception):
        raise ValueError(str(value))
    return value


def raise_file_limit(clients: int) -> None:
    """Room for so many clients and a lane for each, as far as the system lets us have it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * clients + 64
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= wanted:
        return
    granted = wanted if hard == unlimited else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    if granted < clients + 64:
        event(log, logging.WARNING, "few files allowed", limit=granted, max_clients=clients)


async def serve(
    config: Config, upstream: str, *, doors: Doors[socket.socket], ready: Callable[[str], None]
) -> int:
    """Serve on the doors until SIGTERM or SIGINT; ``ready`` is told the upstream's version once.

    Raises StartError where the upstream refuses us."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    raise_file_limit(config.max_clients)
    server = Server(config, upstream)

    def signalled() -> None:
        if stop.is_set():
            server.hurry()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    await server.start(doors)
    ready(server.version)
    await stop.wait()
    event(log, logging.INFO, "stopping", clients=len(server.context.clients))
    await server.stop()
    return ExitCode.ALL_DONE
