"""INVALIDATE: removes keys so that no load which began before can store them again.

    INVALIDATE key [key ...]
    INVALIDATE KEYS key [key ...]
    INVALIDATE PATTERN glob [glob ...]
    INVALIDATE TAG tag [tag ...]
    INVALIDATE SOFT KEYS | PATTERN | TAG ...     to be refreshed: what has a grace stays for it

The order is what counts. Loads that run here are voided first, so that nobody joins them any more.
Then the leases go, so that no load anywhere may store what it read before, and only then the
values: the other way round, a load could store between the two. A value whose loader has a grace
may be made stale instead, which ends what was asked for before just the same. For a pattern that
takes two scans, one for the leases, one for the keys; each of all nodes of a cluster side by
side."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..lua import script
from ..proxy.custom.spec import Argument, Call, CommandSpec
from ..proxy.custom.tags import checked, close, drain, refuse, visit
from ..proxy.custom.words import SYNTAX
from ..proxy.errors import BadInput, ProxyError, WrongArity
from ..proxy.keys.glob import compile_glob
from ..proxy.keys.ours import lease_glob, lease_key, lease_keys, leased_key, leases_of
from ..proxy.resp.kernel import pack_keys
from ..proxy.resp.replies import Value, items, number
from ..proxy.resp.requests import encode

BATCH: Final = 500  # keys in one DEL or UNLINK
END: Final = b"0"  # the last cursor of any walk
SOFTEN: Final = script("soften")
SOFT_AT_ONCE: Final = 100  # scripts on their way, one for a key

Choice = Callable[[Sequence[bytes]], list[bytes]]


# --- Words ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Keys:
    """These keys."""

    keys: Sequence[bytes]
    soft: bool = False


@dataclass(frozen=True, slots=True)
class Patterns:
    """All keys that match one of these."""

    globs: Sequence[bytes]
    soft: bool = False


@dataclass(frozen=True, slots=True)
class Tags:
    """All keys under one of these."""

    tags: Sequence[bytes]
    soft: bool = False


def parse(words: Sequence[bytes]) -> Keys | Patterns | Tags:
    """A first word that is one of the keywords always is the keyword: what a key is called must
    not decide."""
    if len(words) < 2:
        raise WrongArity("invalidate")
    soft = words[1].upper() == b"SOFT"
    if soft and len(words) < 3:
        raise WrongArity("invalidate|soft")
    form, *names = words[1 + soft :]
    form = form.upper()
    if form not in (b"KEYS", b"PATTERN", b"TAG"):
        if soft:
            raise BadInput(SYNTAX)
        return Keys(words[1:])
    if not names:
        raise WrongArity(f"invalidate|{form.decode()}")
    if form == b"TAG":
        return Tags([tag for name in names for tag in checked([name])], soft)
    return Keys(names, soft) if form == b"KEYS" else Patterns(names, soft)


def key_names(words: Sequence[bytes]) -> Sequence[bytes]:
    try:
        request = parse(words)
    except BadInput:
        return ()
    return request.keys if isinstance(request, Keys) else ()


# --- Keys -------------------------------------------------------------------------------------


async def run(call: Call) -> Value:
    request = call.request
    assert isinstance(request, (Keys, Patterns, Tags))
    go = _soften if request.soft else _keys
    match request:
        case Patterns():
            return sum([await _pattern(call, glob, request.soft) for glob in request.globs])
        case Tags():
            return await _tags(call, request.tags, request.soft)
        case Keys():
            return await go(call, request.keys)


async def _keys(call: Call, keys: Sequence[bytes]) -> int:
    call.writes.passed(keys)
    removed = 0
    try:
        for batch in _batches(keys):
            leases = pack_keys(b"DEL", *leases_of(batch))
            (unlink,) = _removals(b"UNLINK", batch)
            _, gone = _integers(await call.bulk.many([leases, unlink]))
            call.stats.add("invalidated", gone)
            removed += gone
    finally:
        # Also when the connection was lost: the keys may be gone all the same.
        call.writes.passed([*keys, *lease_keys(keys)])
    return removed


async def _soften(call: Call, keys: Sequence[bytes]) -> int:
    """Make stale what has a grace, and remove the rest; how many there were of both."""
    graces = {key: call.loads.grace_ms(key) for key in keys}
    gone = [key for key, grace in graces.items() if not grace]
    stale = [key for key, grace in graces.items() if grace]
    softened = await _keys(call, gone) if gone else 0
    call.writes.passed(stale)
    try:
        for at in range(0, len(stale), SOFT_AT_ONCE):
            some = stale[at : at + SOFT_AT_ONCE]
            made = sum(await asyncio.gather(*(_stale(call, key, graces[key]) for key in some)))
            call.stats.add("invalidated", made)
            softened += made
    finally:
        call.writes.passed([*stale, *lease_keys(stale)])
    return softened


async def _stale(call: Call, key: bytes, grace_ms: int) -> int:
    reply = await call.bulk.run(SOFTEN, (key, lease_key(key)), (b"%d" % grace_ms,))
    return number(reply, "a script")


# --- Tags -------------------------------------------------------------------------------------


async def _tags(call: Call, tags: Sequence[bytes], soft: bool) -> int:
    try:
        apart = [] if soft else await close(call.bulk, tags)
        if soft:
            await refuse(call.bulk, tags)
    finally:
        # Loads whose keys nobody has attached yet; other proxies hear of it from the server.
        call.writes.passed_tags(tags)
    if soft:
        return await visit(call.bulk, tags, lambda keys: _soften(call, keys))
    return await drain(call.bulk, apart, lambda keys: _keys(call, keys))


# --- Patterns ---------------------------------------------------------------------------------


async def _pattern(call: Call, glob: bytes, soft: bool) -> int:
    pattern, removed = compile_glob(glob), 0
    await call.writes.passed_matching(pattern)
    try:
        # Each ends where the next one begins.
        begins = call.walks()
        walks = [Walk(*ends) for ends in zip(begins, [*begins[1:], END], strict=True)]
        leases = Removal(b"DEL", lease_glob(glob), lambda names: _leases(names, pattern))
        await _side_by_side([_sweep(call, walk, leases) for walk in walks])
        for walk in walks:
            walk.pace = walk.pace.removing()
        keys = Removal(b"UNLINK", glob, call.ours.left_by(glob), counted=True, soft=soft)
        removed = sum(await _side_by_side([_sweep(call, walk, keys) for walk in walks]))
    finally:
        await call.writes.passed_matching(compile_glob(lease_glob(glob)), pattern)
    return removed


def _leases(names: Sequence[bytes], pattern: re.Pattern[bytes]) -> list[bytes]:
    """Those of keys that match."""
    keys = map(leased_key, names)
    return [
        name
        for name, key in zip(names, keys, strict=True)
        if key is not None and pattern.match(key)
    ]


async def _side_by_side(sweeps: Sequence[Coroutine[None, None, int]]) -> list[int]:
    """What each comes to; the first error, and then the others are given up."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(sweep) for sweep in sweeps]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


