"""What a command of the proxy's own is: its facts, and what it may use as it runs.

A command is one module in commands/: a SPEC, a parse function (words.py) and ``async def
run(call)``. It knows sessions and sockets only as the Call that it is given; HTTP runs the same
commands with the same words. What ``run`` returns is encoded for the client's protocol by
resp/replies.py."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..keys.ours import OurKeys
from ..resp.replies import Value
from ..resp.strings import Known

if TYPE_CHECKING:
    from ...lua import Script


# --- Facts ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Argument:
    """One row of COMMAND DOCS' arguments: https://redis.io/docs/latest/commands/command-docs/."""

    name: str
    type: str  # key string integer double pattern unix-time pure-token oneof block
    token: str = ""
    flags: tuple[str, ...] = ()  # optional multiple multiple_token
    arguments: tuple[Argument, ...] = ()  # of oneof and block


@dataclass(frozen=True, slots=True)
class Subcommand:
    """The facts of one word behind the command's name, as the command's own are."""

    name: str
    summary: str
    arity: int
    keys: tuple[int, int, int] = (0, 0, 0)
    arguments: tuple[Argument, ...] = ()


def _no_probe(request: object) -> None:
    """Most commands have none."""


def _no(request: object) -> bool:
    """Most commands are answered as soon as the server answers, and give nothing away."""
    return False


def _none(request: object) -> int:
    """Most commands let nothing follow before they are answered."""
    return 0


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """The facts of one command, for the table, for COMMAND and for whoever starts it.

    ``parse`` reads the words (name included) and raises BadInput; ``run`` gets what it returned as
    ``call.request``. ``key_names`` gives the keys of a request where first, last, step cannot."""

    name: bytes
    arity: int
    summary: str
    group: str
    complexity: str
    parse: Callable[[Sequence[bytes]], object]
    run: Callable[[Call], Awaitable[Value]]
    # A read of one key, its second word, whose reply is this command's too, unless it is nil.
    probe: Callable[[object], tuple[bytes, ...] | None] = _no_probe
    # The request with what stands in the near cache, which the function given tells of keys; None:
    # nothing of them.
    near: Callable[[object, Callable[[list[bytes]], Known | None]], object] | None = None
    # Whether a request may wait for what others do: nobody does so for a client that has left.
    waits: Callable[[object], bool] = _no
    # Whether a request may get its client what nobody else can have meanwhile: it is cancelled, and
    # gives that back, when the client's end is seen before its answer.
    grants: Callable[[object], bool] = _no
    # The bytes that a request sends, where all of them go out on one lane as it starts: such
    # requests of a client may follow each other unanswered, for the server does them in order.
    sends: Callable[[object], int] = _none
    flags: tuple[str, ...] = ()
    keys: tuple[int, int, int] = (0, 0, 0)
    key_names: Callable[[Sequence[bytes]], Sequence[bytes]] | None = None
    arguments: tuple[Argument, ...] = ()
    subcommands: tuple[Subcommand, ...] = ()
    finishes: bool = False  # runs to its end also when its client has left

    def accepts(self, count: int) -> bool:
        return count == self.arity if self.arity >= 0 else count >= -self.arity


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a value ends: one of Redis's options and its number, sent on as it was given."""

    option: bytes  # EX PX EXAT PXAT
    number: int

    @property
    def words(self) -> tuple[bytes, bytes]:
        return self.option, b"%d" % self.number


# --- What a command may use -------------------------------------------------------------------


class Asking(Protocol):
    """The server, in the client's db and as the client's user. Errors of the server are raised as
    ServerError, a connection that is down or lost as the ProxyError that says so."""

    async def ask(self, *words: bytes) -> Value:
        """One request and its reply."""
        ...

    async def ask_raw(self, request: bytes) -> bytes:
        """The reply to one encoded request, as it came."""
        ...

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes]) -> Value:
        """One script, atomically; loaded where the server does not know it."""
        ...

    async def many(self, requests: Sequence[bytes]) -> list[Value]:
        """Encoded requests in one piece; a reply each, errors among them as ServerError values."""
        ...

    def begin(self, requests: Sequence[bytes], count: int) -> Awaitable[list[Value]]:
        """As ``many``, of pieces that hold so many requests. They are sent now; what goes wrong is
        raised where they are waited for, which nobody has to."""
        ...


class Watch(Protocol):
    """Whether something happened to some keys since the watch began, or was last cleared."""

    fired: bool

    def clear(self) -> None: ...

    async def wait(self, seconds: float) -> bool:
        """Until it fires, for so long at most; whether it has fired."""
        ...

    def close(self) -> None: ...


