"""INVALIDATE: removes keys so that no load which began before can store them again.

    INVALIDATE key [key ...]
    INVALIDATE KEYS key [key ...]
    INVALIDATE PATTERN glob [glob ...]

The order is what counts. Loads that run here are voided first, so that nobody joins them any more.
Then the leases go, so that no load anywhere may store what it read before, and only then the
values: the other way round, a load could store between the two. For a pattern that takes two
scans, one for the leases, one for the keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

from ..proxy.errors import ProxyError, WrongArity
from ..proxy.glob import closed, compile_glob, literal_prefix
from ..proxy.names import FENCE, LEASE, LOCK, STATS_KEY, is_ours, lease_key, lease_keys
from ..proxy.resp import Value, encode
from ..proxy.spec import Argument, Call, CommandSpec

BATCH: Final = 500  # keys in one DEL or UNLINK


# --- Words ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Keys:
    """These keys."""

    keys: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Patterns:
    """All keys that match one of these."""

    globs: Sequence[bytes]


def parse(words: Sequence[bytes]) -> Keys | Patterns:
    """A first word KEYS or PATTERN is always the keyword: what a key is called must not decide."""
    if len(words) < 2:
        raise WrongArity("invalidate")
    form = words[1].upper()
    if form not in (b"KEYS", b"PATTERN"):
        return Keys(words[1:])
    if len(words) < 3:
        raise WrongArity(f"invalidate|{form.decode()}")
    return Keys(words[2:]) if form == b"KEYS" else Patterns(words[2:])


def key_names(words: Sequence[bytes]) -> Sequence[bytes]:
    try:
        request = parse(words)
    except WrongArity:
        return ()
    return request.keys if isinstance(request, Keys) else ()


# --- Keys -------------------------------------------------------------------------------------


async def run(call: Call) -> Value:
    if isinstance(call.request, Patterns):
        return sum([await _pattern(call, glob) for glob in call.request.globs])
    assert isinstance(call.request, Keys)
    return await _keys(call, call.request.keys)


async def _keys(call: Call, keys: Sequence[bytes]) -> int:
    call.leases.void(keys)
    removed = 0
    try:
        for batch in _batches(keys):
            leases = encode([b"DEL", *lease_keys(batch)])
            unlink = encode([b"UNLINK", *batch])
            _, gone = _integers(_checked(await call.bulk.many([leases, unlink])))
            call.stats.add("invalidated", gone)
            removed += gone
    finally:
        # Also when the connection was lost: the keys may be gone all the same.
        call.leases.void(keys)
    return removed


# --- Patterns ---------------------------------------------------------------------------------


async def _pattern(call: Call, glob: bytes) -> int:
    pattern, pace, removed = compile_glob(glob), Pace(call), 0
    call.leases.void_matching(pattern)
    try:
        await pace.begin()
        async for _ in _sweep(pace, b"DEL", lease_key(closed(glob)), bool):
            pass  # what counts as removed are the keys
        async for gone in _sweep(pace, b"UNLINK", glob, _wanted(glob)):
            call.stats.add("invalidated", gone)
            removed += gone
    finally:
        call.leases.void_matching(pattern)
    return removed


async def _sweep(
    pace: Pace, remove: bytes, glob: bytes, wanted: Callable[[bytes], bool]
) -> AsyncIterator[int]:
    """Scan once around and remove what is found; how many went, page by page.

        SCAN 0 ──▶ keys ──▶ UNLINK keys, SCAN 17 ──▶ keys ──▶ UNLINK keys, SCAN 5 ──▶ ... 0

    A page is removed in one piece with the next SCAN, whose cursor is known: one round trip for
    each, and never more than one page in flight. An empty page is nothing special; the end is
    cursor 0 and nothing else."""
    cursor, found = b"0", list[bytes]()
    while True:
        cursor, keys, gone = await pace.page(_removals(remove, found), cursor, glob)
        yield gone
        found = [key for key in keys if isinstance(key, bytes) and wanted(key)]
        if cursor == b"0":
            break
    if found:
        yield sum(_integers(await pace.ask(_removals(remove, found))))


def _wanted(glob: bytes) -> Callable[[bytes], bool]:
    """Which keys go: the proxy's own do not, or ``*`` would open every lock, unless the glob is
    about nothing else."""
    if literal_prefix(glob).startswith((LEASE, LOCK, FENCE, STATS_KEY[: len(b"nearhit:")])):
        return lambda key: True
    return lambda key: not is_ours(key)


class Pace:
    """How much of the server a sweep takes: small pages, with rests.

    Who asks meanwhile waits behind one page at most. Pages of COUNT 250 took Redis 7.0 0.4 ms and
    no longer in all than pages of 1000 (tests.bench.invalidate), so that is where it starts; it
    grows where pages cost little, as where few keys match. It shrinks little: on a busy machine a
    page seems dear that is not, and smaller ones only take longer in all."""

    LEAST: Final = 200
    MOST: Final = 1000
    CHEAP: Final = 0.00025  # seconds of the server: below this the next page is twice as large
    DEAR: Final = 0.0015  # above this it is half as large
    REST: Final = 0.15  # seconds of rest for each second of work
    PINGS: Final = 5
    NAP: Final = 0.002  # rests are saved up to this: event loops count whole milliseconds

    def __init__(self, call: Call) -> None:
        self._call = call
        self._round_trip = inf
        self._owed = 0.0
        self.count = 250

    def __repr__(self) -> str:
        return f"<Pace count={self.count} round_trip={self._round_trip * 1000:.2f}ms>"

    async def begin(self) -> None:
        """Learn what of each answer's time is the way there and back: the shortest of a few, as one
        may have waited behind others."""
        for _ in range(self.PINGS):
            began = self._call.now()
            await self._call.bulk.ask(b"PING")
            self._round_trip = min(self._round_trip, self._call.now() - began)

    async def page(
        self, removals: Sequence[bytes], cursor: bytes, glob: bytes
    ) -> tuple[bytes, Sequence[Value], int]:
        """The next cursor, the keys found, and how many keys the removals before it removed."""
        count = b"%d" % self.count
        scan = encode([b"SCAN", cursor, b"MATCH", glob, b"COUNT", count])
        *gone, page = await self.ask([*removals, scan])
        assert isinstance(page, Sequence)
        following, keys = page
        assert isinstance(following, bytes)
        assert isinstance(keys, Sequence)
        return following, keys, sum(_integers(gone))

    async def ask(self, requests: Sequence[bytes]) -> list[Value]:
        """One piece of work, and the rest that it earns."""
        began = self._call.now()
        replies = _checked(await self._call.bulk.many(requests))
        spent = max(0.0, self._call.now() - began - self._round_trip)
        if spent > self.DEAR:
            self.count = max(self.count // 2, self.LEAST)
        elif spent < self.CHEAP:
            self.count = min(self.count * 2, self.MOST)
        self._owed += spent * self.REST
        if self._owed >= self.NAP:
            await self._call.sleep(self._owed)
            self._owed = 0.0
        return replies


# --- Requests and replies ---------------------------------------------------------------------


def _batches(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (keys[at : at + BATCH] for at in range(0, len(keys), BATCH))


def _removals(remove: bytes, keys: Sequence[bytes]) -> list[bytes]:
    return [encode([remove, *batch]) for batch in _batches(keys)]


def _checked(replies: list[Value]) -> list[Value]:
    """The same; the first error of the server among them is raised."""
    for reply in replies:
        if isinstance(reply, ProxyError):
            raise reply
    return replies


def _integers(replies: Sequence[Value]) -> list[int]:
    return [reply for reply in replies if isinstance(reply, int)]


_KEY = Argument("key", "key", flags=("multiple",))
_PATTERN = Argument("pattern", "pattern", flags=("multiple",))

SPEC = CommandSpec(
    name=b"INVALIDATE",
    arity=-2,
    summary="Removes keys so that no load which began before can store them again.",
    group="nearhit",
    complexity="O(N) for N keys; with PATTERN O(N) for N keys in the database, in paced batches.",
    parse=parse,
    run=run,
    flags=("write", "movablekeys"),
    key_names=key_names,
    arguments=(
        Argument(
            "what",
            "oneof",
            arguments=(
                Argument("names", "block", arguments=(_KEY,)),
                Argument("keys", "block", token="KEYS", arguments=(_KEY,)),
                Argument("patterns", "block", token="PATTERN", arguments=(_PATTERN,)),
            ),
        ),
    ),
    finishes=True,
)
