"""WARM: fills many keys at once, through their loaders or with values given.

    WARM key [key ...]
    WARM [EX s | PX ms] [TAG tag ...] [LOADER name] [CONCURRENCY n] [REFRESH] KEYS key [key ...]
    WARM [EX s | PX ms] [TAG tag ...] [REFRESH] VALUES key value [key value ...]

A key that fails is counted and named in the answer; the others go on. Loads are those of
loading/flights.py, with the leases of every other load, so that an invalidation meanwhile wins.
Values are written by this module: leases first, in the same piece, so that no load that runs may
write over them; those with tags under leases of their own (tagged.py)."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Final

from ..lua import script
from ..proxy.custom.spec import Argument, Call, CommandSpec
from ..proxy.custom.tags import checked
from ..proxy.custom.words import EXPIRIES, MS_MAX, SYNTAX, TAG, TTL, Options, integer, milliseconds
from ..proxy.errors import BadInput, NoLoader, ProxyError, WrongArity
from ..proxy.keys.ours import leases_of
from ..proxy.resp.kernel import pack_keys, pack_sets
from ..proxy.resp.replies import Value
from . import tagged

MAY: Final = script("may")
CONCURRENCY: Final = 8
CONCURRENCY_MOST: Final = 1024
BATCH: Final = 500  # pairs written in one piece
UNDER_WAY: Final = 2  # pieces
ERRORS_MOST: Final = 100
PX_MOST: Final = MS_MAX - 2**42  # as spec.milliseconds has it, for what the jitter adds

OK: Final = b"OK"  # hiredis gives simple strings as bytes
Reply = Mapping[str, Value]
_WORDS: Final = "EX PX LOADER CONCURRENCY TAG REFRESH KEYS VALUES"
_OPTIONS: Final = tuple(_WORDS.encode().split())


# --- Words ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loads:
    """These keys, from their loaders."""

    keys: Sequence[bytes]
    loader: str | None = None
    ttl_ms: int | None = None
    refresh: bool = False
    concurrency: int = CONCURRENCY
    tags: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Values:
    """These keys with these values."""

    keys: Sequence[bytes]
    values: Sequence[bytes]
    ttl_ms: int | None = None
    refresh: bool = False
    tags: Sequence[bytes] = ()


@dataclass(slots=True)
class _Given:
    """The options as they are read."""

    loader: str | None = None
    ttl_ms: int | None = None
    refresh: bool = False
    concurrency: int | None = None
    tags: list[bytes] = field(default_factory=list[bytes])


def parse(words: Sequence[bytes]) -> Loads | Values:
    """Options are read only where the first word is one; behind KEYS and VALUES stand none."""
    if len(words) < 2:
        raise WrongArity("warm")
    if words[1].upper() not in _OPTIONS:
        return Loads(words[1:])
    options, given = Options(words, 1), _Given()
    while options.more():
        option = options.name(*_OPTIONS, also=EXPIRIES)
        if option == b"KEYS":
            return _loads(words[options.at :], given)
        if option == b"VALUES":
            return _values(words[options.at :], given)
        _read(option, options, given)
    raise BadInput(SYNTAX)


def _read(option: bytes, options: Options, given: _Given) -> None:
    if option == b"REFRESH":
        given.refresh = True
    elif option == b"TAG":
        given.tags.append(options.again())
    elif option == b"LOADER":
        given.loader = options.value().decode("utf-8", "backslashreplace")
    elif option == b"CONCURRENCY":
        given.concurrency = integer(options.value())
        if not 1 <= given.concurrency <= CONCURRENCY_MOST:
            # Redis's words (getRangeLongFromObjectOrReply), its grammar included.
            raise BadInput(f"value is out of range, value must between 1 and {CONCURRENCY_MOST}")
    else:
        given.ttl_ms = milliseconds(option, options.value(), "warm")


def _loads(keys: Sequence[bytes], given: _Given) -> Loads:
    if not keys:
        raise WrongArity("warm|keys")
    concurrency = given.concurrency or CONCURRENCY
    tags = checked(given.tags)
    return Loads(keys, given.loader, given.ttl_ms, given.refresh, concurrency, tags)


def _values(words: Sequence[bytes], given: _Given) -> Values:
    if given.loader is not None or given.concurrency is not None:
        raise BadInput(SYNTAX)
    if not words or len(words) % 2:
        raise WrongArity("warm|values")
    tags = checked(given.tags)
    return Values(words[::2], words[1::2], given.ttl_ms, given.refresh, tags)


def sends(request: object) -> int:
    """The bytes of values that all go out as the request starts; 0: not all of them do."""
    if not isinstance(request, Values) or request.tags:
        return 0
    if len(request.keys) > BATCH * UNDER_WAY:
        return 0
    return sum(map(len, request.keys)) + sum(map(len, request.values)) + len(request.keys)


def key_names(words: Sequence[bytes]) -> Sequence[bytes]:
    try:
        return parse(words).keys
    except BadInput:
        return ()


# --- The outcome ------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """What became of the keys; bounded, however many fail."""

    requested: int
    loaded: int = 0
    skipped: int = 0
    not_found: int = 0
    failed: int = 0
    errors: list[list[bytes]] = field(default_factory=list[list[bytes]])

    def fail(self, key: bytes, why: ProxyError) -> None:
        self.failed += 1
        if len(self.errors) < ERRORS_MOST:
            self.errors.append([key, why.line.removeprefix(b"-").rstrip()])

    def count(self, outcome: str) -> None:
        if outcome == "loaded":
            self.loaded += 1
        elif outcome == "skipped":
            self.skipped += 1
        else:
            assert outcome == "not_found", outcome
            self.not_found += 1

    def reply(self, seconds: float) -> Reply:
        return {
            "requested": self.requested,
            "loaded": self.loaded,
            "skipped": self.skipped,
            "not_found": self.not_found,
            "failed": self.failed,
            "elapsed_ms": int(seconds * 1000),
            "errors": self.errors,
        }


async def run(call: Call) -> Value:
    work, show = begun(call)
    await work()
    return show()


def begun(call: Call) -> tuple[Callable[[], Coroutine[Any, Any, None]], Callable[[], Reply]]:
    """What fills the keys, and what says at any time how far it has come."""
    request, began = call.request, call.now()
    assert isinstance(request, (Loads, Values))
    tally = Tally(len(request.keys))

    async def work() -> None:
        try:
            if isinstance(request, Values):
                write = _write_tagged if request.tags else _write
                await write(call, request, tally)
            else:
                await _load(call, request, tally)
        finally:
            call.stats.add("warmed", tally.loaded)

    return work, lambda: tally.reply(call.now() - began)


# --- Through loaders --------------------------------------------------------------------------


async def _load(call: Call, request: Loads, tally: Tally) -> None:
    """So many workers take the keys off one iterator: no more than that many are loading, and no
    key waits for a slow one that is not its own."""
    keys = iter(request.keys)

    async def work() -> None:
        for key in keys:
            try:
                outcome = await call.loads.warm(
                    key, request.loader, request.ttl_ms, request.refresh, request.tags
                )
            except BadInput:
                raise  # the request is wrong, not this key: an unknown loader
            except NoLoader as why:
                tally.fail(key, await _forbidden(call, key) or why)
            except ProxyError as why:
                tally.fail(key, why)
            else:
                tally.count(outcome)

    await _side_by_side(work, min(request.concurrency, len(request.keys)))


async def _forbidden(call: Call, key: bytes) -> ProxyError | None:
    """What the ACL has against the key: for who may not write it, it has no loader either way."""
    try:
        await call.bulk.run(MAY, (key,), (b"set", key, b""))
    except ProxyError as why:
        return why
    return None


async def _side_by_side(work: Callable[[], Coroutine[None, None, None]], count: int) -> None:
    """So many workers, until all have ended or one has raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(work())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


