"""Who and where a session is: SELECT, HELLO, AUTH, RESET, QUIT.

What the server has agreed to decides; the session then goes on under another key, and leaves lanes
of the old one."""

from __future__ import annotations

from ...errors import ProxyError
from ...hot.sending import MUTE_SKIP
from ...resp.replies import OK
from ...resp.requests import integer_of, parse_hello
from ...upstream.lane import Lane
from ...upstream.lane_key import User
from ..conducted import Conducted
from ..reasons import STALL_END
from .plain import ask, forward
from .transactions import leave_multi


def select(session: Conducted, args: list[bytes]) -> bool:
    """SELECT: the lanes of that db, if it has one."""
    db = integer_of(args[1]) if len(args) == 2 else None
    if db is None or db < 0:
        return forward(session, args)
    if not session.berth.idle():
        return False  # an answer still to come may change the db
    if db == session.berth.lane_key.db:
        return forward(session, args)
    key = session.berth.lane_key.with_db(db)
    lane = _lane_of_state(session)
    if lane is None:
        # The shared lane of that db has selected it, or been told by the server why it cannot.
        lane = session.context.lanes.shared(key)

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"+"):
            session.berth.rekey(key)
        else:
            session.context.lanes.forget(key)
        return reply

    def lost(why: ProxyError) -> bytes:
        session.context.lanes.forget(key)
        return why.line

    ask(session, args, seen, lane, lost)
    return True


def _lane_of_state(session: Conducted) -> Lane | None:
    """The session's own lane where it must stay on it."""
    return session.berth.own if session.berth.holds else None


def hello(session: Conducted, args: list[bytes]) -> bool:
    """HELLO, with or without another RESP version, a login and a name."""
    if not session.berth.idle():
        return False
    if len(args) == 1:
        ask(session, args, lambda reply: session.context.hello(reply, session.client.identity.id))
        return True
    lanes = session.context.lanes
    wanted = parse_hello(args)
    if wanted is None:
        # Refused before anything else is looked at: any connection gives the server's words for it.
        ask(session, args, lambda reply: reply, lanes.asking())
        return True
    lane = _lane_of_state(session)
    if lane is None:
        key = session.berth.lane_key.with_resp(wanted.resp)
        lane = lanes.asking() if wanted.login else lanes.shared(key)

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"-"):
            return reply
        user = User(*wanted.login) if wanted.login else session.berth.lane_key.user
        if wanted.name is not None:
            session.client.identity.name = wanted.name
        session.berth.rekey(session.berth.lane_key.with_resp(wanted.resp).with_user(user))
        return session.context.hello(reply, session.client.identity.id)

    ask(session, wanted.without_name(args[0]), seen, lane)
    return True


def auth(session: Conducted, args: list[bytes]) -> bool:
    """AUTH: asked on a connection of its own, so that a wrong password disturbs no lane."""
    if not 2 <= len(args) <= 3:
        return forward(session, args)
    if not session.berth.idle():
        return False
    user = User(args[1] if len(args) == 3 else b"default", args[-1])

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"+"):
            session.berth.rekey(session.berth.lane_key.with_user(user))
        return reply

    lane = _lane_of_state(session) or session.context.lanes.asking()
    ask(session, args, seen, lane)
    return True


def reset(session: Conducted, args: list[bytes]) -> bool:
    """RESET: a new client on an old connection."""
    if not session.berth.idle():
        return False
    if len(args) != 1:
        return forward(session, args)
    if session.berth.lane is not None and session.berth.lane.lent:
        session.berth.lane.tainted = bool(session.berth.holds)
    session.berth.unpin()
    leave_multi(session, ~0)
    skipped = session.mute & MUTE_SKIP
    session.mute = 0
    session.context.clients.redirect(session.client, None)
    session.client.identity.reset()
    session.berth.blocking = 0
    session.berth.rekey(session.context.lanes.newcomer_key)
    if not skipped:
        session.say(b"+RESET\r\n")
    return True


def quit_(session: Conducted, args: list[bytes]) -> bool:
    """QUIT."""
    session.say(OK)
    session.stall(STALL_END)
    return True