@dataclass(frozen=True, slots=True)
class Removal:
    """What goes, and how."""

    command: bytes
    glob: bytes
    wanted: Choice
    counted: bool = False  # in the statistics
    soft: bool = False


@dataclass(slots=True)
class Walk:
    """One node's keys, or all, from cursor to cursor, at a pace of its own."""

    begin: bytes
    end: bytes
    pace: Pace = field(default_factory=lambda: Pace(Pace.ALONE))  # few leases are removed


async def _sweep(call: Call, walk: Walk, removal: Removal) -> int:
    """Scan once and remove what is found; how many went.

        here    SCAN 0 ─▶      SCAN 17, UNLINK 1 ─▶         SCAN 5, UNLINK 2 ─▶         ... 0
        server        page 1 ─▶           page 2 ─▶ gone 1 ─▶       page 3 ─▶ gone 2 ─▶

    The next page is asked for before the last one is removed, so that the server has always
    something to do, and others a turn between the two. The removals of a page are answered before
    the page behind the next one: no more than those of two are ever under way. An empty page is
    nothing special; the end is the walk's or cursor 0, and nothing else. Where the map of a cluster
    changes SCAN begins anew with cursors of that map: then each walk is of all nodes."""
    removals = deque[Awaitable[Sequence[Value]]]()
    pace, cursor, more, removed = walk.pace, walk.begin, True, 0
    asked, page = call.now(), _scan(call, cursor, removal.glob, pace.count)
    while more:
        (answer,) = _checked(await page)
        pace.felt(call.now() - asked, behind=bool(removals))
        cursor, keys = items(answer, "SCAN", bytes, list)
        more = cursor not in (walk.end, END)
        if more:
            asked, page = call.now(), _scan(call, cursor, removal.glob, pace.count)
            await call.sleep(0)  # sent by itself: in one piece both would be one to the server
        found = removal.wanted(keys)
        if found and removal.soft:
            removed += await _soften(call, found)
        elif found:
            requests = _removals(removal.command, found)
            removals.append(call.bulk.begin(requests, len(requests)))
        while len(removals) > more:
            gone = sum(_integers(await removals.popleft()))
            removed += gone
            if removal.counted:
                call.stats.add("invalidated", gone)
    return removed


