"""What each request that is not PLAIN does to its session: one function for each route of table.py.

A function acts and returns True, or finds that it must wait, stalls the session and returns False
with nothing done; the session then offers it the same request again. Those that ask the server look
at the reply in functions called ``seen``, which run when it arrives and return what the client
gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ...errors import ProxyError
from ...hot.session import MUTE_SKIP, Run, forget
from ...resp.kernel import Cutter
from ...resp.requests import OK, Hello, encode, integer_of, is_name, parse_hello, patch_id
from ...table.table import READS, UNSAFE_IN_MULTI, Route
from ...upstream.ask import drop
from ...upstream.lane import Lane
from ...upstream.lane_key import User
from ...upstream.subscriptions import Channels
from ..session import (
    HOLD_BLOCKED,
    HOLD_MULTI,
    HOLD_STICKY,
    HOLD_SUBSCRIBED,
    HOLD_WATCH,
    STALL_DRAIN,
    STALL_REPLY,
    Session,
)
from .client import ask, client, queued, sticky
from .introspection import merge, merging
from .mget import read_many
from .own import custom, read_through, refused

Act = Callable[[Session, list[bytes]], bool]


def conduct(session: Session, route: Route, args: list[bytes]) -> bool:
    """Act on one request (session.Conduct)."""
    if session.holds & HOLD_MULTI and route in UNSAFE_IN_MULTI:
        return _queue(session, route, args)
    return ACTS[route](session, args)


def _queue(session: Session, route: Route, args: list[bytes]) -> bool:
    """Inside MULTI: what EXEC answers for this request is ours to say, or the connection the
    client's alone."""
    if route is Route.CLIENT:
        words, patch = queued(session, args)
    elif route is Route.SELECT:
        words, patch = args, _selected(session, args)
    elif route in (Route.COMMAND, Route.INFO):
        words, patch = args, merging(session, args)
        if patch is None:
            return _plain(session, args)
    elif route in (Route.CUSTOM, Route.GETORSET):
        return refused(session, args)
    else:
        words, patch = args, None
    if patch is None:
        # It changes the connection in ways that only its replies tell: from now on it is the
        # client's own.
        return _tunnel(session, args)
    session.patches.append((session.queued, patch))
    session.forward(encode(words), 1)
    return True


def _selected(session: Session, args: list[bytes]) -> Callable[[bytes], bytes]:
    def patch(reply: bytes) -> bytes:
        if reply.startswith(b"+"):
            session.rekey(session.lane_key.with_db(int(args[1])))
        return reply

    return patch


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


def _plain(session: Session, args: list[bytes]) -> bool:
    # Inside MULTI a read is answered QUEUED, which counts as neither hit nor miss.
    session.forward(encode(args), 1, int(args[0].upper() in READS))
    return True


# --- Unknown commands, and those that leave state behind ------------------------------------------


def _odd(session: Session, args: list[bytes]) -> bool:
    """An inline request of a known command is as good as any; an unknown command gets a lane of its
    own."""
    name = args[0].upper()
    if name in session.context.table.commands or not is_name(name):
        return _plain(session, args)  # no server has a command of unprintable bytes
    if name in (b"POST", b"HOST:"):
        session.end()  # an HTTP request that somebody was tricked into sending: as Redis does
        return True
    if session.holds & HOLD_MULTI:
        session.wrote = None  # it may be a module's, and write
        return _plain(session, args)
    if not session.idle() or not session.pin():
        return False
    cache = session.cache
    if cache is not None:
        forget(cache, args[1:])

    def lost(why: ProxyError) -> bytes:
        if cache is not None:
            forget(cache, args[1:])
        return why.line

    def seen(reply: bytes) -> bytes:
        if cache is not None:
            forget(cache, args[1:])
        if not reply.startswith((b"-ERR unknown command", b"-NOPERM", b"-NOAUTH")):
            # It exists after all, and nobody knows what it leaves on the connection.
            if session.lane is not None:
                session.lane.tainted = True
                session.hold(HOLD_STICKY)
            session.context.learn()
        return reply

    ask(session, args, seen, lost=lost)
    return True


def _tunnel(session: Session, args: list[bytes]) -> bool:
    if not session.idle() or not session.pin():
        return False
    assert session.lane is not None
    session.lane.send(encode(args), TunnelSlot())
    session.enter_tunnel()
    return True


