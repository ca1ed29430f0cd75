"""MULTI, EXEC and what stands between them, WATCH.

    MULTI ... EXEC whole in one read ─▶ whole(): forwarded in one piece on the shared lane
    MULTI ─▶ a lane of our own ─▶ queue(): each request ─▶ EXEC, DISCARD

What EXEC answers for some requests is ours to say, or changes the session (Transaction.patches).
What would change the connection in ways that no reply tells makes it a tunnel."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ...errors import MULTI_FULL, ProxyError
from ...hot.answers import WINDOW_MAX
from ...resp.kernel import Cutter
from ...resp.modes import Mode
from ...resp.requests import encode
from ...resp.routes import Route
from ..conducted import Conducted
from ..reasons import HOLD_MULTI, HOLD_WATCH, STALL_END, STALL_REPLY
from . import in_multi
from .client import queued as queued_client
from .introspection import merging
from .odd import tunnel
from .own import refused
from .plain import ask, forgetting, forward, write_any

_MULTI: Final = re.compile(rb"\*1\r\n\$5\r\nMULTI\r\n", re.IGNORECASE)
_EXEC: Final = re.compile(rb"\*1\r\n\$4\r\nEXEC\r\n", re.IGNORECASE)


def whole(session: Conducted, data: bytes, pos: int) -> int:
    """Forward MULTI ... EXEC where all of it is here, and nothing in it has a state: 0 if not.

    In one piece it needs no lane of our own: nothing comes between, EXEC always ends it."""
    routes = session.context.table.maps[Mode.INSIDE]
    begin = _MULTI.match(data, pos)
    berth = session.berth
    if begin is None or berth.own or session.mute or session.mode not in (Mode.NEAR, Mode.FAR):
        return 0
    count = routes.scan(data, begin.end(), WINDOW_MAX)
    end = _EXEC.match(data, routes.end)
    if end is None:
        return 0
    turn = session.context.turn
    turn.asking += routes.asking
    turn.writing += routes.writing
    turn.others += count + 2 - routes.asking - routes.writing
    keys = _keys_written(session, data, begin.end(), end.start())
    session.forward(data[pos : end.end()], count + 2, keys=keys)
    session.client.last = end[0]
    return end.end()


def _keys_written(session: Conducted, data: bytes, pos: int, end: int) -> list[bytes]:
    """By the plain requests in data[pos:end]; nobody asks where nothing is read near."""
    routes = session.context.table.maps[Mode.NEAR]
    keys: list[bytes] = []
    while session.near.cache is not None and pos < end:
        key = routes.key(data, pos)
        if key is not None and routes.route == Route.WRITE_ONE:
            keys.append(key)
            pos = routes.end
        else:
            pos = Cutter(True).cut(data, pos, 1)
    return keys


def queue(session: Conducted, route: Route, args: list[bytes]) -> bool:
    """Inside MULTI: what EXEC answers for this request is ours to say, or the connection the
    client's alone."""
    if session.transaction.full:
        session.say(MULTI_FULL)
        return True
    if route is Route.CLIENT:
        words, patch = queued_client(session, args)
    elif route in (Route.COMMAND, Route.INFO):
        words, patch = args, merging(session, args)
        if patch is None:
            return forward(session, args)
    elif route in (Route.CUSTOM, Route.GETORSET):
        return refused(session, args)
    else:
        words, patch = args, None
    if patch is None:
        changing = in_multi.queued(session, route, args)
        if changing is None:
            # It changes the connection in ways that no reply tells: from now on it is the client's
            # own.
            return tunnel(session, args)
        words, patch = changing
    session.transaction.patches.append((session.berth.queued, patch))
    session.forward(encode(words))
    return True


def _patched(reply: bytes, patches: list[tuple[int, Callable[[bytes], bytes]]]) -> bytes:
    """EXEC's reply with some of its elements replaced; an error or a null has none."""
    head, _, body = reply.partition(b"\r\n")
    if not head.startswith(b"*") or head.startswith(b"*-"):
        return reply
    changes = dict(patches)
    cutter, parts, pos = Cutter(), [head + b"\r\n"], 0
    for at in range(int(head[1:])):
        end = cutter.cut(body, pos, 1, True)
        element = body[pos:end]
        parts.append(changes[at](element) if at in changes else element)
        pos = end
    return b"".join(parts)