class Watching(Protocol):
    """Invalidations of the tracked lane, by key.

    Order: watch, then ask on ``upstream`` in a way that reads the keys (that is what the server
    remembers), then wait. A modification behind that read fires the watch, as do FLUSHALL and the
    loss of the connection. A push is a hint to ask again, and one may be missing where the server
    knows no tracking: every wait has a time limit."""

    @property
    def tracking(self) -> bool:
        """False: nothing will fire but a lost connection."""
        ...

    def watch(self, *keys: bytes) -> Watch: ...

    def forget(self, *keys: bytes) -> None:
        """These keys were written by what was asked here: nothing read near before may be served
        once the asker is told."""
        ...


class LoaderKeys(Protocol):
    """Which keys loaders answer for (loaders.py)."""

    def manages(self, key: bytes) -> bool:
        """Whether a load may run for the key, which a write of it must void."""
        ...

    def read_through(self, key: bytes) -> bool:
        """Whether a plain read of the key loads it where it is missing."""
        ...

    def timed(self, key: bytes) -> bool:
        """Whether who reads the key has to know how long it will last."""
        ...


class Loads(Protocol):
    """Loads of one db and user (loading/flights.py)."""

    async def load(self, key: bytes) -> bytes | None:
        """The string at key, or what its loader gives. NoLoader, LoadError, LoadTimeout,
        CacheBusy."""
        ...

    def alone(self, key: bytes) -> bool:
        """Whether ``load`` answers the key without the server, which is known to be away."""
        ...

    def fails_open(self, key: bytes) -> bool:
        """Whether ``load`` answers the key if it finds that the server, or of a cluster the node
        that has the key, is away."""
        ...

    async def warm(
        self,
        key: bytes,
        loader: str | None,
        ttl_ms: int | None,
        refresh: bool,
        tags: Sequence[bytes] = (),
    ) -> str:
        """Fill one key through its loader: ``loaded``, ``skipped`` or ``not_found``; errors as
        ``load``. The ``tags`` are beside the loader's own."""
        ...

    def grace_ms(self, key: bytes) -> int:
        """How long a value of the key may be served when it is stale; 0: not at all."""
        ...

    def named(self, loader: str) -> object:
        """BadInput: no loader is called so."""
        ...


class Refreshing(Protocol):
    """Values that may be stale, of one db and user (loading/refreshes.py)."""

    def timed(self, key: bytes) -> bool:
        """Whether a reader of the key has to ask how long the value lasts, too."""
        ...

    def softly(self, key: bytes, ttl_ms: int) -> bool:
        """Whether a reader has found a stale value, and waits for a fresh one for a while."""
        ...

    def seen(self, key: bytes, ttl_ms: int) -> None:
        """A reader has found, and hands out, a value that lasts so long; below 0: for ever, or that
        is not known. Has it refreshed where that is due."""
        ...

    async def newest(self, key: bytes, value: bytes, ttl_ms: int) -> bytes | None:
        """The same of a reader who waits softly: what it hands out."""
        ...

    async def newest_of(
        self, found: Mapping[bytes, tuple[bytes, int]]
    ) -> Mapping[bytes, bytes | None]:
        """The same of many keys, each with its value and how long that lasts."""
        ...


class Leases(Protocol):
    """Leases that clients hold, of one db and user (loading/leases.py)."""

    async def lease(self, key: bytes, ms: int, wait_ms: int) -> tuple[bytes | None, bytes | None]:
        """(value, None), (None, token) or (None, None): another computes, and the wait is over."""
        ...

    async def fill(self, key: bytes, token: bytes, value: bytes, expiry: Expiry | None) -> bool:
        """Store what a lease was taken for; False where it is void."""
        ...

    def taken(self, key: bytes, token: bytes) -> tuple[float, float] | None:
        """When the lease was taken, or shortly before, and when it ends, by ``Call.now``; None: it
        was not taken here."""
        ...

    async def cancel(self, key: bytes, token: bytes) -> bool:
        """Give a lease up."""
        ...


class Writes(Protocol):
    """What a write makes old (loading/writes.py)."""

    def passed(self, keys: Sequence[bytes]) -> None:
        """These keys are being written, or have been: nothing read before is served near, and no
        load that began before is joined or stored."""
        ...

    async def passed_matching(self, *patterns: re.Pattern[bytes]) -> None:
        """The same for every key that matches one of them, of those that are known here now."""
        ...

    def passed_tags(self, tags: Sequence[bytes]) -> None:
        """The same for every load whose key would be under one of these."""
        ...


