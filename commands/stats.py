"""STATS: how the cache does. Hits and misses are the fleet's, the rest is this proxy's own.

STATS | STATS RESET | STATS HELP

The server's ACL decides: who may not ask INFO may not see them, who may not CONFIG RESETSTAT may
not reset them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from ..lua import script
from ..proxy.custom.spec import Call, CommandSpec, Subcommand
from ..proxy.custom.words import subcommand
from ..proxy.errors import ServerError
from ..proxy.resp.replies import Value

MAY: Final = script("may")
NO_PERMISSION: Final = b"-NOPERM this user has no permissions to run the 'config|resetstat' command"


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
        await _judge_reset(call)
        await call.stats.reset()
        return "OK"
    await call.upstream.ask(b"INFO", b"nearhit")  # a section that no server has
    return await call.stats.show()


async def _judge_reset(call: Call) -> None:
    """ServerError where this user may not reset the server's own statistics."""
    may = await call.upstream.run(MAY, (), (b"config", b"resetstat"))
    if may == 0:
        raise ServerError(NO_PERMISSION)
    if may is None:  # Redis 6.2: it asks the ACL before it counts the words
        try:
            await call.upstream.ask(b"CONFIG", b"RESETSTAT", b"nearhit")
        except ServerError as refused:
            if refused.line.startswith(b"-NOPERM"):
                raise


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
