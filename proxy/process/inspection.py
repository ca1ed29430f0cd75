"""What the server is for a proxy: asked of it, on the lane of the URL, as its user.

    CLIENT TRACKING ─ on a tracked lane, as the near cache would have it
    INFO            ─ what it evicts
    ACL DRYRUN      ─ what the user may not do that a proxy needs: nothing is done by it
    the map         ─ the shards of a cluster

For ``nearhit check --upstream``; server.py calls it where it has started. Judges nothing of what
is usual for a server without a proxy."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..cluster.lanes import ClusterLanes
from ..errors import ProxyError
from ..upstream.ask import Reply
from ..upstream.may_track import TRACKING_NEEDS, is_no
from ..upstream.tracked import STANDS
from .wiring import Parts

_POLICY: Final = re.compile(rb"\nmaxmemory_policy:(\S+)\r")
_MAXMEMORY: Final = re.compile(rb"\nmaxmemory:(\d+)\r")
KEY: Final = b"nearhit"  # one that nobody has


@dataclass(frozen=True, slots=True)
class Finding:
    """``name = value  # remark``."""

    name: str
    value: str
    remark: str


@dataclass(frozen=True, slots=True)
class Need:
    """A request that a proxy makes; ``without`` it something is not so, and ``allow`` mends it."""

    words: tuple[bytes, ...]
    without: str
    allow: str


_TRACKING: Final = "no near cache, and who waits for a load or a lock looks again and again"
_SCRIPTS: Final = "no GETORSET, LEASE, LOCK, and no loaders"
NEEDS: Final = (
    Need((b"PING",), "/readyz and looks at silent connections fail", "+ping"),
    Need((b"COMMAND",), "the commands are those that ship with Nearhit", "+command"),
    Need((b"INFO",), "the version stays unknown, rights are looked at less often", "+info"),
    Need((b"HELLO", b"3"), _TRACKING, "+hello"),
    *(
        Need(words, _TRACKING, allow)
        for words, allow in zip(
            TRACKING_NEEDS, ("+client|tracking", "+client|caching", "+pttl"), strict=True
        )
    ),
    Need((b"EVALSHA", b"0" * 40, b"0"), _SCRIPTS, "+evalsha"),
    Need((b"EVAL", b"return 1", b"0"), _SCRIPTS, "+eval"),
    Need((b"TIME",), _SCRIPTS, "+time"),
    Need((b"ROLE",), "WAIT for users only who may ROLE", "+role"),
    Need((b"ACL", b"GETUSER", b"default"), "MGET is never answered near", "+acl|getuser"),
)
# Of a user who may use any key.
SIDE_KEYS: Final = (
    Need((b"GET", b"lease:{%b}" % KEY), "no loads, and no LEASE", "~lease:*"),
    Need((b"GET", b"lock:{%b}" % KEY), "no LOCK", "~lock:*"),
    Need((b"GET", b"fence:{%b}" % KEY), "no LOCK", "~fence:*"),
)


def shown(words: Sequence[bytes]) -> str:
    """A need's command, as people say it."""
    head = words[:2] if words[0] in (b"ACL", b"CLIENT") else words[:1]
    keys = words[1:] if b":" in words[-1] else ()
    return b" ".join((*head, *keys)).decode()


async def inspect(parts: Parts) -> list[Finding]:
    """What is found, in the order in which it is best read. ProxyError: the server is away."""
    info = await _asked(parts, b"INFO", b"memory")
    return [
        *_shards(parts),
        await _tracking(parts),
        *memory_of(info),
        *await _rights(parts),
    ]


def _shards(parts: Parts) -> Iterator[Finding]:
    if isinstance(parts.lanes, ClusterLanes):
        for primary, replicas in parts.lanes.shards:
            behind = f"replicas: {', '.join(replicas)}" if replicas else "no replica"
            yield Finding("shard", primary, behind)


async def _tracking(parts: Parts) -> Finding:
    if parts.context.near is None:
        return Finding("tracking", "not wanted", "near_cache = off")
    if not parts.context.table.ours.near:
        return Finding("tracking", "off", "the server is too old for a near cache: Redis 7, Valkey")
    tracked = parts.scopes.scope(parts.lanes.primary_key).tracked
    try:
        await tracked.upstream.ask(*STANDS)
    except ProxyError as error:
        return Finding("tracking", "off", f"no near cache: {error}")
    if not tracked.lane().can_track:
        remedy = "the server refused HELLO 3 or CLIENT TRACKING: allow +hello +client"
        return Finding("tracking", "off", f"no near cache: {remedy}")
    return Finding("tracking", "on", "the server tells of changed keys")


def memory_of(info: Reply) -> Iterator[Finding]:
    policy = _POLICY.search(info) if isinstance(info, bytes) else None
    if policy is None or not isinstance(info, bytes):
        return
    name = policy[1].decode("latin-1")
    most = _MAXMEMORY.search(info)
    if most is None or most[1] == b"0":
        remark = "of no effect: maxmemory is 0"
    elif name == "noeviction":
        remark = "when memory is full writes fail, and values of loaders are not stored"
    else:
        remark = "may evict locks and leases: leave room, or use noeviction"
    yield Finding("maxmemory_policy", name, remark)


async def _rights(parts: Parts) -> list[Finding]:
    name = parts.lanes.dial.upstream.username or "default"
    user = name.encode()
    first = await _asked(parts, b"ACL", b"DRYRUN", user, b"GET", KEY)
    if isinstance(first, ProxyError) or first.startswith(b"-"):
        remark = "ACL DRYRUN is refused, or not there before Redis 7: allow +acl|dryrun"
        return [Finding("rights", "not told", remark)]
    any_key = not is_no(first) or _is_of_command(first)
    needs = (*NEEDS, *SIDE_KEYS) if any_key else NEEDS
    answers = await asyncio.gather(
        *(_asked(parts, b"ACL", b"DRYRUN", user, *need.words) for need in needs)
    )
    found = [
        Finding("may not", shown(need.words), f"{need.without}: ACL SETUSER {name} {need.allow}")
        for need, answer in zip(needs, answers, strict=True)
        if is_no(answer) and (need in SIDE_KEYS or _is_of_command(answer))
    ]
    if not any_key:
        remark = "each pattern needs ~lease:{..., ~lock:{... too: docs/operating.md, Users"
        found.append(Finding("keys", "some", remark))
    if not found:
        found.append(Finding("rights", "enough", f"user {name}, by ACL DRYRUN"))
    return found


def _is_of_command(refusal: Reply) -> bool:
    """Whether it is the command that may not be run, and not a key."""
    return isinstance(refusal, bytes) and b" command" in refusal


async def _asked(parts: Parts, *words: bytes) -> Reply:
    answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def done(reply: Reply) -> None:
        if not answered.done():  # whoever asked may have given up
            answered.set_result(reply)

    parts.primary.ask(done, *words)
    return await answered
