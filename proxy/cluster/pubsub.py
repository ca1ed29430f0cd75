"""The subscriptions of one virtual connection, wherever in the cluster they are held.

    SUBSCRIBE ─▶ names ─▶ settle: what has to be held where ─▶ posts, one for each node
                             ▲                                    │
       the map has changed ──┼── a connection lost, a slot left ──┘
                             └── again, soon, while something is not held

    channels, patterns       any one node: the bus brings it everything
    __keyspace@, __keyevent@ every primary: each tells of its own keys
    shard channels           the primary of their slot

The client is told what a server would tell it, once all that it asked for is held. When a node
leaves, its subscriptions are held elsewhere as soon as the map says where; what is published in
between is lost, as with one server that is restarted. Acts of acts.py."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence, Set
from typing import Final

from ..errors import ProxyError, UpstreamDown, WrongArity
from ..resp.kernel import hash_slot
from ..resp.replies import bulk, error, null
from .connection import Answer, Connection
from .post import WORDS, Kind, Name, Post
from .redirects import Kind as Why
from .redirects import redirect
from .table import facts
from .transaction import malformed
from .watch import Address

# Seconds between two looks while something is not held where it has to be.
AGAIN_S: Final = 0.05
_OF_KEYS: Final = (b"__keyspace", b"__keyevent", b"__key*")
_KINDS: Final[Mapping[bytes, Kind]] = {
    word.upper(): kind for kind, word in zip(Kind, WORDS, strict=True)
}
_ALLOWED: Final = frozenset(
    b"PING PSUBSCRIBE PUNSUBSCRIBE QUIT RESET SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE UNSUBSCRIBE".split()
)
_ELSE: Final = (
    "Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed "
    "in this context"
)


class Subscriptions:
    """``names``: what the client is subscribed to."""

    def __init__(self, connection: Connection) -> None:
        self.names: tuple[set[bytes], set[bytes], set[bytes]] = (set(), set(), set())
        self._connection = connection
        self._cluster = connection.cluster
        self._posts: dict[Address, Post] = {}
        self._bus: Address | None = None
        self._shunned = set[Address]()  # lost as the bus, since all others were
        self._request: Asked | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._cluster.mapped.add(self)

    def __repr__(self) -> str:
        channels, patterns, shards = map(len, self.names)
        return f"<Subscriptions {channels} patterns={patterns} shards={shards}>"

    @property
    def empty(self) -> bool:
        return not any(self.names)

    def count(self, kind: Kind) -> int:
        """What a confirmation of the kind tells."""
        channels, patterns, shards = map(len, self.names)
        return shards if kind is Kind.SHARD else channels + patterns

    # --- What the client asks -------------------------------------------------------------------

    def subscribe(self, kind: Kind, names: Sequence[bytes], answer: Answer) -> None:
        had = set(self.names[kind])
        frames: list[bytes] = []
        for name in names:
            self.names[kind].add(name)
            frames.append(self.frame(WORDS[kind], name, self.count(kind)))
        wanted = {(kind, name) for name in names if name not in had}
        if not wanted:
            answer(b"".join(frames))
            return
        until = self._loop.time() + self._cluster.patience
        self._request = Asked(wanted, b"".join(frames), until, answer)
        self._settle()

    def unsubscribe(self, kind: Kind, names: Sequence[bytes]) -> bytes:
        word, mine = b"un" + WORDS[Kind.CHANNEL], self.names[kind]
        word = (b"", b"p", b"s")[kind] + word
        frames: list[bytes] = []
        for name in names or sorted(mine):
            mine.discard(name)
            frames.append(self.frame(word, name, self.count(kind)))
        if not frames:
            frames.append(self.frame(word, None, self.count(kind)))
        self._settle()
        return b"".join(frames)

    def frame(self, word: bytes, name: bytes | None, count: int) -> bytes:
        resp = self._connection.key.resp
        told = null(resp) if name is None else bulk(name)
        return b"%b3\r\n%b%b:%d\r\n" % (b">" if resp == 3 else b"*", bulk(word), told, count)

    # --- What has to be held where --------------------------------------------------------------

    def _settle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wanted, homeless = self._wanted()
        for address in self._posts.keys() - wanted.keys():
            self._posts.pop(address).close()
        for address, names in wanted.items():
            post = self._posts.get(address)
            if post is None:
                pool = self._cluster.pool(*address)
                post = self._posts[address] = Post(self, pool, self._connection.key)
                post.sync(names)
                post.open()
            else:
                post.sync(names)
        if homeless:
            self._cluster.refresh("a slot is not covered")
            self._settle_later()
        self._look()

    def _wanted(self) -> tuple[dict[Address, set[Name]], bool]:
        """What has to be held at which node, and whether something has no node now."""
        topology = self._cluster.topology
        shards = topology.shards if topology is not None else ()
        primaries = [(shard.primary.host, shard.primary.port) for shard in shards]
        if self._bus not in primaries:
            if self._shunned.issuperset(primaries):
                self._shunned.clear()
            self._bus = next(iter(sorted(primaries, key=self._is_away)), None)
        wanted: dict[Address, set[Name]] = {}
        homeless = False
        for kind in Kind:
            for name in self.names[kind]:
                homes = self._homes(kind, name, primaries)
                homeless |= not homes
                for home in homes:
                    wanted.setdefault(home, set()).add((kind, name))
        return wanted, homeless

    def _is_away(self, address: Address) -> tuple[bool, bool, int]:
        pool = self._cluster.pool(*address)
        # Not all at the same node.
        return address in self._shunned, not len(pool), hash((self._connection.id, address))

    def _homes(self, kind: Kind, name: bytes, primaries: Sequence[Address]) -> Sequence[Address]:
        if kind is Kind.SHARD:
            topology = self._cluster.topology
            shard = topology.shard(hash_slot(name)) if topology is not None else None
            return [] if shard is None else [(shard.primary.host, shard.primary.port)]
        if _of_keys(name):
            return primaries
        return [self._bus] if self._bus is not None else []

    def _settle_later(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(AGAIN_S, self._again)

    def _again(self) -> None:
        self._timer = None
        self._settle()

    def _look(self, why: bytes | None = None) -> None:
        """Answer the client where all that it asked for is held, or it has waited for too long."""
        request = self._request
        if request is None:
            return
        held = [post.held for post in self._posts.values()]
        wanted, homeless = self._wanted()
        places = sum(len(names & request.names) for names in wanted.values())
        if not homeless and places == sum(len(names & request.names) for names in held):
            self._request = None
            request.answer(request.frames)
        elif why is not None or self._loop.time() > request.until:
            self._request = None
            for kind, name in request.names:
                self.names[kind].discard(name)
            request.answer(why or UpstreamDown("nobody takes the subscription").line)
            self._settle()
        else:
            self._settle_later()

    # --- What posts tell (post.Office) ----------------------------------------------------------

    def confirmed(self, post: Post, names: Set[Name]) -> None:
        self._look()

    def refused(self, post: Post, names: Set[Name], line: bytes) -> None:
        found = redirect(line)
        if found is not None:
            if found.kind is Why.MOVED:
                self._cluster.follow(found.slot, found.host, found.port)
            self._cluster.refresh("a subscription was refused")
            self._settle_later()
        elif self._request is not None:
            self._look(line)

    def dropped(self, post: Post, name: Name) -> None:
        self._cluster.refresh("a subscription has ended")
        self._settle_later()

    def message(self, post: Post, kind: Kind, name: bytes, frame: bytes) -> None:
        if name not in self.names[kind]:
            return  # it has been unsubscribed since
        anywhere = kind is not Kind.SHARD and not _of_keys(name)
        if anywhere and self._bus is not None and self._posts.get(self._bus) is not post:
            return  # it comes from there too
        if self._connection.key.resp == 2:
            frame = b"*" + frame[1:]
        self._connection.replies.push(frame)

    def gone(self, post: Post, why: ProxyError) -> None:
        for address, one in list(self._posts.items()):
            if one is post:
                del self._posts[address]
                if address == self._bus:
                    self._bus = None
                    self._shunned.add(address)
                self._cluster.refresh("a connection was lost", self._cluster.pool(*address))
        post.close()
        self._settle_later()

    # --- What the cluster tells (cluster.Mapped) ------------------------------------------------

    def take_lanes(self) -> None:
        """It shares none."""

    def map_changed(self, moved: set[int]) -> None:
        self._loop.call_soon(self._again)

    def map_known(self) -> None:
        """``map_changed`` is told too."""

    def end(self) -> None:
        self._cluster.mapped.discard(self)
        self._request = None
        for names in self.names:
            names.clear()
        if self._timer is not None:
            self._timer.cancel()
        for post in self._posts.values():
            post.close()
        self._posts.clear()


class Asked:
    """A request that is answered when these are held."""

    def __init__(self, names: set[Name], frames: bytes, until: float, answer: Answer) -> None:
        self.names = names
        self.frames = frames
        self.until = until
        self.answer = answer


def _of_keys(name: bytes) -> bool:
    """Whether a channel or pattern is of what each node tells of its own keys."""
    return name.startswith(_OF_KEYS)


def subscribe(connection: Connection, words: list[bytes], request: bytes) -> None:
    kind = _KINDS[words[0].upper()]
    if len(words) < 2:
        name = words[0].decode().lower()
        connection.say(error(f"wrong number of arguments for '{name}' command"))
        return
    held: Subscriptions | None = connection.state(Subscriptions)
    if held is None:
        held = connection.states[Subscriptions] = Subscriptions(connection)
    held.subscribe(kind, words[1:], connection.alone())


def unsubscribe(connection: Connection, words: list[bytes], request: bytes) -> None:
    kind = (b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"SUNSUBSCRIBE").index(words[0].upper())
    held: Subscriptions | None = connection.state(Subscriptions)
    ours = held or Subscriptions(connection)
    connection.say(ours.unsubscribe(Kind(kind), words[1:]))
    if ours.empty:
        connection.states.pop(Subscriptions, None)
        ours.end()


def only_some(connection: Connection, name: bytes) -> bool:
    """Whether a request is none of those that a server takes from subscribers that speak RESP2."""
    return (
        connection.key.resp == 2
        and connection.state(Subscriptions) is not None
        and name not in _ALLOWED
    )


def not_now(connection: Connection, words: list[bytes], request: bytes) -> None:
    refused = malformed(words, connection.commands)
    if refused is None:
        found = facts(words, connection.commands)
        name = words[0] if found is None else found.name
        refused = error(_ELSE.format(name.decode("latin-1").lower()))
    connection.say(refused if isinstance(refused, bytes) else refused.line)


def ping(connection: Connection, words: list[bytes], request: bytes) -> None:
    """PING of a subscriber that speaks RESP2."""
    if len(words) > 2:
        connection.say(WrongArity("ping").line)
        return
    text = words[1] if len(words) > 1 else b""
    connection.say(b"*2\r\n$4\r\npong\r\n" + bulk(text))
