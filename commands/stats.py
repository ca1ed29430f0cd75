"""STATS: how the cache does. Hits and misses are the fleet's, the rest is this proxy's own.

STATS | STATS RESET | STATS HELP"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from ..proxy.custom.spec import Call, CommandSpec, Subcommand
from ..proxy.custom.words import subcommand
from ..proxy.resp.replies import Value


class Request(Enum):
    SHOW = auto()
    RESET = auto()
    HELP = auto()


HELP: Final = (
    "STATS <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Return the hits and misses of all proxies of this server, and this proxy's own counters.",
    "RESET",
    "    Start hits and misses, and this proxy's own counters, from zero.",
    "HELP",
    "    Print this help.",
)


def parse(words: Sequence[bytes]) -> Request:
    return Request.SHOW if len(words) == 1 else Request[subcommand(SPEC, words)]


async def run(call: Call) -> Value:
    if call.request is Request.HELP:
        return HELP
    if call.request is Request.RESET:
        await call.stats.reset()
        return "OK"
    return await call.stats.show()


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
        Subcommand("RESET", "Starts the statistics from zero.", arity=2),
        Subcommand("HELP", "Returns helpful text about the subcommands.", arity=2),
    ),
)