def _scan(call: Call, cursor: bytes, glob: bytes, count: int) -> Awaitable[Sequence[Value]]:
    request = encode([b"SCAN", cursor, b"MATCH", glob, b"COUNT", b"%d" % count])
    return call.bulk.begin([request], 1)


class Pace:
    """How large the pages of a sweep are: as many keys as the server looks at, or removes, in about
    a slice, for so long others wait behind it.

    Told by what pages take beyond the way there and back, which the first ones tell that are nearly
    none; and by the quickest of a few alone: on a busy machine a clock tells more of the waiting
    than of the work, and the quickest has waited least. Pages begin small, grow by a quarter at
    most, and are halved at once where they must."""

    # Seconds. Where the way is long, everybody waits for that anyway, and slices are of half of it.
    SLICE: Final = 0.0003
    SLICE_MOST: Final = 0.0005
    ALONE: Final[float] = SLICE_MOST  # of a walk that removes next to nothing
    FIRST: Final = 16  # keys: 0.02 ms
    LEAST: Final = 200
    MOST: Final = 1024
    LOOKS: Final = 8  # pages

    def __init__(self, slice_: float = SLICE) -> None:
        self._slice = slice_
        self._way: float | None = None  # seconds
        self._looks: list[float] = []
        self.count = self.FIRST  # COUNT

    def __repr__(self) -> str:
        way = "?" if self._way is None else f"{self._way * 1000:.2f}"
        return f"<Pace count={self.count} way={way}ms>"

    def removing(self) -> Pace:
        """The pace of a walk behind this one that removes what it finds: it begins anew, but for
        the way."""
        pace = Pace()
        if self._way is not None:
            pace._way, pace.count = self._way, self.LEAST
        return pace

    def felt(self, seconds: float, *, behind: bool) -> None:
        """A page came after so long, ``behind`` the removal of the one before it or alone."""
        self._looks.append(seconds)
        if len(self._looks) < self.LOOKS:
            return
        least = min(self._looks)
        self._looks.clear()
        if self._way is None:
            self._way = least
            self.count = self.LEAST
            return
        # What was removed before it took about as long as the page, or less than the way does.
        took = min(least - self._way, least / 2) if behind else least - self._way
        goal = min(max(self._slice, self._way / 2), self.SLICE_MOST)
        times = max(0.5, goal / took) if took > goal / 1.25 else 1.25
        self.count = min(max(int(self.count * times), self.LEAST), self.MOST)


# --- Requests and replies ---------------------------------------------------------------------


def _batches(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (keys[at : at + BATCH] for at in range(0, len(keys), BATCH))


def _removals(remove: bytes, keys: Sequence[bytes]) -> list[bytes]:
    return [pack_keys(remove, list(batch), b"", b"") for batch in _batches(keys)]


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
_TAG = Argument("tag", "string", flags=("multiple",))
_PATTERN = Argument("pattern", "pattern", flags=("multiple",))
_KEYS = Argument("keys", "block", token="KEYS", arguments=(_KEY,))
_PATTERNS = Argument("patterns", "block", token="PATTERN", arguments=(_PATTERN,))
_TAGS = Argument("tags", "block", token="TAG", arguments=(_TAG,))
BY_NAME: Final = (_PATTERNS, _TAGS)  # what does not say which keys, and how many
_SOFT = Argument("soft", "oneof", token="SOFT", arguments=(_KEYS, *BY_NAME))

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
                _KEYS,
                *BY_NAME,
                _SOFT,
            ),
        ),
    ),
    finishes=True,
)
