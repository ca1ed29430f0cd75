"""LEASE: the protection of GETORSET for clients that compute the value themselves.

LEASE GET key [PX lease-ms] [WAIT ms]     [value, nil] | [nil, token]: compute it | [nil, nil]
LEASE SET key token value [EX s | PX ms | EXAT unix-s | PXAT unix-ms] [TAG tag] ...
                                                                           1 stored | 0 refused
LEASE CANCEL key token                                                     1 | 0"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..proxy.custom.spec import Argument, Call, CommandSpec, Expiry, Subcommand
from ..proxy.custom.tags import attach_aged, checked
from ..proxy.custom.words import (
    EXPIRIES,
    EXPIRY,
    TAG,
    Options,
    expiry,
    milliseconds,
    subcommand,
    waiting,
)
from ..proxy.errors import BadInput
from ..proxy.resp.replies import Value

LEASE_MS = 10_000
# A lease that outlives its holder keeps everybody else waiting.
LEASE_MS_MAX = 3_600_000
HELP = (
    "LEASE <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <key> [PX <milliseconds>] [WAIT <milliseconds>]",
    "    Return [value, nil]; or [nil, token]: compute the value and SET it; or [nil, nil]:",
    "    another computes it, and WAIT (default 0) ran out. PX: how long you have (10000).",
    "SET <key> <token> <value> [EX <s> | PX <ms> | EXAT <unix-s> | PXAT <unix-ms>]",
    "        [TAG <tag> ...]",
    "    Store the value: 1; 0 where the lease has ended or the key was written since, or a tag",
    "    was invalidated.",
    "CANCEL <key> <token>",
    "    Give the lease up; who waits gets it next.",
    "HELP",
    "    Print this help.",
)


@dataclass(frozen=True, slots=True)
class Get:
    key: bytes
    lease_ms: int
    wait_ms: int


@dataclass(frozen=True, slots=True)
class Set:
    key: bytes
    token: bytes
    value: bytes
    expiry: Expiry | None
    tags: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Cancel:
    key: bytes
    token: bytes


@dataclass(frozen=True, slots=True)
class Help:
    pass


Request = Get | Set | Cancel | Help


def parse(words: Sequence[bytes]) -> Request:
    sub = subcommand(SPEC, words)
    if sub == "GET":
        return _get(words)
    if sub == "SET":
        options, given, tags = Options(words, 5), None, list[bytes]()
        while options.more():
            name = options.name(*EXPIRIES, b"TAG", also=EXPIRIES)
            if name == b"TAG":
                tags.append(options.again())
                continue
            given = expiry(name, options.value(), "lease")
        return Set(words[2], words[3], words[4], given, checked(tags))
    return Cancel(words[2], words[3]) if sub == "CANCEL" else Help()


def _get(words: Sequence[bytes]) -> Get:
    options, lease_ms, wait_ms = Options(words, 3), LEASE_MS, 0
    while options.more():
        name = options.name(b"PX", b"WAIT")
        if name == b"PX":
            lease_ms = milliseconds(name, options.value(), "lease")
        else:
            wait_ms = waiting(options.value())
    if lease_ms > LEASE_MS_MAX:
        raise BadInput(f"a lease lasts at most {LEASE_MS_MAX} ms (PX)")
    return Get(words[2], lease_ms, wait_ms)


async def run(call: Call) -> Value:
    request = call.request
    match request:
        case Get():
            return await call.leases.lease(request.key, request.lease_ms, request.wait_ms)
        case Set():
            if request.tags and not await _tagged(call, request):
                return 0
            args = request.key, request.token, request.value, request.expiry
            return int(await call.leases.fill(*args))
        case Cancel():
            return int(await call.leases.cancel(request.key, request.token))
        case _:
            return HELP


async def _tagged(call: Call, request: Set) -> bool:
    """Put the key under its tags; False: one was invalidated after the lease was taken."""
    taken = call.leases.taken(request.key, request.token)
    # Of a lease that was taken elsewhere it is known only how long one lasts at most.
    since, until = taken or (call.now() - LEASE_MS_MAX / 1000, call.now())
    attached = await attach_aged(
        call.upstream,
        [(request.key, request.expiry)],
        request.tags,
        lambda: call.now() - since,
        round((until - since) * 1000),
    )
    if not attached:
        await call.leases.cancel(request.key, request.token)
    return attached


def waits(request: object) -> bool:
    return isinstance(request, Get) and request.wait_ms > 0


def grants(request: object) -> bool:
    return isinstance(request, Get)


SPEC = CommandSpec(
    name=b"LEASE",
    arity=-2,
    summary="Lets one client at a time compute the value of a key, and stores it safely.",
    group="nearhit",
    complexity="O(1)",
    parse=parse,
    run=run,
    waits=waits,
    grants=grants,
    flags=("write", "denyoom", "blocking"),
    keys=(2, 2, 1),
    subcommands=(
        Subcommand(
            "GET",
            "Returns the value of a key, or a token to compute it with.",
            -3,
            (2, 2, 1),
            (
                Argument("key", "key"),
                Argument("lease-milliseconds", "integer", "PX", ("optional",)),
                Argument("wait-milliseconds", "integer", "WAIT", ("optional",)),
            ),
        ),
        Subcommand(
            "SET",
            "Stores a computed value, if its lease still holds.",
            -5,
            (2, 2, 1),
            (
                Argument("key", "key"),
                Argument("token", "string"),
                Argument("value", "string"),
                EXPIRY,
                TAG,
            ),
        ),
        Subcommand(
            "CANCEL",
            "Gives a lease up.",
            4,
            (2, 2, 1),
            (Argument("key", "key"), Argument("token", "string")),
        ),
        Subcommand("HELP", "Prints the subcommands.", 2),
    ),
)
