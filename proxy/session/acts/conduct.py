"""Which act each route of table/ is, and what comes before any of them.

An act does its work and returns True, or finds that it must wait, stalls the session and returns
False with nothing done; the session then offers it the same request again. Those that ask the
server look at the reply in functions called ``seen``, which run when it arrives and return what the
client gets; ``lost`` runs instead where none will arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ...resp.routes import Route
from ...table.modes import UNSAFE_IN_MULTI
from ..conducted import Acts, Conducted, Shortcut
from ..reasons import HOLD_MULTI
from .blocking import block, shutdown
from .client import client
from .identity import auth, hello, quit_, reset, select
from .introspection import merge
from .odd import monitor, odd, sticky, tunnel
from .own import Reads, custom, read_through
from .permits import permit
from .plain import Act, forward
from .pubsub import subscribe, unsubscribe
from .transactions import discard, execute, multi, queue, unwatch, watch, whole
from .wait import wait
from .writes import load, scripted, write


def conduct(session: Conducted, route: Route, args: list[bytes]) -> bool:
    """Act on one request (Conduct)."""
    if session.berth.holds & HOLD_MULTI and route in UNSAFE_IN_MULTI:
        return queue(session, route, args)
    return ACTS[route](session, args)


ACTS: Final[Mapping[Route, Act]] = {
    Route.ODD: odd,
    Route.PLAIN: forward,
    Route.READ: forward,
    Route.AUTH: auth,
    Route.BLOCK: block,
    Route.CLIENT: client,
    Route.COMMAND: merge,
    Route.CUSTOM: custom,
    Route.DISCARD: discard,
    Route.EXEC: execute,
    Route.GETORSET: custom,
    Route.HELLO: hello,
    Route.INFO: merge,
    Route.MONITOR: monitor,
    Route.MULTI: multi,
    Route.FAR_ANY: forward,
    Route.NEAR: forward,
    Route.NEAR_ANY: forward,
    Route.NEAR_MANY: forward,
    Route.PERMIT: permit,
    Route.QUIT: quit_,
    Route.READ_THROUGH: read_through,
    Route.RESET: reset,
    Route.SCRIPT: load,
    Route.SCRIPTED: scripted,
    Route.SELECT: select,
    Route.SHUTDOWN: shutdown,
    Route.STICKY: sticky,
    Route.SUBSCRIBE: subscribe,
    Route.TELL: forward,
    Route.TUNNEL: tunnel,
    Route.UNSUBSCRIBE: unsubscribe,
    Route.UNWATCH: unwatch,
    Route.WAIT: wait,
    Route.WATCH: watch,
    Route.WRITE: write,
    Route.WRITE_ONE: write,
}

SHORTCUTS: Final[Mapping[int, Shortcut]] = {Route.MULTI: whole}
ALL_ACTS: Final = Acts(conduct, SHORTCUTS, Reads())
