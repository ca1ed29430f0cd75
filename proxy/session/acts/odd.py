"""Unknown commands, and those that leave behind on the connection what nobody else may have."""

from __future__ import annotations

from typing import Final

from ...errors import ProxyError
from ...resp.requests import encode, is_name
from ...upstream.monitoring import Monitoring
from ...upstream.subscriptions import Channels
from ..conducted import Conducted
from ..reasons import HOLD_MONITOR, HOLD_MULTI, HOLD_REPLICA, HOLD_STICKY, STALL_END
from .plain import ask, ending, forgetting, forward

# CLIENT LIST's flags for what these subcommands of CLIENT switch.
MARKS: Final = {b"IMPORT-SOURCE": "I", b"NO-EVICT": "e", b"NO-TOUCH": "T"}


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
    """Bytes pass both ways as they are, from this request on, unless the server refuses it."""
    if not session.berth.idle() or not session.berth.pin():
        return False
    # Of REPLCONF some forms are not answered at all; inside MULTI all are.
    answered = args[0].upper() != b"REPLCONF" or bool(session.berth.holds & HOLD_MULTI)
    session.send(encode(args), TunnelSlot())
    if args[0].upper() in (b"SYNC", b"PSYNC"):
        session.berth.hold(HOLD_REPLICA)
    session.berth.enter_tunnel(opening=answered, leases=session.transaction.leases)
    return True


class TunnelSlot:
    """In a tunnel replies are not counted; the slot only keeps its request until the lane is
    ready."""

    want = 1

    def feed(self, chunk: bytes) -> None: ...

    def fail(self, why: ProxyError, inside: bool) -> None: ...


def monitor(session: Conducted, args: list[bytes]) -> bool:
    """What the server shows comes between the replies, on a lane of our own."""
    if not session.berth.idle() or not session.berth.pin():
        return False

    framing = _monitoring(session)
    ask(
        session,
        args,
        lambda reply: begin_monitor(session, reply, framing),
        lost=ending(session),
    )
    return True


def _monitoring(session: Conducted) -> Monitoring:
    """It hears from now on what lanes ask: the server may show it before we know that it does."""
    framing = Monitoring(session.berth.lane_key.resp)
    session.context.lanes.dial.ledger.readers.add(framing)
    return framing


def begin_monitor(session: Conducted, reply: bytes, framing: Monitoring | None = None) -> bytes:
    """The server has answered MONITOR: what it shows from now on are pushes to the client."""
    lane = session.berth.lane
    if reply.startswith(b"+") and lane is not None:
        framing = framing or _monitoring(session)
        if isinstance(lane.framing, Channels):
            framing.names, framing.size = lane.framing.names, lane.framing.size
        lane.subscribe(framing)
        session.berth.hold(HOLD_MONITOR)
    return reply


def sticky(session: Conducted, args: list[bytes]) -> bool:
    """Where the server accepts it, the lane stays this session's until its end."""
    if not session.berth.idle() or not session.berth.pin():
        return False

    ask(session, args, lambda reply: stick(session, args, reply), lost=ending(session))
    return True


def stick(session: Conducted, args: list[bytes], reply: bytes) -> bytes:
    """The server has answered: the lane stays the session's if it did not refuse."""
    if not reply.startswith(b"-") and session.berth.lane is not None:
        session.berth.lane.tainted = True
        session.berth.hold(HOLD_STICKY)
        who = session.client.identity
        mark = MARKS.get(args[1].upper()) if len(args) > 2 else None
        if mark is not None:
            who.marks = who.marks.replace(mark, "")
            who.marks += mark if args[2].upper() == b"ON" else ""
        if args[1:2] and args[1].upper() == b"CAPA" and b"REDIRECT" in map(bytes.upper, args[2:]):
            who.capa = "r"
    return reply
