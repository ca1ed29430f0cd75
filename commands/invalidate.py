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

from ..proxy.custom.spec import Argument, Call, CommandSpec
from ..proxy.errors import ProxyError, WrongArity
from ..proxy.keys.glob import closed, compile_glob, literal_prefix
from ..proxy.keys.ours import OurKeys, lease_key, lease_keys
from ..proxy.resp.replies import Value, items, number
from ..proxy.resp.requests import encode

BATCH: Final = 500  # keys in one DEL or UNLINK

Choice = Callable[[Sequence[bytes]], list[bytes]]


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
    call.writes.passed(keys)
    removed = 0
    try:
        for batch in _batches(keys):
            leases = encode([b"DEL", *lease_keys(batch)])
            unlink = encode([b"UNLINK", *batch])
            _, gone = _integers(await call.bulk.many([leases, unlink]))
            call.stats.add("invalidated", gone)
            removed += gone
    finally:
        # Also when the connection was lost: the keys may be gone all the same.
        call.writes.passed([*keys, *lease_keys(keys)])
    return removed


# --- Patterns ---------------------------------------------------------------------------------


async def _pattern(call: Call, glob: bytes) -> int:
    pattern, removed = compile_glob(glob), 0
    call.writes.passed_matching(pattern)
    try:
        way = await shortest_way(call)
        async for _ in _sweep(Pace(call, way), b"DEL", lease_key(closed(glob)), list):
            pass  # what counts as removed are the keys
        async for gone in _sweep(Pace(call, way), b"UNLINK", glob, _wanted(glob, call.ours)):
            call.stats.add("invalidated", gone)
            removed += gone
    finally:
        call.writes.passed_matching(compile_glob(lease_key(closed(glob))))
        call.writes.passed_matching(pattern)
    return removed


async def _sweep(pace: Pace, remove: bytes, glob: bytes, wanted: Choice) -> AsyncIterator[int]:
    """Scan once around and remove what is found; how many went, page by page.

        SCAN 0 ──▶ keys ──▶ UNLINK keys, SCAN 17 ──▶ keys ──▶ UNLINK keys, SCAN 5 ──▶ ... 0

    A page is removed in one piece with the next SCAN, whose cursor is known: one round trip for
    each, and never more than one page in flight. An empty page is nothing special; the end is
    cursor 0 and nothing else."""
    cursor, found = b"0", list[bytes]()
    while True:
        cursor, keys, gone = await pace.page(_removals(remove, found), cursor, glob)
        yield gone
        found = wanted(keys)
        if cursor == b"0":
            break
    if found:
        yield sum(_integers(await pace.ask(_removals(remove, found))))


def _wanted(glob: bytes, ours: OurKeys) -> Choice:
    """Which keys go: the proxy's own do not, or ``*`` would open every lock, unless the glob is
    about nothing else."""
    return list if literal_prefix(glob).startswith(ours.heads) else ours.without


class Pace:
    """How much of the server a sweep takes: pages of about SLICE seconds of its work, one at a
    time.

    Who asks meanwhile waits behind one page at most, and only the size of a page decides how long:
    rests between pages would make it rarer, but not so rare that the slowest 1 % were others. Where
    the way to the server is long, everybody waits for that anyway, and pages are larger.

    What a page will cost is told by what the last one found, not by how long that took: on a busy
    machine a clock tells more of the waiting than of the work, and pages ran away with it."""

    SLICE: Final = 0.00015
    SLICE_MOST: Final = 0.0005
    # Seconds that Redis 7.0 took per key, of 300,000 and by INFO commandstats: to look at it,
    # and what it costs more to find and remove it.
    LOOK: Final = 0.0000005
    REMOVE: Final = 0.0000005
    PINGS: Final = 5

    def __init__(self, call: Call, way: float) -> None:
        self._call = call
        self._way = way
        self._slice = min(max(self.SLICE, way / 2), self.SLICE_MOST)
        self.count = int(self._slice / (self.LOOK + self.REMOVE))  # COUNT, if all match

    def __repr__(self) -> str:
        return f"<Pace count={self.count} way={self._way * 1000:.2f}ms>"

    async def page(
        self, removals: Sequence[bytes], cursor: bytes, glob: bytes
    ) -> tuple[bytes, Sequence[bytes], int]:
        """The next cursor, the keys found, and how many keys the removals before it removed."""
        count = b"%d" % self.count
        scan = encode([b"SCAN", cursor, b"MATCH", glob, b"COUNT", count])
        *gone, page = await self.ask([*removals, scan])
        following, keys = items(page, "SCAN", bytes, list)
        share = min(1.0, len(keys) / self.count)
        self.count = int(self._slice / (self.LOOK + share * self.REMOVE))
        return following, keys, sum(_integers(gone))

    async def ask(self, requests: Sequence[bytes]) -> Sequence[Value]:
        return _checked(await self._call.bulk.many(requests))


async def shortest_way(call: Call) -> float:
    """Seconds to the server and back: the least of a few, as one may have waited behind others."""
    least = inf
    for _ in range(Pace.PINGS):
        began = call.now()
        await call.bulk.ask(b"PING")
        least = min(least, call.now() - began)
    return least


# --- Requests and replies ---------------------------------------------------------------------


def _batches(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (keys[at : at + BATCH] for at in range(0, len(keys), BATCH))


def _removals(remove: bytes, keys: Sequence[bytes]) -> list[bytes]:
    return [encode([remove, *batch]) for batch in _batches(keys)]


def _checked(replies: Sequence[Value]) -> Sequence[Value]:
    """The same; the first error of the server among them is raised."""
    for reply in replies:
        if isinstance(reply, ProxyError):
            raise reply
    return replies


def _integers(replies: Sequence[Value]) -> list[int]:
    """How many keys each removal removed; the first error of the server among them is raised."""
    return [number(reply, "DEL or UNLINK") for reply in _checked(replies)]


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
