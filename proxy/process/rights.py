"""Keeps what is read near to what each user may now, at each server: an ACL is a server's own.

    twice a second ─▶ INFO commandstats (swaps.py) ─ refused ─▶ ACL GETUSER ─ refused ─▶ nothing is
                          changes were counted ─┴── other than before ─┘      kept for over a second
                                                ▼
                     changed(): what is kept is dropped ─▶ forget()
    permits.py: a change passed, and has dropped it ─────▶ forget(): all users are asked about anew
    a user comes ──▶ ACL GETUSER, DRYRUN GET, DRYRUN MGET ─▶ TrackedLane.narrow

What a GET has brought is told to MGETs too only where one right is known to be the other; else they
are asked. GETs need no such thing: what is kept was read by GETs, or by MGETs of such a user.
Refuses to judge any request: the servers do. server.py runs it, keeping.py makes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from ..errors import ProxyError
from ..log import event
from ..stats.fleet import Sending
from ..upstream.ask import Reply
from ..upstream.lane import Lane
from ..upstream.may_track import is_no
from ..upstream.tracked import TrackedLane
from .swaps import Swaps

log = logging.getLogger(__name__)

# Twice, and a look may come late: what was taken away is noticed within a second.
LOOK_S: Final = 0.45
# ACL GETUSER's last field, where nothing is in it. With selectors keys matter beside commands.
_NO_SELECTORS: Final = b"$9\r\nselectors\r\n*0\r\n"


def is_even(user: bytes, get: Reply, mget: Reply) -> bool:
    """Whether a user may MGET what he may GET and the other way round, by ACL GETUSER and what ACL
    DRYRUN says of both; False: not, or it is not known."""
    if isinstance(get, ProxyError) or isinstance(mget, ProxyError):
        return False
    if get.startswith(b"-") or mget.startswith(b"-") or _NO_SELECTORS not in user:
        return False
    return _may(get) is _may(mget)


def _may(answer: bytes) -> bool:
    """Whether the command is allowed; it may be the key that is not."""
    return not (is_no(answer) and b" command" in answer)


class Server:
    """What one server has said of its ACL, on one connection."""

    def __init__(self, lane: Lane, swaps: Swaps) -> None:
        self.lane = lane
        self.swaps = swaps
        self.silent = False  # it does not tell of users: the proxy's own may not ask
        self.even: dict[bytes, bool] = {}
        self.texts: dict[bytes, bytes] = {}  # of ACL GETUSER
        self.asked = set[bytes]()
        self._connection = lane.client_id

    @property
    def blind(self) -> bool:
        """Whether it tells nothing."""
        return self.silent and self.swaps.refused

    def begin(self) -> None:
        """Where another connection stands it may be asked what the last refused."""
        if self.lane.client_id != self._connection:
            self._connection = self.lane.client_id
            self.silent = False
            self.even.clear()
            self.swaps.again()


class Rights:
    """``servers`` has a lane of our own to each, ``tracked`` those that fill the near cache.
    ``needed``: whether anything is kept; ``drop`` it; ``turned`` tells of a lane that is narrow
    now, or is no more."""

    def __init__(
        self,
        servers: Callable[[], Sequence[Lane]],
        ours: bytes,
        *,
        swaps: Callable[[Sending, Callable[[], None]], Swaps],
        tracked: Callable[[], Iterable[TrackedLane]],
        needed: Callable[[], bool],
        drop: Callable[[], None],
        turned: Callable[[TrackedLane], None],
    ) -> None:
        self._servers = servers
        self._ours = ours  # whom the URL names
        self._swaps = swaps
        self._tracked = tracked
        self._needed = needed
        self._drop = drop
        self._turned = turned
        self._known: dict[Lane, Server] = {}
        self._era = 0  # of what is asked: answers of an older one may be old
        self._odd = False  # every second look

    def __repr__(self) -> str:
        blind = sum(server.blind for server in self._known.values())
        return f"<Rights servers={len(self._known)} blind={blind}>"

    async def run(self) -> None:
        """For as long as the process serves."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Ask whether anything has changed."""
        self._odd = not self._odd
        servers, users = self._present(), self._users()
        for server in servers:
            server.begin()
            server.swaps.tick()
            if server.swaps.refused and self._needed():
                for user in users:
                    self._ask_text(server, user)
        self._ask_new(servers, users)
        if self._odd and any(server.blind for server in servers) and self._needed():
            self._drop()
        self._settle()

    def came(self, lane: TrackedLane) -> None:
        """A user's tracked lane is there: of whom nothing is known."""
        lane.narrow = True
        self._ask_new(self._present(), {self._name(lane)})
        self._settle()

    def changed(self) -> None:
        """Somebody may have lost a right, or got one."""
        self._drop()
        self.forget()

    def forget(self) -> None:
        """The same, and what is kept has been dropped."""
        self._era += 1
        for server in self._known.values():
            server.even.clear()
            server.asked.clear()
        self._settle()
        self._ask_new(self._present(), self._users())

    # --- Who and where ------------------------------------------------------------------------

    def _name(self, lane: TrackedLane) -> bytes:
        return lane.key.user.name if lane.key.user is not None else self._ours

    def _users(self) -> set[bytes]:
        return {self._name(lane) for lane in self._tracked()}

    def _present(self) -> list[Server]:
        """What is known of the servers there are now."""
        lanes = self._servers()
        for gone in self._known.keys() - set(lanes):
            del self._known[gone]
        for lane in lanes:
            if lane not in self._known:
                self._known[lane] = Server(lane, self._swaps(lane.ask, self.changed))
        return [self._known[lane] for lane in lanes]

    def _settle(self) -> None:
        """Let each lane have what is known of its user at all servers."""
        servers = self._present()
        for lane in self._tracked():
            name = self._name(lane)
            narrow = not servers or not all(server.even.get(name, False) for server in servers)
            if narrow is not lane.narrow:
                lane.narrow = narrow
                self._turned(lane)

    # --- Asking -------------------------------------------------------------------------------

    def _ask_new(self, servers: Iterable[Server], users: Iterable[bytes]) -> None:
        """What is not known yet."""
        for server in servers:
            for user in users:
                if not (server.silent or user in server.even or user in server.asked):
                    self._ask_even(server, user)

    def _ask_even(self, server: Server, user: bytes) -> None:
        era, said = self._era, list[Reply]()
        server.asked.add(user)

        def told(reply: Reply) -> None:
            server.asked.discard(user)
            if self._heard(server, user, reply) and era == self._era:
                server.asked.add(user)
                for name in (b"GET", b"MGET"):
                    server.lane.ask(tried, b"ACL", b"DRYRUN", user, name, b"key")

        def tried(reply: Reply) -> None:
            said.append(reply)
            if len(said) == 2 and era == self._era:
                server.asked.discard(user)
                if not any(isinstance(each, ProxyError) for each in said):
                    server.even[user] = is_even(server.texts[user], *said)
                    self._settle()

        server.lane.ask(told, b"ACL", b"GETUSER", user)

    def _ask_text(self, server: Server, user: bytes) -> None:
        if not server.silent and user not in server.asked:
            server.asked.add(user)
            server.lane.ask(partial(self._compare, server, user), b"ACL", b"GETUSER", user)

    def _compare(self, server: Server, user: bytes, reply: Reply) -> None:
        before = server.texts.get(user)
        server.asked.discard(user)
        if self._heard(server, user, reply) and server.texts[user] != before:
            self.changed()

    def _heard(self, server: Server, user: bytes, reply: Reply) -> bool:
        """Keep what the server says of a user; whether it does."""
        if isinstance(reply, ProxyError):
            return False  # the connection is lost
        if reply.startswith(b"-"):
            server.silent = True
            if server.swaps.refused:
                event(log, logging.WARNING, "rights not told", upstream=server.lane.host)
            return False
        server.texts[user] = reply
        return True
