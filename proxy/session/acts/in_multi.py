"""Inside MULTI: requests that change their connection when EXEC runs them.

The request is queued on the session's own lane like any other; EXEC's answer for it tells whether
the connection has changed, and the session changes with it. ``queued`` has no answer where even
EXEC's would not tell, as for SUBSCRIBE, whose answers are several: that makes a tunnel
(transactions.py)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ...resp.requests import integer_of, parse_hello
from ...resp.routes import Route
from ...upstream.lane_key import User
from ..conducted import Conducted
from ..reasons import HOLD_TRACKING
from .odd import begin_monitor, stick
from .pause import Pausing, unpaused

Patch = Callable[[bytes], bytes]
# The words to queue, and what the client gets for the element that EXEC answers for them.
Queued = tuple[list[bytes], Patch]

_COUNT: Final = re.compile(rb":\d+\r\n")
# What even a CLIENT that is answered does to the replies around it, or with ids that are ours.
_UNTOLD: Final = frozenset({b"REPLY", b"UNBLOCK"})


def queued(session: Conducted, route: Route, args: list[bytes]) -> Queued | None:
    """How to queue the request; None: nobody can tell what it does."""
    if route is Route.HELLO:
        return _hello(session, args)
    if route is Route.AUTH:
        return _auth(session, args)
    if route is Route.SELECT:
        return _select(session, args)
    if route is Route.STICKY:
        return args, lambda reply: stick(session, args, reply)
    if route is Route.MONITOR:
        return args, lambda reply: begin_monitor(session, reply)
    if route is Route.CLIENT:
        return _client(session, args)
    if route is Route.WAIT:
        return args, _nobody
    return None


def _nobody(reply: bytes) -> bytes:
    """What WAIT and WAITAOF are answered inside MULTI, where they wait for nothing: how many have
    what this connection has written before. Ours may have written nothing, and then all have it, so
    none is told of."""
    return _COUNT.sub(b":0\r\n", reply) if reply[:1] in b":*" else reply


def _hello(session: Conducted, args: list[bytes]) -> Queued:
    wanted = parse_hello(args) if len(args) > 1 else None
    if wanted is None:  # it asks, or is refused
        return args, lambda reply: session.context.hello(reply, session.client.identity.id)

    def patch(reply: bytes) -> bytes:
        if reply.startswith(b"-"):
            return reply
        if wanted.name is not None:
            session.client.identity.name = wanted.name
        key = session.berth.lane_key.with_resp(wanted.resp)
        session.berth.rekey(key.with_user(User(*wanted.login)) if wanted.login else key)
        return session.context.hello(reply, session.client.identity.id)

    return wanted.without_name(args[0]), patch


def _auth(session: Conducted, args: list[bytes]) -> Queued:
    user = User(args[1] if len(args) == 3 else b"default", args[-1])

    def patch(reply: bytes) -> bytes:
        if reply.startswith(b"+"):
            session.berth.rekey(session.berth.lane_key.with_user(user))
        return reply

    return args, patch


def _select(session: Conducted, args: list[bytes]) -> Queued:
    def patch(reply: bytes) -> bytes:
        db = integer_of(args[1])
        if reply.startswith(b"+") and db is not None:
            session.berth.rekey(session.berth.lane_key.with_db(db))
        return reply

    return args, patch


def _client(session: Conducted, args: list[bytes]) -> Queued | None:
    sub = args[1].upper()
    if sub == b"PAUSE" and (pausing := Pausing.of(session.context, args)) is not None:
        session.transaction.pauses.append(pausing)
        return args, pausing.seen
    if sub == b"UNPAUSE":
        return args, lambda reply: unpaused(session.context, reply)
    if sub in _UNTOLD or (sub == b"TRACKING" and b"REDIRECT" in map(bytes.upper, args)):
        return None
    if sub != b"TRACKING":
        return args, lambda reply: stick(session, args, reply)

    def patch(reply: bytes) -> bytes:
        if reply.startswith(b"+"):
            on = args[2].upper() == b"ON"
            (session.berth.hold if on else session.berth.let_go)(HOLD_TRACKING)
            session.client.identity.redirect = -1
        return reply

    return args, patch