class Grant(Protocol):
    """A lock that was acquired."""

    token: bytes
    fence: int
    valid_ms: int


class Tenure(Protocol):
    """The locks that are renewed for one client (locking/tenure.py)."""

    def check(self) -> None:
        """LockLost: a lock was lost, and the client has not been told."""
        ...


class Locks(Protocol):
    """The locks of one db and user (locks.py)."""

    async def acquire(
        self, resource: bytes, ttl_ms: int, wait_ms: int, token: bytes | None, replicas: int = 0
    ) -> Grant | None:
        """The lock, if so many replicas have heard of it in time."""
        ...

    async def acquire_kept(
        self,
        resource: bytes,
        ttl_ms: int,
        wait_ms: int,
        token: bytes | None,
        tenure: Tenure,
        most_ms: int | None,
        replicas: int = 0,
    ) -> Grant | None:
        """As ``acquire``, and renewed for the client, for ``most_ms`` at most."""
        ...

    async def release(
        self, resource: bytes, token: bytes, tenure: Tenure | None = None
    ) -> bool: ...

    async def extend(
        self, resource: bytes, token: bytes, ttl_ms: int, tenure: Tenure | None = None
    ) -> bool: ...

    async def info(self, resource: bytes) -> Mapping[str, Value]: ...


class Jobs(Protocol):
    """Work of one db and user that runs behind its request (jobs/jobs.py), by the name of its
    command."""

    def start(
        self,
        command: str,
        work: Callable[[], Coroutine[Any, Any, None]],
        show: Callable[[], Mapping[str, Value]],
        *,
        total: int | None,
        size: int,
    ) -> bytes:
        """Its id. CacheBusy: there are as many as may be. ``show`` gives what ``status`` shows so
        far; of a request of so many bytes, for so many keys."""
        ...

    def status(self, command: str, id: bytes) -> Mapping[str, Value] | None:
        """state, total, what ``show`` gives, error; None: there is none of that id."""
        ...

    def cancel(self, command: str, id: bytes) -> bool:
        """Have it end soon; False: it does not run."""
        ...

    def ids(self, command: str) -> list[bytes]:
        """Those that run or have ended lately."""
        ...


class Counts(Protocol):
    """Where things are counted that happen (stats/counters.py)."""

    def add(self, name: str, count: int = 1) -> None: ...


class Statistics(Counts, Protocol):
    """The statistics as commands see them (stats/fleet.py)."""

    def read(self, *, hit: bool) -> None:
        """A string was read: with a value, or not."""
        ...

    async def show(self) -> Mapping[str, Value]:
        """STATS' map."""
        ...

    async def reset(self) -> None: ...


class Views(Protocol):
    """What is told of this db beside the statistics (stats/views.py)."""

    def seen(self, view: str) -> Sequence[tuple[bytes, Mapping[str, Value]]]:
        """Of the client's db ``hotkeys``, ``bigkeys`` or ``prefixes``, the first one first: each
        with the key that only who may read it may be told of it."""
        ...

    def slowest(self) -> Sequence[Mapping[str, Value]]:
        """Commands that took long, the slowest first."""
        ...

    def latency(self) -> Sequence[Mapping[str, Value]]:
        """Percentiles by class of command and by who answered."""
        ...

    def proxy(self) -> Mapping[str, Value]:
        """The proxy now, of all its workers."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a command, and the world that it may use.

    ``upstream`` is the tracked lane: its replies are in order with the invalidations that leases
    and locks live by. ``bulk`` is for work in quantity, so that nobody's single reply waits
    behind it."""

    request: object
    upstream: Asking
    bulk: Asking
    loads: Loads
    leases: Leases
    writes: Writes
    locks: Locks
    jobs: Jobs
    stats: Statistics
    ours: OurKeys  # which keys are the proxy's own
    now: Callable[[], float]  # seconds, monotonic
    sleep: Callable[[float], Awaitable[None]]
    # Cursors at which SCAN begins: walks side by side, each up to where the next one begins, and
    # the last to 0, see every key. Several only where there are several nodes.
    walks: Callable[[], Sequence[bytes]] = lambda: (b"0",)
    lock_servers: Sequence[Asking] = ()  # where locks are a vote; none: they are in the server
    refreshes: Refreshing | None = None  # None: no value is ever stale
    views: Views | None = None  # STATS'; None: nothing was seen
    tenure: Tenure | None = None  # LOCK's: what is kept for the client; None: it does not stay