# --- With values ------------------------------------------------------------------------------


async def _write(call: Call, request: Values, tally: Tally) -> None:
    """Piece by piece: one is made, and the replies to one counted, while the server has another."""
    endings = Endings.of(request.ttl_ms, request.refresh)
    under_way: deque[tuple[list[bytes], Awaitable[Sequence[Value]]]] = deque()
    try:
        for at in range(0, len(request.keys), BATCH):
            if len(under_way) == UNDER_WAY:
                await _written(call, tally, *under_way[0])
                under_way.popleft()
            keys = list(request.keys[at : at + BATCH])
            piece = _piece(keys, list(request.values[at : at + BATCH]), endings)
            call.writes.passed(keys)
            under_way.append((keys, call.bulk.begin(piece, 1 + len(keys))))
        while under_way:
            await _written(call, tally, *under_way[0])
            under_way.popleft()
    finally:
        for keys, _ in under_way:  # given up: the server may have them all the same
            call.writes.passed(keys)


async def _write_tagged(call: Call, request: Values, tally: Tally) -> None:
    ttls = [None] if request.ttl_ms is None else list(Endings.spread(request.ttl_ms))
    pairs = zip(request.keys, request.values, strict=True)
    given = (tagged.Given(*pair, random.choice(ttls)) for pair in pairs)
    async for key, outcome in tagged.store(call, given, request.tags, request.refresh):
        if isinstance(outcome, ProxyError):
            tally.fail(key, outcome)
        else:
            tally.count(outcome)