class TunnelSlot:
    """In a tunnel replies are not counted; the slot only keeps its request until the lane is
    ready."""

    want = 1

    def feed(self, chunk: bytes) -> None: ...

    def fail(self, why: ProxyError, inside: bool) -> None: ...


def _monitor(session: Session, args: list[bytes]) -> bool:
    if not session.idle() or not session.pin():
        return False

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"+"):
            session.enter_tunnel()
        return reply

    ask(session, args, seen)
    return True


def _scripted(session: Session, args: list[bytes]) -> bool:
    if session.head is None and (session.lane is None or not session.lane.lent):
        session.run_scripts()
    return _write(session, args)


# --- Writes of keys that loaders fill -------------------------------------------------------------


def _write(session: Session, args: list[bytes]) -> bool:
    """Void the leases first: a load that began before the write must not store behind it."""
    if args[0].upper() == b"GETEX" and len(args) == 2:
        return _plain(session, args)  # without an option it only reads
    keys = session.context.table.written(args)
    leases = session.void_leases(keys or [])
    if session.holds & HOLD_MULTI:
        session.voids += leases
        session.wrote = None if keys is None or session.wrote is None else session.wrote + keys
        return _plain(session, args)
    if session.cache is None:
        return _plain(session, args)
    session.forward_write(encode(args), 1, keys, int(args[0].upper() in READS))
    return True


# --- Transactions ---------------------------------------------------------------------------------


def _multi(session: Session, args: list[bytes]) -> bool:
    if len(args) != 1 or session.holds & HOLD_MULTI:
        return _unqueued(session, args)
    if not session.pin():
        return False

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"-"):  # NOPERM
            if session.patches:
                session.end()  # what was sent for the transaction has run, and changed the lane
            if session.lane is not None:
                session.lane.tainted = True
            _leave_multi(session, 0)
        return reply

    session.peek(encode(args), seen)
    session.hold(HOLD_MULTI)
    session.queued = 0
    return True


def _unqueued(session: Session, args: list[bytes]) -> bool:
    """What the server answers at once, also inside MULTI."""
    queued = session.queued
    session.forward(encode(args), 1)
    session.queued = queued
    return True


def _leave_multi(session: Session, also: int) -> None:
    session.queued = -1
    session.patches = []
    session.voids = []
    session.wrote = []
    session.let_go(HOLD_MULTI | also)


def _exec(session: Session, args: list[bytes]) -> bool:
    if session.voids:
        # On a lane that is not in MULTI, and answered before EXEC is sent.
        leases, session.voids = session.voids, []
        session.stall(STALL_REPLY)
        lane = session.context.lanes.shared(session.lane_key)
        lane.ask(lambda _: session.resume(STALL_REPLY), b"DEL", *leases)
        return False
    # Inside MULTI whatever EXEC answers ends it, a wrong number of arguments included (EXECABORT).
    patches, keys, cache = session.patches, session.wrote, session.cache
    if session.holds & HOLD_MULTI:
        _leave_multi(session, HOLD_WATCH)
    if patches:

        def seen(reply: bytes) -> bytes:
            if cache is not None:
                forget(cache, keys)
            return _patched(reply, patches)

        def lost(why: ProxyError) -> bytes:
            if cache is not None:
                forget(cache, keys)
            return why.line

        if cache is not None:
            forget(cache, keys)
        session.peek(encode(args), seen, lost=lost)
        return True
    if cache is None or keys == []:
        return _plain(session, args)
    session.forward_write(encode(args), 1, keys)
    return True


def _discard(session: Session, args: list[bytes]) -> bool:
    if not session.holds & HOLD_MULTI or len(args) != 1:
        return _unqueued(session, args)

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"+"):  # else NOPERM: the transaction stands
            _leave_multi(session, HOLD_WATCH)
        return reply

    queued = session.queued
    ask(session, args, seen)
    session.queued = queued
    return True


def _watch(session: Session, args: list[bytes]) -> bool:
    if len(args) < 2 or session.holds & HOLD_MULTI:
        return _unqueued(session, args)
    if not session.pin():
        return False
    session.hold(HOLD_WATCH)
    return _plain(session, args)


