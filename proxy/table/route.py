"""Which route one request takes: a pure function of its words, where its name alone does not tell.

Called off the hot path only, for the requests at which the kernel stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..resp.routes import Route

# KILL must reach a server whose other connections wait behind the script: it gets a lane of its
# own.
SCRIPT_SUBCOMMANDS: Final = {b"DEBUG": Route.TUNNEL, b"KILL": Route.BLOCK}


def refined(route: Route, args: Sequence[bytes]) -> Route:
    """Refine the route of the command's name by its arguments."""
    if route is Route.BLOCK_OPTION:
        return Route.BLOCK if _has_block(args) else Route.PLAIN
    if route is Route.DEBUG:
        # DEBUG PROTOCOL PUSH pushes to the connection that asked.
        return Route.STICKY if len(args) > 1 and args[1].upper() == b"PROTOCOL" else Route.PLAIN
    if route is Route.SCRIPT:
        return SCRIPT_SUBCOMMANDS.get(args[1].upper() if len(args) > 1 else b"", Route.PLAIN)
    return route


def _has_block(args: Sequence[bytes]) -> bool:
    """Whether XREAD or XREADGROUP may have been given BLOCK. A group or a key may be called so as
    well, or be called STREAMS before it: taken for blocking it only gets a lane of its own."""
    return any(word.upper() == b"BLOCK" for word in args[1:])