def multi(session: Conducted, args: list[bytes]) -> bool:
    """MULTI: what follows is queued on a lane of our own."""
    if len(args) != 1 or session.berth.holds & HOLD_MULTI:
        return _unqueued(session, args)
    if not session.berth.pin():
        return False

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"-"):  # NOPERM
            if session.transaction.patches:
                # What was sent for the transaction has run, and changed the lane.
                session.stall(STALL_END)
            if session.berth.lane is not None:
                session.berth.lane.tainted = True
            leave_multi(session, 0)
        return reply

    session.peek(encode(args), seen)
    session.berth.hold(HOLD_MULTI)
    session.berth.queued = 0
    return True


def _unqueued(session: Conducted, args: list[bytes]) -> bool:
    """What the server answers at once, also inside MULTI."""
    queued = session.berth.queued
    session.forward(encode(args))
    session.berth.queued = queued
    return True


def leave_multi(session: Conducted, also: int) -> None:
    """No transaction is open any more; let go of these holds with it."""
    session.berth.queued = -1
    session.transaction.clear()
    if also & HOLD_WATCH:
        session.transaction.watched = set()
    session.berth.let_go(HOLD_MULTI | also)


def execute(session: Conducted, args: list[bytes]) -> bool:
    """EXEC, when the leases of the keys that it writes are deleted."""
    if session.transaction.leases:
        # On a lane that is not in MULTI, and answered before EXEC is sent.
        leases, session.transaction.leases = session.transaction.leases, []
        resume = session.stall(STALL_REPLY)
        lane = session.context.lanes.shared(session.berth.lane_key)
        lane.ask(lambda _: resume(), b"DEL", *leases)
        return False
    # Inside MULTI whatever EXEC answers ends it, a wrong number of arguments included (EXECABORT).
    patches, keys = session.transaction.patches, session.transaction.keys
    pauses = session.transaction.pauses
    if session.berth.holds & HOLD_MULTI:
        leave_multi(session, HOLD_WATCH)
    if patches:

        def answered(reply: bytes) -> bytes:
            if not reply.startswith(b"*") or reply.startswith(b"*-"):
                undo()
            return _patched(reply, patches)

        def failed(why: ProxyError) -> bytes:
            undo()
            return why.line

        def undo() -> None:
            for one in pauses:
                one.undo()

        seen, lost = forgetting(session, keys, answered, failed)
        ask(session, args, seen, lost=lost)  # what follows may be another user's, in another db
        for one in pauses:
            one.begin()
    elif keys is None:
        write_any(session, args)
    else:
        session.forward(encode(args), keys=keys)
    return True


def discard(session: Conducted, args: list[bytes]) -> bool:
    """DISCARD, of which the server may say no: the transaction stands then."""
    if not session.berth.holds & HOLD_MULTI or len(args) != 1:
        return _unqueued(session, args)

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"+"):  # else NOPERM
            leave_multi(session, HOLD_WATCH)
        return reply

    queued = session.berth.queued
    ask(session, args, seen)
    session.berth.queued = queued
    return True


def watch(session: Conducted, args: list[bytes]) -> bool:
    """WATCH: on a lane of our own until UNWATCH, EXEC or DISCARD."""
    if len(args) < 2 or session.berth.holds & HOLD_MULTI:
        return _unqueued(session, args)
    if not session.berth.pin():
        return False
    if not session.berth.holds & HOLD_WATCH:
        session.transaction.watched = set()
    session.berth.hold(HOLD_WATCH)
    watched = session.transaction.watched  # when it is answered there may be another

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"+"):  # else NOPERM
            watched.update(args[1:])
        return reply

    session.peek(encode(args), seen)
    return True


def unwatch(session: Conducted, args: list[bytes]) -> bool:
    """UNWATCH: the lane may go back."""
    if not session.berth.holds & HOLD_WATCH or len(args) != 1:
        return forward(session, args)

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"-"):
            session.berth.hold(HOLD_WATCH)
        return reply

    def lost(why: ProxyError) -> bytes:
        session.berth.hold(HOLD_WATCH)
        return why.line

    session.peek(encode(args), seen, lost=lost)
    session.berth.let_go(HOLD_WATCH)
    return True
