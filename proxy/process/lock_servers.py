"""The servers of the setting lock_servers: their lanes, and the locks that are a vote of them.

    LOCK ──▶ Locks of a db ──▶ Quorum ──▶ Member of server 1 .. N, for that db ──▶ lanes

Each server is asked as its URL's user, in the db of the client that asks: the locks of two dbs have
nothing to do with each other, as in one server. A part of the wiring. server.py ticks and closes
it; what a majority is, locking/quorum.py knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from ...lua import Script
from ..bounds import WaitingRoom
from ..custom.spec import Counts
from ..errors import ProxyError, UpstreamDown, UpstreamRefused
from ..hot.lane import LaneState
from ..locking.locks import Locks
from ..locking.quorum import Quorum
from ..resp.replies import Value
from ..settings.address import Upstream
from ..upstream.dial import Dial, Retry
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey
from ..upstream.lanes import Lanes
from ..upstream.tls_files import TlsFiles
from ..upstream.tracked import TrackedLane, Watched

Start = Callable[[Coroutine[Any, Any, None]], object]

# Bytes of requests that wait for a connection. Only lists do: what changes locks is not kept.
OFFLINE: Final = 1 << 20
# After so many seconds of silence a second connection is tried; no lock waits for that.
SILENT_S: Final = 5.0


class Ear(Watched):
    """Tells of each change at once."""

    __slots__ = ("_changed",)

    def __init__(
        self, watches: dict[bytes, set[Watched]], key: bytes, changed: Callable[[], None]
    ) -> None:
        super().__init__(watches, [key])
        self._changed = changed

    def fire(self, key: bytes | None) -> None:
        super().fire(key)
        self._changed()


class Pool(Lanes):
    """The lanes to one of the servers. ``refused``: why it last refused a login."""

    refused: UpstreamRefused | None = None
    _news: asyncio.Event | None = None

    async def news(self) -> None:
        """Wait until a lane stands, or will not for now."""
        if self._news is None:
            self._news = asyncio.Event()
        await self._news.wait()

    def _tell(self) -> None:
        news, self._news = self._news, None
        if news is not None:
            news.set()

    def lane_refused(self, lane: Lane, why: UpstreamRefused) -> None:
        self.refused = why
        self._tell()

    def lane_ready(self, lane: Lane) -> None:
        self.refused = None
        super().lane_ready(lane)
        self._tell()

    def lane_down(self, lane: Lane, why: ProxyError) -> None:
        super().lane_down(lane, why)
        self._tell()


class Member(TrackedLane):
    """One of the servers, in one db (locking/quorum.py, LockServer)."""

    def __init__(self, pool: Pool, db: int) -> None:
        super().__init__(pool, LaneKey(db=db))
        self.name = pool.dial.address
        self._pool = pool

    def __repr__(self) -> str:
        return f"<Member {self.name} db={self.key.db} connected={self.connected}>"

    @property
    def connected(self) -> bool:
        return self._lane is not None and self._lane.state is LaneState.READY

    def lane(self) -> Lane:
        lane = super().lane()
        lane.users = 1  # it stays, and is connected again when it is lost
        return lane

    async def ready(self) -> None:
        """Wait until it is connected. ProxyError: it is away, or does not let us in."""
        lane = self.lane()
        lane.open()
        while lane.state is not LaneState.READY:
            if self._pool.refused is not None:
                raise self._pool.refused
            if lane.state in (LaneState.DOWN, LaneState.CLOSED):
                raise self._pool.down or UpstreamDown(f"{self.name}: not now")
            await self._pool.news()
        if lane.silent or lane.choked:
            raise UpstreamDown(f"{self.name} says nothing")

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        return await self.upstream.run(script, keys, args)

    def listen(self, key: bytes, changed: Callable[[], None]) -> Ear:
        return Ear(self.watches, key, changed)


class LockServers:
    """All of them. StartError, as it is made: TLS files of one cannot be used. ``start`` runs the
    lanes, ``start_work`` what is asked there."""

    def __init__(
        self,
        servers: Sequence[Upstream],
        retry: Retry,
        start: Start,
        start_work: Start,
        *,
        clock: Callable[[], float],
        stats: Counts,
        room: WaitingRoom,
        dial: Callable[[Upstream, Retry], Dial] = Dial,
    ) -> None:
        self._pools = [
            Pool(
                dial(server, retry),
                start,
                timeout_s=SILENT_S,
                offline_max=OFFLINE,
                on_ready=lambda lane: None,
                on_refused=lambda lane, why: None,
            )
            for server in servers
        ]
        self._start_work = start_work
        self._clock = clock
        self._stats = stats
        self._room = room
        self._of: dict[int, tuple[Locks, list[Member]]] = {}

    def __repr__(self) -> str:
        return f"<LockServers {self.connected}/{len(self._pools)} dbs={len(self._of)}>"

    @property
    def connected(self) -> int:
        """How many have a connection that stands."""
        return sum(len(pool) > 0 for pool in self._pools)

    @property
    def tls(self) -> list[TlsFiles]:
        """Of those that speak it."""
        return [pool.dial.tls for pool in self._pools if pool.dial.tls is not None]

    def locks(self, db: int) -> Locks:
        """The locks of a db, whoever asks."""
        return self._made(db)[0]

    def members(self, db: int) -> Sequence[Member]:
        return self._made(db)[1]

    def _made(self, db: int) -> tuple[Locks, list[Member]]:
        made = self._of.get(db)
        if made is None:
            members = [Member(pool, db) for pool in self._pools]
            quorum = Quorum(members, self._start_work, clock=self._clock)
            locks = Locks(
                quorum,
                quorum,
                self._start_work,
                clock=self._clock,
                stats=self._stats,
                room=self._room,
                fresh=True,
            )
            made = self._of[db] = locks, members
        return made

    def open(self, db: int) -> None:
        """Connect, so that the first who locks does not wait for it."""
        for member in self.members(db):
            member.lane().open()

    async def look(self, seconds: float) -> Sequence[tuple[str, str]]:
        """Each one's name and how it is, for people."""
        return await asyncio.gather(*(_look(member, seconds) for member in self.members(0)))

    def tick(self) -> None:
        """Once a second."""
        for _, members in self._of.values():
            for member in members:
                member.tick()
        for pool in self._pools:
            pool.tick()

    def close(self) -> None:
        for pool in self._pools:
            pool.close()


async def _look(member: Member, seconds: float) -> tuple[str, str]:
    try:
        async with asyncio.timeout(seconds):
            await member.ready()
            await member.upstream.ask(b"PING")
    except TimeoutError:
        return member.name, f"no answer in {seconds:g} s"
    except ProxyError as error:
        return member.name, str(error)
    return member.name, "answers"
