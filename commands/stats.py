"""STATS: how the cache does. Hits and misses are the fleet's, the rest is this proxy's own.

STATS | STATS HOTKEYS [n] | BIGKEYS [n] | PREFIXES [n] | SLOWLOG [n] | LATENCY | PROXY |
RESET | HELP

The server's ACL decides: who may not ask INFO may not see them, who may not CONFIG RESETSTAT may
not reset them, and who may not SLOWLOG GET sees no commands of others. Of keys each user is told of
those alone that he may GET."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from ..lua import script
from ..proxy.custom.spec import Argument, Call, CommandSpec, Subcommand
from ..proxy.custom.visible import visible
from ..proxy.custom.words import integer, subcommand
from ..proxy.errors import BadInput, ServerError, WrongArity
from ..proxy.resp.replies import Value

MAY: Final = script("may")
SHOWN: Final = 16  # where nobody says how many
MOST: Final = 128


class What(Enum):
    SHOW = auto()
    HOTKEYS = auto()
    BIGKEYS = auto()
    PREFIXES = auto()
    SLOWLOG = auto()
    LATENCY = auto()
    PROXY = auto()
    RESET = auto()
    HELP = auto()


@dataclass(frozen=True, slots=True)
class Request:
    what: What
    count: int = SHOWN


COUNTED: Final = (What.HOTKEYS, What.BIGKEYS, What.PREFIXES, What.SLOWLOG)

HELP: Final = (
    "STATS <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Return the hits and misses of all proxies of this server, and this proxy's own counters.",
    "HOTKEYS [<count>]",
    "    Return the keys of this db that are read most, by samples of the last minutes.",
    "BIGKEYS [<count>]",
    "    Return the keys of this db with the largest values, by the same samples.",
    "PREFIXES [<count>]",
    "    Return the prefixes of keys that are read most, by the same samples.",
    "SLOWLOG [<count>]",
    "    Return the slowest commands, with where their time went.",
    "LATENCY",
    "    Return percentiles by class of command and by who answered.",
    "PROXY",
    "    Return this proxy as it is now, of all its workers: counters, servers, connections.",
    "RESET",
    "    Start hits and misses, this proxy's own counters and all of the above from zero.",
    "HELP",
    "    Print this help.",
)


def parse(words: Sequence[bytes]) -> Request:
    if len(words) == 1:
        return Request(What.SHOW)
    what = What[subcommand(SPEC, words)]
    if what not in COUNTED or len(words) == 2:
        return Request(what)
    if len(words) > 3:
        raise WrongArity(f"stats|{what.name.lower()}")
    if not 1 <= (count := integer(words[2])) <= MOST:
        raise BadInput(f"count should be from 1 to {MOST}")
    return Request(what, count)


async def run(call: Call) -> Value:
    request = call.request
    assert isinstance(request, Request)
    if request.what is What.HELP:
        return HELP
    if request.what is What.RESET:
        await _judge(call, b"CONFIG", b"RESETSTAT")
        await call.stats.reset()
        return "OK"
    await call.upstream.ask(b"INFO", b"nearhit")  # a section that no server has
    if request.what is What.SHOW:
        return await call.stats.show()
    assert call.views is not None
    if request.what is What.LATENCY:
        return call.views.latency()
    if request.what is What.SLOWLOG:
        await _judge(call, b"SLOWLOG", b"GET")
        return call.views.slowest()[: request.count]
    if request.what is What.PROXY:
        return call.views.proxy()
    rows = await visible(call, call.views.seen(request.what.name.lower()))
    return rows[: request.count]


async def _judge(call: Call, *words: bytes) -> None:
    """ServerError where this user may not run this command, which has no words behind these."""
    may = await call.upstream.run(MAY, (), [word.lower() for word in words])
    if may == 0:
        what = b"|".join(words).lower().decode()
        line = f"-NOPERM this user has no permissions to run the '{what}' command"
        raise ServerError(line.encode())
    if may is None:  # Redis 6.2: it asks the ACL before it reads the words
        try:
            await call.upstream.ask(*words, b"nearhit")
        except ServerError as refused:
            if refused.line.startswith(b"-NOPERM"):
                raise


_COUNT: Final = (Argument("count", "integer", flags=("optional",)),)

SPEC: Final = CommandSpec(
    name=b"STATS",
    arity=-1,
    summary="Returns the statistics of the cache.",
    group="server",
    complexity="O(1)",
    parse=parse,
    run=run,
    flags=("noscript", "fast"),
    subcommands=(
        Subcommand("HOTKEYS", "Returns the keys that are read most.", -2, arguments=_COUNT),
        Subcommand("BIGKEYS", "Returns the keys with the largest values.", -2, arguments=_COUNT),
        Subcommand("PREFIXES", "Returns the prefixes that are read most.", -2, arguments=_COUNT),
        Subcommand("SLOWLOG", "Returns the slowest commands.", -2, arguments=_COUNT),
        Subcommand("LATENCY", "Returns percentiles by class of command.", arity=2),
        Subcommand("PROXY", "Returns what this proxy is and has now.", arity=2),
        Subcommand("RESET", "Starts the statistics from zero.", arity=2),
        Subcommand("HELP", "Returns helpful text about the subcommands.", arity=2),
    ),
)
