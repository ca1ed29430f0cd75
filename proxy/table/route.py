"""Which route one request takes: a pure function of its words, where its name alone does not tell.

Called off the hot path only, for the requests at which the kernel stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..resp.routes import Route

# KILL must reach a server whose other connections wait behind the script: it gets a lane of its
# own.
SCRIPT_SUBCOMMANDS: Final = {b"DEBUG": Route.TUNNEL, b"KILL": Route.BLOCK}


# These bring texts that are run later.
LOADS: Final = frozenset({b"LOAD", b"RESTORE"})
# Of REPLCONF's options those that are answered: they only tell the server of its connection.
_REPLCONF_ANSWERED: Final = frozenset(
    {b"CAPA", b"IP-ADDRESS", b"LISTENING-PORT", b"RDB-FILTER-ONLY", b"RDB-ONLY", b"VERSION"}
)
# What needs a lane of its own and leaves nothing on it.
LEAVES_NOTHING: Final = frozenset({Route.BLOCK, Route.ODD, Route.WAIT})


def refined(route: Route, args: Sequence[bytes]) -> Route:
    """Refine the route of the command's name by its arguments."""
    if route is Route.BLOCK_OPTION:
        return Route.BLOCK if _has_block(args) else Route.PLAIN
    if route is Route.DEBUG:
        # DEBUG PROTOCOL PUSH pushes to the connection that asked.
        return Route.STICKY if len(args) > 1 and args[1].upper() == b"PROTOCOL" else Route.PLAIN
    if route is Route.SCRIPT:
        if len(args) > 2 and args[1].upper() in LOADS:
            return route
        return SCRIPT_SUBCOMMANDS.get(args[1].upper() if len(args) > 1 else b"", Route.PLAIN)
    if route is Route.TUNNEL and args[0].upper() == b"REPLCONF":
        # An odd number of words behind the name is a syntax error, which is answered too.
        told = len(args) % 2 == 0 or {word.upper() for word in args[1::2]} <= _REPLCONF_ANSWERED
        return Route.STICKY if told else route
    return route


def _has_block(args: Sequence[bytes]) -> bool:
    """Whether XREAD or XREADGROUP may have been given BLOCK. A group or a key may be called so as
    well, or be called STREAMS before it: taken for blocking it only gets a lane of its own."""
    return any(word.upper() == b"BLOCK" for word in args[1:])
