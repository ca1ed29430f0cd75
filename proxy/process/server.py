"""What serves clients and HTTP, from the listening sockets to the last task.

    start: connect, listen, learn what the server is ─▶ ... ─▶ stop: drain, close

Owns the order of starting and of ending, the clock that ticks once a second, and who hears of a
lane that stands or is refused. Builds nothing (wiring.py) and reads no reply (upstream_facts.py).
serve.py makes it, and says when it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from ..cluster.lanes import ClusterLanes
from ..errors import NOT_TRUSTED, PLAIN_AT_TLS, ExitCode, ProxyError, StartError, UpstreamRefused
from ..log import event
from ..session.limits import Limits
from ..settings.address import BACKLOG
from ..settings.config import Config
from ..settings.trusted import Trusted
from ..stats.shared import Place
from ..upstream.lane import Lane
from ..upstream.tls import keep_blocks
from ..upstream.tls_files import renew
from .certificate import Certificate, all_files
from .entrance import HTTP_AT_TLS, Entrance, prefaced
from .inspection import Finding, inspect
from .keeping import rights_of
from .listen import Doors
from .preface import ITSELF, Origin
from .present import Present
from .protection import Protection
from .reload import resize
from .sharing import share
from .status import Status
from .tasks import Tasks
from .upstream_facts import NO_ANSWER, UpstreamFacts
from .warming import warming_of
from .wiring import Told, http_of, slow_watch_of, wire

if TYPE_CHECKING:
    from ..http.api import Http

log = logging.getLogger(__name__)

LAST_WORDS: Final = 1.0  # seconds for leases and locks to be given up at the end
AT_ONCE: Final = 2.0  # seconds to end in where nobody waits any more
# Seconds for which clients wait to be accepted until it is known whether a server is a cluster's.
KIND_S: Final = 1.0


class Server:
    """Serves clients, and HTTP, on sockets that the caller has bound. To be made in the event loop
    that it runs in; ``start`` it once, ``stop`` it once. ``as_cluster``: the upstream's one server
    is known to be a node of a cluster."""

    def __init__(
        self,
        config: Config,
        upstream: str,
        place: Place | None = None,
        *,
        as_cluster: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks(self._loop)
        self._work = Tasks(self._loop)  # commands of our own and their loads
        self._drain_timeout = config.drain_timeout
        self._place = place  # where this worker shows its numbers to the others
        self._listeners: list[asyncio.Server | Entrance] = []
        self._config = config
        self._certificate = Certificate.of(config)
        self._protection = Protection(config)
        self._http: Http | None = None
        self._status: Status | None = None  # where there is HTTP
        self._stopping = False
        self._leaving = False  # to be stopped, and /readyz says so
        self._hurried = asyncio.Event()  # nobody waits for clients, or for the upstream, any more
        self._drained = asyncio.Event()  # the last client has left, or nobody waits for it
        self._answered = asyncio.Event()  # the upstream has been reached, or given up for now
        self._refused: ProxyError | None = None
        self.is_cluster = asyncio.Event()  # what was taken for one server is a node of a cluster
        self._parts = wire(
            config,
            upstream,
            loop=self._loop,
            start=self._tasks.start,
            start_work=self._work.start,
            told=Told(
                client_left=self._client_left,
                lane_ready=self._lane_ready,
                lane_refused=self._lane_refused,
                unknown_command=lambda: self._facts.learn_again(),
                is_cluster=self._is_cluster,
                newcomers=self._newcomers_changed,
            ),
            as_cluster=as_cluster,
        )
        if place is not None:
            self._parts.jobs.join(place.jobs)
            self._parts.views.join(place)
        self._parts.views.proxy = Present(self._parts, place).show
        self._tls = all_files(self._certificate, self._parts.lanes, self._parts.lock_servers)
        if self._tls:
            keep_blocks()
        self._warming = warming_of(self._parts, config.loaders, self._loop.time)
        self.clients = self._parts.context.clients
        self._primary = self._parts.primary
        self._facts = UpstreamFacts(
            self._parts.context,
            self._primary.ask,
            clock=self._loop.time,
            learnt=self._answered.set,
            workers=config.workers,
        )
        self._rights = rights_of(self._parts)
        self._limits = Limits(self.clients)
        self._limit(config)

    def __repr__(self) -> str:
        stage = "stopping" if self._stopping else "serving" if self._listeners else "made"
        return f"<Server {stage} {self._facts.version!r} {self.clients!r} {self._parts.lanes!r}>"

    @property
    def version(self) -> str:
        """The upstream's name and version, or why it is not known, for people."""
        master, lanes = self._parts.master, self._parts.lanes
        found = f", {master.found}" if master is not None else ""
        if isinstance(lanes, ClusterLanes):
            found = f", {lanes.found}"
        return f"{self._facts.version}{found}"

    @property
    def answers(self) -> bool:
        """Whether the upstream has said what it is."""
        return self._facts.version not in ("", NO_ANSWER)

    @property
    def down(self) -> ProxyError | None:
        """Why the upstream counts as down; None while it does not."""
        return self._parts.lanes.down

    async def inspected(self) -> list[Finding]:
        """What the upstream is for a proxy, once it has answered."""
        return await inspect(self._parts)

    # --- Start --------------------------------------------------------------------------------

    async def start(self, doors: Doors[socket.socket], *, again: bool = False) -> None:
        """Listen on the doors, which the end closes, and wait until the upstream has answered, the
        retry rule is exhausted or ``hurry`` was called; not where ``is_cluster``. ``again``:
        another has served here before. StartError: the upstream refuses us, unless ``again``."""
        self._primary.users += 1
        self._tasks.start(self._tick())
        if self._place is not None:
            self._tasks.start(share(self._place, self._parts.stats, self._parts.families))
        self._tasks.start(self._rights.run())
        self._tasks.start(slow_watch_of(self._parts, self._loop.time).run())
        if self._parts.master is not None:
            for run in self._parts.master.runs():
                self._tasks.start(run)
        if self._parts.lock_servers is not None:
            self._parts.lock_servers.open(self._primary.key.db)
        self._facts.learn()
        if self._parts.lanes.dial.on_cluster is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._answered.wait(), KIND_S)
        if self.is_cluster.is_set():
            close(doors)
            return
        if self._protection.unknown:
            await self._look_who_may(again)
        balancers = self._config.balancers
        through = [
            one for one in doors.clients if balancers is not None and prefaced(one, balancers)
        ]
        for sock in doors.clients:
            if sock not in through:
                self._listeners.append(await self._listen(sock))
        self._let_in(self._session, through, NOT_TRUSTED, tls=False, balancers=balancers)
        if doors.http or doors.https:
            self._status = Status(self._parts, self._place, self._loop.time)
            self._http = http_of(self._parts, self._place, lambda: self._leaving, self._status)
            await self._http.start(doors.http)
            self._let_in(self._http.accept, doors.https, HTTP_AT_TLS)
        # Whose certificate is checked is no stranger.
        known = self._config.tls_client_auth == "required"
        made = self._made if known else self._session
        self._let_in(made, doors.tls, balancers=balancers)
        await self._answered.wait()
        if self._refused is not None and not again:
            raise StartError(
                f"the upstream {self._parts.lanes.dial.address} refused us: {self._refused}; "
                "see the user, password and database in --upstream (REDIS_URL)",
                ExitCode.REFUSED,
            )
        if not self.is_cluster.is_set():
            self._warming.begin()

    async def _look_who_may(self, again: bool) -> None:
        """Learn whether strangers would be let in, if the upstream says it now."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KIND_S):
                await self._answered.wait()
                looked = asyncio.Event()
                self._parts.lanes.newcomers.look(looked.set)
                await looked.wait()
                self._learn_who_may()
        if again:
            self._protection.tell()
        else:
            self._protection.refuse()

    def _learn_who_may(self) -> None:
        if self.answers:
            lanes = self._parts.lanes
            self._protection.learn(asks=lanes.newcomers.barred or self._primary.locked)

    def _learn_late(self) -> None:
        self._learn_who_may()
        self._protection.tell()

    def _newcomers_changed(self) -> None:
        """Where protected mode counts on it that the server asks: whether it still does."""
        protection = self._protection
        if not protection.relearn(asks=self._parts.lanes.newcomers.barred):
            return
        protection.tell()
        for session in self.clients:
            wire = session.wire
            tls = wire is not None and wire.get_extra_info("ssl_object") is not None
            logged_in = session.berth.lane_key.user is not None
            if not logged_in and protection.keeps_out(session.identity.peer, tls=tls):
                session.close()

    async def _listen(self, sock: socket.socket) -> asyncio.Server:
        unix = sock.family == socket.AF_UNIX
        listen = self._loop.create_unix_server if unix else self._loop.create_server
        return await listen(self._session, sock=sock, backlog=BACKLOG)

    def _let_in(
        self,
        made: Callable[..., asyncio.Protocol],
        socks: Sequence[socket.socket],
        refusal: bytes = PLAIN_AT_TLS,
        *,
        tls: bool = True,
        balancers: Trusted | None = None,
    ) -> None:
        """Serve clients there that come by TLS, or through balancers, or both."""
        if not socks:
            return
        assert self._certificate is not None or not tls, "the settings demand one"
        entrance = Entrance(made, self._certificate if tls else None, refusal, balancers)
        self._listeners.append(entrance)
        for sock in socks:
            entrance.listen(sock)

    def _session(self, origin: Origin = ITSELF) -> asyncio.Protocol:
        return self._protection.let_in(partial(self._made, origin), origin.peer)

    def _made(self, origin: Origin = ITSELF) -> asyncio.Protocol:
        session = self._parts.session()
        session.identity.told(origin.peer, origin.local)
        # A compiled class cannot derive from asyncio.Protocol; it has all of its methods.
        return cast(asyncio.Protocol, session)

    async def _tick(self) -> None:
        """The clock: everything that happens once a second."""
        parts = self._parts
        while True:
            parts.context.turn.now = self._loop.time()
            await asyncio.sleep(1)
            parts.scopes.tick()
            parts.lanes.tick()
            if parts.lock_servers is not None:
                parts.lock_servers.tick()
            parts.lanes.newcomers.tick()
            parts.fleet.tick()
            parts.jobs.tick()
            self._limits.tick(self._loop.time())
            for files in self._tls:
                files.look()
            if self._protection.unknown and self._listeners:
                parts.lanes.newcomers.look(self._learn_late)
            parts.views.tick(self._loop.time())
            if self._status is not None:
                self._status.tick()

    # --- What lanes report --------------------------------------------------------------------

    def _lane_ready(self, lane: Lane) -> None:
        if lane is self._primary and self._answered.is_set():
            self._facts.learn()  # a new connection may be another version

    def _lane_refused(self, lane: Lane, why: UpstreamRefused) -> None:
        if lane is self._primary and not self._answered.is_set():
            self._refused = why
        elif lane.key.user is not None and why.login:
            # The server has dropped this user or its password: so do we drop its clients.
            for session in self.clients:
                if session.berth.lane_key.user == lane.key.user:
                    session.close()

    def _is_cluster(self) -> None:
        if not self.is_cluster.is_set() and not self._stopping:
            event(log, logging.INFO, "upstream is a cluster", node=self._parts.lanes.dial.address)
            self.is_cluster.set()
            self._answered.set()

    # --- Settings -----------------------------------------------------------------------------

    def _limit(self, config: Config) -> None:
        """What a client may cost, from now on."""
        output = config.client_output_buffer
        self._limits.take(idle_s=config.timeout, memory=config.maxmemory_clients, output=output)
        context = self._parts.context
        context.unread.hard = output.hard
        context.allowance.multi = config.max_multi
        context.allowance.subscriptions = config.max_subscriptions

    def renew(self) -> None:
        """Read all files of TLS anew. StartError: one cannot be used; nothing has changed then."""
        renew(self._tls)

    def take(self, config: Config) -> None:
        """Have these settings from now on: those of reload.LIVE, and the loaders. StartError where
        a loader cannot be made; nothing has changed then."""
        parts, context, near = self._parts, self._parts.context, self._parts.context.near
        parts.loaders.replace(config.loaders)
        self._tasks.start(parts.loaders.close_replaced())
        self._warming.take(config.loaders)
        self._facts.restate(
            voids=parts.loaders.any_managed, reads_through=parts.loaders.any_read_through
        )
        timed = parts.loaders.any_timed
        for session in self.clients:
            session.timed = timed
        self._drain_timeout = config.drain_timeout
        self.clients.limit = config.max_clients
        self._limit(config)
        raise_file_limit(config.max_clients)
        parts.rooms.limit(config.max_waiters)
        context.holding.seconds = config.hold_writes_on_failover
        logging.getLogger().setLevel(config.log_level.upper())
        context.slow.take(config.slowlog)
        if near is not None:
            near.fresh_ms = parts.loaders.near_ms if timed else None
            near.stale_s = config.stale_if_down
            resize(near, config.near_cache, config.near_ttl)

    # --- End ----------------------------------------------------------------------------------

    async def linger(self, seconds: float) -> None:
        """Be not ready for so long, and serve all the same; until ``hurry``."""
        self._leaving = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurried.wait(), seconds)

    @property
    def started(self) -> bool:
        """Whether ``start`` waits for the upstream no more."""
        return self._answered.is_set()

    def hurry(self) -> None:
        """Wait for no client any more, nor for the upstream's first answer."""
        self._hurried.set()
        self._drained.set()
        self._answered.set()

    def _client_left(self) -> None:
        if self._stopping and not len(self.clients):
            self._drained.set()

    async def give_way(self) -> None:
        """Stop for one that serves the cluster: what clients have asked gets an error, for no lane
        stands, and they are closed."""
        self._drain_timeout = min(self._drain_timeout, AT_ONCE)
        await self.stop()

    async def stop(self) -> None:
        """Accept no more, let what runs finish within the drain time, close everything."""
        self._stopping = True
        deadline = self._loop.time() + self._drain_timeout
        self._accept_no_more()
        await self._drain()
        if self._http is not None:
            await self._end_http(self._http, deadline)
        await self._work.stop(LAST_WORDS)
        if self._facts.version:  # else the upstream has never said a word
            await self._parts.fleet.finish()
        await self._parts.loaders.close()
        await self._parts.context.traces.close()
        self._parts.lanes.close()
        if self._parts.lock_servers is not None:
            self._parts.lock_servers.close()
        await self._tasks.stop()
        await asyncio.sleep(0)  # the transports' last callbacks

    def _accept_no_more(self) -> None:
        for listener in self._listeners:
            listener.close()
        if self._http is not None:
            self._http.close()

    async def _drain(self) -> None:
        """Let clients get what they have asked for; close those that remain."""
        for session in self.clients:
            session.drain()
        if len(self.clients):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), self._drain_timeout)
        for session in self.clients:
            session.abort("the proxy stops")

    async def _end_http(self, http: Http, deadline: float) -> None:
        """Let it answer what runs until the deadline, or until somebody is in a hurry."""
        ending = self._loop.create_task(http.stop(max(0.0, deadline - self._loop.time())))
        hurried = self._loop.create_task(self._hurried.wait())
        await asyncio.wait([ending, hurried], return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not ending.done():
            ending.cancel()
            await asyncio.wait([ending])
            await http.stop(0.0)


def close(doors: Doors[socket.socket]) -> None:
    for one in doors.all:
        one.close()


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