def _unwatch(session: Session, args: list[bytes]) -> bool:
    if not session.holds & HOLD_WATCH or len(args) != 1:
        return _plain(session, args)

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"-"):
            session.hold(HOLD_WATCH)
        return reply

    def lost(why: ProxyError) -> bytes:
        session.hold(HOLD_WATCH)
        return why.line

    session.peek(encode(args), seen, lost=lost)
    session.let_go(HOLD_WATCH)
    return True


# --- Waiting in the server ------------------------------------------------------------------------


def _block(session: Session, args: list[bytes]) -> bool:
    kill = args[0].upper() in (b"SCRIPT", b"FUNCTION")
    # A server that is busy with a script knows KILL, but not SELECT.
    if not session.pin(session.lane_key.with_db(0) if kill else None):
        return False
    if session.leaving:  # or an element would be popped for nobody
        session.end()
        return True
    assert session.lane is not None
    lane, cache = session.lane, session.cache
    keys = session.context.table.written(args)
    session.void_leases(keys or [])
    if cache is not None:
        forget(cache, keys)

    def over() -> None:
        session.blocking -= 1
        if cache is not None:
            forget(cache, keys)
        if not session.blocking:
            lane.patient = False
            session.let_go(HOLD_BLOCKED)

    def seen(reply: bytes) -> bytes:
        over()
        return reply

    def lost(why: ProxyError) -> bytes:
        over()
        return why.line

    session.blocking += 1
    lane.patient = True
    session.hold(HOLD_BLOCKED)
    session.peek(encode(args), seen, lost=lost)
    if kill:
        session.stall(STALL_DRAIN)  # this lane is of db 0: what follows goes elsewhere
    return True


def _wait(session: Session, args: list[bytes]) -> bool:
    own = session.lane is not None and session.lane.lent
    if not session.pin():
        return False
    if not own and session.lane is not None:
        # WAIT counts from the last write offset of its connection, which the server notes after
        # each command: any command on the fresh lane moves it past our own writes elsewhere.
        session.lane.ask(drop, b"PING")
    return _block(session, args)


class ShutdownSlot(Run):
    """SHUTDOWN: no reply and a closed connection is its success."""

    __slots__ = ()
    session: Session

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0
        self.session.end()
        self.session.advance()


def _shutdown(session: Session, args: list[bytes]) -> bool:
    if not session.idle() or not session.pin():
        return False
    assert session.lane is not None
    slot = ShutdownSlot(session, 1)
    session.push_slot(slot)
    session.lane.send(encode(args), slot)
    session.stall(STALL_DRAIN)
    return True


# --- Pub/sub --------------------------------------------------------------------------------------


class SubscribeSlot(Run):
    """The replies to SUBSCRIBE and its kin: one for each channel (channels.Confirmed)."""

    __slots__ = ("bare", "word")

    def __init__(self, session: Session, word: bytes, names: int) -> None:
        super().__init__(session, max(1, names))
        self.word = word
        self.bare = not names


def _subscribe(session: Session, args: list[bytes]) -> bool:
    if len(args) < 2:
        return _plain(session, args)
    return _unsubscribe(session, args)


def _unsubscribe(session: Session, args: list[bytes]) -> bool:
    if not session.idle() or not session.pin():
        return False
    assert session.lane is not None
    if session.leaving:
        session.end()
        return True
    if session.lane.framing is None:
        session.lane.subscribe(Channels(session.lane_key.resp))
    session.hold(HOLD_SUBSCRIBED)
    slot = SubscribeSlot(session, args[0].lower(), len(args) - 1)
    session.mute &= ~MUTE_SKIP
    session.push_slot(slot)
    session.lane.send(encode(args), slot)
    session.stall(STALL_DRAIN)
    return True


# --- Who and where the session is -----------------------------------------------------------------


def _select(session: Session, args: list[bytes]) -> bool:
    db = integer_of(args[1]) if len(args) == 2 else None
    if db is None or db < 0:
        return _plain(session, args)
    if not session.idle():
        return False  # an answer still to come may change the db
    if db == session.lane_key.db:
        return _plain(session, args)
    key = session.lane_key.with_db(db)
    lane = _lane_of_state(session)
    if lane is None:
        # The shared lane of that db has selected it, or been told by the server why it cannot.
        lane = session.context.lanes.shared(key)

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"+"):
            session.rekey(key)
        else:
            session.context.lanes.forget(key)
        return reply

    def lost(why: ProxyError) -> bytes:
        session.context.lanes.forget(key)
        return why.line

    ask(session, args, seen, lane, lost)
    return True


