"""LOCK: mutual exclusion with a fence, and waiters that are woken.

LOCK ACQUIRE resource [EX s | PX ms] [WAIT ms] [TOKEN token] [FENCE] [RENEW [MAXHOLD ms]]
             [REPLICAS n]                   token | [token, fence, valid-ms] | nil: another holds it
LOCK RELEASE resource token                 1 | 0
LOCK EXTEND resource token EX s | PX ms     1 | 0
LOCK INFO resource                          map: held, fence, ttl_ms, waiters
LOCK LIST [glob]                            map: resource -> ttl_ms"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from ..proxy.custom.spec import Argument, Asking, Call, CommandSpec, Subcommand
from ..proxy.custom.words import (
    EXPIRIES,
    SYNTAX,
    TTL,
    TTLS,
    Options,
    integer,
    milliseconds,
    subcommand,
    waiting,
)
from ..proxy.errors import BadInput, NoMajority, ProxyError
from ..proxy.keys.glob import closed
from ..proxy.keys.ours import lock_key, resource_of
from ..proxy.resp.replies import Value, items, number
from ..proxy.resp.requests import encode
from .invalidate import Pace

LOCK_MS = 30_000
RESOURCE_MAX = 64 * 1024
TOKEN_MAX = 1024
REPLICAS_MAX: Final = 1000
# Locks in one LIST: what it collects is bounded, and a list of a part would be none.
LIST_MAX: Final = 10_000
# How long one of the lock servers may take for its list, in seconds: others have it too.
LIST_S: Final = 10.0
HELP = (
    "LOCK <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ACQUIRE <resource> [EX <s> | PX <ms>] [WAIT <ms>] [TOKEN <token>] [FENCE]",
    "        [RENEW [MAXHOLD <ms>]] [REPLICAS <n>]",
    "    Return a token, or nil: another holds the lock, and WAIT (default 0) ran out.",
    "    EX, PX: how long it is yours (30000 ms). TOKEN: one of your own; whoever asks with the",
    "    token that holds the lock gets it again. FENCE: return [token, fence, valid-ms].",
    "    RENEW: it is extended for as long as you stay connected, up to MAXHOLD, and given back",
    "    when you go; one that is lost is told, by a push (RESP3) or the next LOCK's error.",
    "    REPLICAS: nil, and the lock given back, unless so many replicas have it in time.",
    "RELEASE <resource> <token>",
    "    Give the lock back: 1; 0 where it is not this token's, or not any more.",
    "EXTEND <resource> <token> <EX <s> | PX <ms>>",
    "    Let its time begin anew: 1; 0 where it is not this token's, or not any more.",
    "INFO <resource>",
    "    Return held, fence (the last one given), ttl_ms, waiters (of this proxy).",
    "LIST [<glob>]",
    "    Return the resources that are held, and for how many ms each is at most (nil: no end).",
    "HELP",
    "    Print this help.",
)


@dataclass(frozen=True, slots=True)
class Acquire:
    resource: bytes
    ttl_ms: int
    wait_ms: int
    token: bytes | None
    fence: bool
    renew: bool = False
    most_ms: int | None = None
    replicas: int = 0


@dataclass(frozen=True, slots=True)
class Release:
    resource: bytes
    token: bytes


@dataclass(frozen=True, slots=True)
class Extend:
    resource: bytes
    token: bytes
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Info:
    resource: bytes


@dataclass(frozen=True, slots=True)
class List:
    """The locks whose resource matches."""

    glob: bytes


@dataclass(frozen=True, slots=True)
class Help:
    pass


Request = Acquire | Release | Extend | Info | List | Help


def parse(words: Sequence[bytes]) -> Request:
    sub = subcommand(SPEC, words)
    if sub == "HELP":
        return Help()
    if sub == "LIST":
        return _list(words)
    resource = words[2]
    _within("resource", resource, RESOURCE_MAX)
    if sub == "ACQUIRE":
        return _acquire(resource, words)
    if sub == "RELEASE":
        return Release(resource, words[3])
    if sub == "EXTEND":
        return _extend(resource, words)
    return Info(resource)


def _acquire(resource: bytes, words: Sequence[bytes]) -> Acquire:
    allowed = b"EX", b"PX", b"WAIT", b"TOKEN", b"FENCE", b"RENEW", b"MAXHOLD", b"REPLICAS"
    given = _options(words, 3, *allowed)
    renew = b"RENEW" in given
    if b"MAXHOLD" in given and not renew:
        raise BadInput(SYNTAX)
    token = given.get(b"TOKEN")
    if token is not None:
        _within("token", token, TOKEN_MAX)
    wait_ms = waiting(given[b"WAIT"]) if b"WAIT" in given else 0
    ttl_ms = _time(given) or LOCK_MS
    most_ms = None
    if b"MAXHOLD" in given:
        most_ms = milliseconds(b"PX", given[b"MAXHOLD"], "lock")
        ttl_ms = min(ttl_ms, most_ms)
    replicas = _replicas(given[b"REPLICAS"]) if b"REPLICAS" in given else 0
    return Acquire(resource, ttl_ms, wait_ms, token, b"FENCE" in given, renew, most_ms, replicas)


def _replicas(word: bytes) -> int:
    count = integer(word)
    if not 0 < count <= REPLICAS_MAX:
        raise BadInput(f"invalid REPLICAS in 'lock' command: it is 1 to {REPLICAS_MAX}")
    return count


def _extend(resource: bytes, words: Sequence[bytes]) -> Extend:
    ttl_ms = _time(_options(words, 4, b"EX", b"PX"))
    assert ttl_ms is not None  # six words: there is one option
    return Extend(resource, words[3], ttl_ms)


def _list(words: Sequence[bytes]) -> List:
    if len(words) > 3:
        raise BadInput(SYNTAX)
    glob = words[2] if len(words) == 3 else b"*"
    _within("glob", glob, RESOURCE_MAX)
    return List(glob)


def _options(words: Sequence[bytes], at: int, *allowed: bytes) -> dict[bytes, bytes]:
    """The options and their words. All are read before any is looked into: as in SET, a word too
    many is told of before a number that is none."""
    options, given = Options(words, at), dict[bytes, bytes]()
    while options.more():
        name = options.name(*allowed, also=EXPIRIES)
        given[name] = b"" if name in (b"FENCE", b"RENEW") else options.value()
    return given


def _time(given: dict[bytes, bytes]) -> int | None:
    for option in (b"EX", b"PX"):
        if option in given:
            return milliseconds(option, given[option], "lock")
    return None


def _within(what: str, word: bytes, limit: int) -> None:
    if not 0 < len(word) <= limit:
        raise BadInput(f"invalid {what}: it has 1 to {limit} bytes")


def waits(request: object) -> bool:
    return isinstance(request, Acquire) and request.wait_ms > 0


def grants(request: object) -> bool:
    return isinstance(request, Acquire)


async def run(call: Call) -> Value:
    request, tenure = call.request, call.tenure
    if tenure is not None:
        tenure.check()
    match request:
        case Acquire():
            return await _run_acquire(call, request)
        case Release():
            return int(await call.locks.release(request.resource, request.token, tenure))
        case Extend():
            args = request.resource, request.token, request.ttl_ms
            return int(await call.locks.extend(*args, tenure))
        case Info():
            return await call.locks.info(request.resource)
        case List():
            return await _run_list(call, request.glob)
        case _:
            return HELP


async def _run_acquire(call: Call, request: Acquire) -> Value:
    args = request.resource, request.ttl_ms, request.wait_ms, request.token
    replicas = (request.replicas,) if request.replicas else ()
    if not request.renew:
        grant = await call.locks.acquire(*args, *replicas)
    elif call.tenure is None:
        raise BadInput("RENEW is for clients that stay connected: HTTP's do not")
    else:
        grant = await call.locks.acquire_kept(*args, call.tenure, request.most_ms, *replicas)
    if grant is None:
        return None
    return (grant.token, grant.fence, grant.valid_ms) if request.fence else grant.token


async def _run_list(call: Call, glob: bytes) -> Mapping[str, Value]:
    if not call.lock_servers:
        return await _list_of(call, call.bulk, call.walks(), glob)
    lists: list[Mapping[str, Value]] = []
    why = ""
    for server in call.lock_servers:
        try:
            async with asyncio.timeout(LIST_S):
                lists.append(await _list_of(call, server, (b"0",), glob))
        except TimeoutError:
            why = f"no list in {LIST_S:g} s"
        except BadInput:
            raise
        except ProxyError as error:
            why = str(error)
    majority = len(call.lock_servers) // 2 + 1
    if len(lists) < majority:
        raise NoMajority(len(lists), len(call.lock_servers), why)
    return _of_most(lists, majority)


def _of_most(lists: Sequence[Mapping[str, Value]], majority: int) -> Mapping[str, Value]:
    """The locks that most servers have, and for how long most of them will."""
    times: dict[str, list[float]] = {}
    for found in lists:
        for resource, ms in found.items():
            times.setdefault(resource, []).append(float("inf") if ms is None else cast("int", ms))
    most = {
        resource: sorted(each, reverse=True)[majority - 1]
        for resource, each in times.items()
        if len(each) >= majority
    }
    return {name: None if ms == float("inf") else int(ms) for name, ms in most.items()}


async def _list_of(
    call: Call, server: Asking, begins: Sequence[bytes], glob: bytes
) -> Mapping[str, Value]:
    """Walk all nodes, one after the other: nobody waits for a list, and others wait behind it.

    As INVALIDATE's sweep: pages of a bounded time, and the end is the walk's or cursor 0. Plain
    commands: a user sees what SCAN and PTTL let it see."""
    found: dict[str, Value] = {}
    for begin, end in zip(begins, [*begins[1:], b"0"], strict=True):
        pace, cursor = Pace(), begin
        while True:
            asked = call.now()
            page = await _ask(server, _scan(cursor, glob, pace.count))
            cursor, keys = items(page, "SCAN", bytes, list)
            pace.felt(call.now() - asked, behind=False)
            await _times(server, keys, found)
            if cursor in (end, b"0"):
                break
    return found


def _scan(cursor: bytes, glob: bytes, count: int) -> bytes:
    match = lock_key(closed(glob))
    return encode([b"SCAN", cursor, b"MATCH", match, b"COUNT", b"%d" % count])


async def _ask(server: Asking, request: bytes) -> Value:
    (reply,) = await server.begin([request], 1)
    if isinstance(reply, ProxyError):
        raise reply
    return reply


async def _times(server: Asking, keys: Sequence[bytes], found: dict[str, Value]) -> None:
    """Add how long the locks at these keys last; those that have ended since have none."""
    locks = [(key, resource) for key in keys if (resource := resource_of(key)) is not None]
    if not locks:
        return
    requests = [encode([b"PTTL", key]) for key, _ in locks]
    for (_, resource), reply in zip(locks, await server.many(requests), strict=True):
        if isinstance(reply, ProxyError):
            raise reply
        ms = number(reply, "PTTL")
        if ms != -2:
            found[resource.decode(errors="surrogateescape")] = ms if ms >= 0 else None
    if len(found) > LIST_MAX:
        raise BadInput(f"more than {LIST_MAX} locks are held: ask for fewer, LOCK LIST <glob>")


_RESOURCE = Argument("resource", "key")
_TOKEN = Argument("token", "string")
_RENEWAL = Argument(
    "renewal",
    "block",
    flags=("optional",),
    arguments=(
        Argument("renew", "pure-token", "RENEW"),
        Argument("maxhold-milliseconds", "integer", "MAXHOLD", ("optional",)),
    ),
)
SPEC = CommandSpec(
    name=b"LOCK",
    arity=-2,
    summary="Lets one client at a time hold a resource.",
    group="nearhit",
    complexity="O(1); LIST: O(N) for N keys in the database, in paced pages.",
    parse=parse,
    run=run,
    waits=waits,
    grants=grants,
    flags=("write", "denyoom", "noscript", "blocking"),
    keys=(2, 2, 1),
    subcommands=(
        Subcommand(
            "ACQUIRE",
            "Returns a token once the resource is the caller's.",
            -3,
            (2, 2, 1),
            (
                _RESOURCE,
                TTL,
                Argument("wait-milliseconds", "integer", "WAIT", ("optional",)),
                Argument("token", "string", "TOKEN", ("optional",)),
                Argument("fence", "pure-token", "FENCE", ("optional",)),
                _RENEWAL,
                Argument("replicas", "integer", "REPLICAS", ("optional",)),
            ),
        ),
        Subcommand(
            "RELEASE",
            "Gives a resource back, if the token holds it.",
            4,
            (2, 2, 1),
            (_RESOURCE, _TOKEN),
        ),
        Subcommand(
            "EXTEND",
            "Lets the time of a resource begin anew, if the token holds it.",
            6,
            (2, 2, 1),
            (_RESOURCE, _TOKEN, Argument("expiration", "oneof", arguments=TTLS)),
        ),
        Subcommand(
            "INFO",
            "Returns whether a resource is held, its last fence, the time left and who waits.",
            3,
            (2, 2, 1),
            (_RESOURCE,),
        ),
        Subcommand(
            "LIST",
            "Returns the resources that are held, with the time left of each.",
            -2,
            arguments=(Argument("pattern", "pattern", flags=("optional",)),),
        ),
        Subcommand("HELP", "Prints the subcommands.", 2),
    ),
)
