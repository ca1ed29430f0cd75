"""Unknown commands, and those that leave behind on the connection what nobody else may have."""

from __future__ import annotations

from typing import Final

from ...errors import ProxyError
from ...resp.requests import encode, is_name
from ..conducted import Conducted
from ..reasons import HOLD_MULTI, HOLD_STICKY, STALL_END
from .plain import ask, forgetting, forward

# CLIENT LIST's flags for what CLIENT NO-EVICT and NO-TOUCH switch.
MARKS: Final = {b"NO-EVICT": "e", b"NO-TOUCH": "T"}


def odd(session: Conducted, args: list[bytes]) -> bool:
    """An inline request of a known command is as good as any; an unknown command gets a lane of its
    own."""
    name = args[0].upper()
    if name in session.context.table.commands or not is_name(name):
        return forward(session, args)  # no server has a command of unprintable bytes
    if name in (b"POST", b"HOST:"):
        # An HTTP request that somebody was tricked into sending: as Redis does.
        session.stall(STALL_END)
        return True
    if session.berth.holds & HOLD_MULTI:
        session.transaction.keys = None  # it may be a module's, and write
        return forward(session, args)
    if not session.berth.idle() or not session.berth.pin():
        return False

    def seen(reply: bytes) -> bytes:
        if not reply.startswith((b"-ERR unknown command", b"-NOPERM", b"-NOAUTH")):
            # It exists after all, and nobody knows what it leaves on the connection.
            if session.berth.lane is not None:
                session.berth.lane.tainted = True
                session.berth.hold(HOLD_STICKY)
            session.context.learn()
        return reply

    answered, lost = forgetting(session, args[1:], seen)
    ask(session, args, answered, lost=lost)
    return True


def tunnel(session: Conducted, args: list[bytes]) -> bool:
    """Bytes pass both ways as they are, from this request on."""
    if not session.berth.idle() or not session.berth.pin():
        return False
    session.send(encode(args), TunnelSlot())
    session.berth.enter_tunnel()
    return True


class TunnelSlot:
    """In a tunnel replies are not counted; the slot only keeps its request until the lane is
    ready."""

    want = 1

    def feed(self, chunk: bytes) -> None: ...

    def fail(self, why: ProxyError, inside: bool) -> None: ...


def monitor(session: Conducted, args: list[bytes]) -> bool:
    """A tunnel, where the server agrees."""
    if not session.berth.idle() or not session.berth.pin():
        return False

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"+"):
            session.berth.enter_tunnel()
        return reply

    ask(session, args, seen)
    return True


def sticky(session: Conducted, args: list[bytes]) -> bool:
    """Where the server accepts it, the lane stays this session's until its end."""
    if not session.berth.idle() or not session.berth.pin():
        return False

    def seen(reply: bytes) -> bytes:
        if not reply.startswith(b"-") and session.berth.lane is not None:
            session.berth.lane.tainted = True
            session.berth.hold(HOLD_STICKY)
            mark = MARKS.get(args[1].upper()) if len(args) > 2 else None
            if mark is not None:
                session.client.identity.marks = session.client.identity.marks.replace(mark, "")
                session.client.identity.marks += mark if args[2].upper() == b"ON" else ""
        return reply

    ask(session, args, seen)
    return True