def _lane_of_state(session: Session) -> Lane | None:
    """The session's own lane where it must stay on it."""
    return (
        session.lane if session.lane is not None and session.lane.lent and session.holds else None
    )


def _hello(session: Session, args: list[bytes]) -> bool:
    if not session.idle():
        return False
    if len(args) == 1:
        ask(session, args, lambda reply: patch_id(reply, session.id))
        return True
    lanes = session.context.lanes
    hello = parse_hello(args)
    if hello is None:
        # Refused before anything else is looked at: any connection gives the server's words for it.
        ask(session, args, lambda reply: reply, lanes.asking())
        return True
    lane = _lane_of_state(session)
    if lane is None:
        lane = (
            lanes.asking() if hello.login else lanes.shared(session.lane_key.with_resp(hello.resp))
        )

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"-"):
            return reply
        user = User(*hello.login) if hello.login else session.lane_key.user
        if hello.name is not None:
            session.name = hello.name
        session.rekey(session.lane_key.with_resp(hello.resp).with_user(user))
        return patch_id(reply, session.id)

    ask(session, _without_name(hello), seen, lane)
    return True


def _without_name(hello: Hello) -> list[bytes]:
    """RouteMap are the proxy's own: the lane's stays."""
    return [b"HELLO", b"%d" % hello.resp, *((b"AUTH", *hello.login) if hello.login else ())]


def _auth(session: Session, args: list[bytes]) -> bool:
    if not 2 <= len(args) <= 3:
        return _plain(session, args)
    if not session.idle():
        return False
    user = User(args[1] if len(args) == 3 else b"default", args[-1])

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"+"):
            session.rekey(session.lane_key.with_user(user))
        return reply

    lane = _lane_of_state(session) or session.context.lanes.asking()
    ask(session, args, seen, lane)
    return True


def _reset(session: Session, args: list[bytes]) -> bool:
    if not session.idle():
        return False
    if len(args) != 1:
        return _plain(session, args)
    if session.lane is not None and session.lane.lent:
        session.lane.tainted = bool(session.holds)
    session.unpin()
    _leave_multi(session, ~0)
    skipped = session.mute & MUTE_SKIP
    session.mute = 0
    session.name = b""
    session.marks = ""
    session.redirect = -1
    session.blocking = 0
    session.rekey(session.context.lanes.primary_key)
    if not skipped:
        session.say(b"+RESET\r\n")
    return True


def _quit(session: Session, args: list[bytes]) -> bool:
    session.say(OK)
    session.end()
    return True


ACTS: Final[Mapping[Route, Act]] = {
    Route.ODD: _odd,
    Route.PLAIN: _plain,
    Route.READ: _plain,
    Route.AUTH: _auth,
    Route.BLOCK: _block,
    Route.CLIENT: client,
    Route.COMMAND: merge,
    Route.CUSTOM: custom,
    Route.DISCARD: _discard,
    Route.EXEC: _exec,
    Route.GETORSET: custom,
    Route.HELLO: _hello,
    Route.INFO: merge,
    Route.MONITOR: _monitor,
    Route.MULTI: _multi,
    Route.NEAR: _plain,
    Route.NEAR_MANY: read_many,
    Route.QUIT: _quit,
    Route.READ_THROUGH: read_through,
    Route.RESET: _reset,
    Route.SCRIPTED: _scripted,
    Route.SELECT: _select,
    Route.SHUTDOWN: _shutdown,
    Route.STICKY: sticky,
    Route.SUBSCRIBE: _subscribe,
    Route.TELL: _plain,
    Route.TUNNEL: _tunnel,
    Route.UNSUBSCRIBE: _unsubscribe,
    Route.UNWATCH: _unwatch,
    Route.WAIT: _wait,
    Route.WATCH: _watch,
    Route.WRITE: _write,
    Route.WRITE_ONE: _write,
}