async def _written(
    call: Call, tally: Tally, keys: Sequence[bytes], answer: Awaitable[Sequence[Value]]
) -> None:
    """Wait for a piece, and count what became of it."""
    try:
        _, *replies = await answer
    except ProxyError as why:
        replies = [why] * len(keys)
    # What was read between may be older; also when the connection was lost.
    call.writes.passed(keys)
    _count(tally, keys, replies)


def _count(tally: Tally, keys: Sequence[bytes], replies: Sequence[Value]) -> None:
    skipped, loaded = replies.count(None), replies.count(OK)
    tally.skipped += skipped
    tally.loaded += loaded
    if skipped + loaded < len(keys):
        for key, reply in zip(keys, replies, strict=True):
            if isinstance(reply, ProxyError):
                tally.fail(key, reply)


def _piece(keys: list[bytes], values: list[bytes], endings: Endings) -> Sequence[bytes]:
    """The leases' DEL, then a SET for each pair."""
    sets = pack_sets(endings.head, keys, values, endings.some(len(keys)))
    return [pack_keys(b"DEL", *leases_of(keys)), sets]


@dataclass(frozen=True, slots=True)
class Endings:
    """How each SET begins, and the ways in which it may end: 201 times to live from -10 % to
    +10 %, for what is warmed together must not expire together."""

    head: bytes
    tails: list[bytes]  # shuffled, and repeated so that a batch may begin at any of the 201

    STEPS: ClassVar = 201

    @classmethod
    @lru_cache(maxsize=16)
    def of(cls, ttl_ms: int | None, refresh: bool) -> Endings:
        nx = [] if refresh else [b"NX"]
        if ttl_ms is None:
            head, tails = b"*%d\r\n" % (3 + len(nx)), [_words(nx)]
        else:
            head = b"*%d\r\n" % (5 + len(nx))
            tails = [_words([b"PX", b"%d" % ms, *nx]) for ms in cls.spread(ttl_ms)]
            random.shuffle(tails)
        return cls(head + b"$3\r\nSET\r\n", tails * ((BATCH + cls.STEPS) // len(tails) + 1))

    def some(self, count: int) -> list[bytes]:
        """As many as a batch needs, in their order from a place taken at random."""
        at = random.randrange(self.STEPS)
        return self.tails[at : at + count]

    @classmethod
    def spread(cls, ttl_ms: int) -> Iterator[int]:
        half = cls.STEPS // 2
        for step in range(-half, half + 1):
            yield min(max(1, ttl_ms + ttl_ms * step // (10 * half)), PX_MOST)


def _words(words: Sequence[bytes]) -> bytes:
    return b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


# --- Facts ------------------------------------------------------------------------------------

_REFRESH: Final = Argument("refresh", "pure-token", token="REFRESH", flags=("optional",))

SPEC = CommandSpec(
    name=b"WARM",
    arity=-2,
    summary="Fills many keys through their loaders, or with values given.",
    group="nearhit",
    complexity="O(N) for N keys, besides what the loaders take.",
    parse=parse,
    run=run,
    sends=sends,
    flags=("write", "denyoom", "movablekeys"),
    key_names=key_names,
    arguments=(
        Argument(
            "what",
            "oneof",
            arguments=(
                Argument("keys", "key", flags=("multiple",)),
                Argument(
                    "through-loaders",
                    "block",
                    arguments=(
                        TTL,
                        TAG,
                        Argument("loader", "string", token="LOADER", flags=("optional",)),
                        Argument(
                            "concurrency", "integer", token="CONCURRENCY", flags=("optional",)
                        ),
                        _REFRESH,
                        Argument("key", "key", token="KEYS", flags=("multiple",)),
                    ),
                ),
                Argument(
                    "with-values",
                    "block",
                    arguments=(
                        TTL,
                        TAG,
                        _REFRESH,
                        Argument(
                            "pair",
                            "block",
                            token="VALUES",
                            flags=("multiple",),
                            arguments=(Argument("key", "key"), Argument("value", "string")),
                        ),
                    ),
                ),
            ),
        ),
    ),
    finishes=True,
)
