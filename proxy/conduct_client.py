"""CLIENT: what it says is of the proxy's own clients, what it changes is a session's.

The server is still asked wherever it can be without harm, so that its ACL, its arity and its wording decide;
only a reply that is no error is replaced by ours. A subcommand that nobody here knows is taken to leave state
behind (Path.STICKY). https://redis.io/docs/latest/commands/?group=connection"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from . import clients
from .clients import BadFilter
from .hot import MUTE_OFF, MUTE_SKIP
from .resp import OK, bulk, encode, error, integer, integer_of, is_name, null, verbatim
from .session import HOLD_STICKY, HOLD_TRACKING, Session

Act = Callable[[Session, list[bytes]], bool]

BAD_NAME: Final = error("Client names cannot contain spaces, newlines or special characters.")
NO_SUCH_CLIENT: Final = error("No such client")
# No lane has this id, so asking about it changes nothing and still meets the ACL and the syntax check.
NOBODY: Final = b"%d" % (2**63 - 1)


def client(session: Session, args: list[bytes]) -> bool:
    sub = args[1].upper() if len(args) > 1 else b""
    table = session.context.table
    known = table.knows(b"CLIENT", sub) or not table.commands[b"CLIENT"].subcommands
    act = SUBCOMMANDS.get(sub)
    if act is not None and known:
        return act(session, args)
    if sub in STATELESS or not known:
        session.forward(encode(args), 1)
        return True
    return _sticky(session, args)


def _replaced(session: Session, args: list[bytes], answer: Callable[[bytes], bytes]) -> bool:
    """Ask the server the same; where it would answer, or cannot be reached, answer ourselves."""

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"-") and not reply.startswith(b"-UPSTREAM"):
            return reply
        return answer(reply)

    session.watch(encode(args), seen)
    return True


def _id(session: Session, args: list[bytes]) -> bool:
    return _replaced(session, args, lambda _: integer(session.id))


def _getname(session: Session, args: list[bytes]) -> bool:
    return _replaced(
        session, args, lambda _: bulk(session.name) if session.name else null(session.key.resp)
    )


def _info(session: Session, args: list[bytes]) -> bool:
    def answer(reply: bytes) -> bytes:
        fields = clients.fields_of(reply)
        text = clients.line(session, session.context.clock.now, fields, "client|info")
        return verbatim(text + b"\n", session.key.resp)

    return _replaced(session, args, answer)


def _list(session: Session, args: list[bytes]) -> bool:
    def answer(reply: bytes) -> bytes:
        try:
            # LIST shows the asker too; its filters are KILL's.
            tests = clients.filters([*args[2:], b"SKIPME", b"NO"], session)
        except BadFilter as bad:
            return bad.line
        fields = session.context.fields or clients.FIELDS
        shown = [one for one in session.context.clients if all(test(one) for test in tests)]
        lines = [
            clients.line(
                one, session.context.clock.now, fields, "client|list" if one is session else None
            )
            for one in shown
        ]
        return verbatim(b"".join(text + b"\n" for text in lines), session.key.resp)

    return _replaced(session, args, answer)


def _setname(session: Session, args: list[bytes]) -> bool:
    if len(args) != 3:
        session.forward(encode(args), 1)
    elif not is_name(args[2]):
        session.say(BAD_NAME)
    else:
        session.name = args[2]
        session.say(OK)
    return True


def _setinfo(session: Session, args: list[bytes]) -> bool:
    option = args[2].lower() if len(args) == 4 else b""
    if option not in (b"lib-name", b"lib-ver"):
        session.forward(encode(args), 1)  # arity, or an option that the server does not know either
        return True
    if not is_name(args[3]):
        session.say(
            error(f"{option.decode()} cannot contain spaces, newlines or special characters.")
        )
        return True
    name, version = session.library
    session.library = (args[3], version) if option == b"lib-name" else (name, args[3])
    session.say(OK)
    return True


def _kill(session: Session, args: list[bytes]) -> bool:
    if len(args) < 3:
        session.forward(encode(args), 1)
        return True
    old_form = len(args) == 3
    words = [b"ADDR", args[2], b"SKIPME", b"NO"] if old_form else args[2:]
    try:
        tests = clients.filters(words, session)
    except BadFilter as bad:
        session.say(bad.line)
        return True

    def answer(_reply: bytes) -> bytes:
        killed = session.context.clients.kill(tests, session)
        if all(test(session) for test in tests):
            session.end()
        if old_form:
            return OK if killed else NO_SUCH_CLIENT
        return integer(killed)

    return _replaced(session, [b"CLIENT", b"KILL", b"ID", NOBODY], answer)


def _unblock(session: Session, args: list[bytes]) -> bool:
    number = integer_of(args[2]) if len(args) > 2 else None
    target = session.context.clients.get(number) if number is not None else None
    words = list(args)
    if number is not None:
        blocked = target is not None and target.blocking and target.lane is not None
        words[2] = b"%d" % target.lane.client_id if blocked and target and target.lane else NOBODY
    session.forward(encode(words), 1)
    return True


def _reply(session: Session, args: list[bytes]) -> bool:
    mode = args[2].upper() if len(args) == 3 else b""
    if mode == b"ON":
        session.mute = 0
        session.say(OK)
    elif mode == b"OFF":
        session.mute = MUTE_OFF
    elif mode == b"SKIP":
        session.mute = session.mute or MUTE_SKIP
    else:
        session.forward(encode(args), 1)
    return True


def _tracking(session: Session, args: list[bytes]) -> bool:
    """The lane is this session's while tracking is on: invalidations come where the reads went."""
    if not session.idle() or not session.pin():
        return False
    words = list(args)
    for at, word in enumerate(words[:-1]):
        if word.upper() == b"REDIRECT":
            number = integer_of(words[at + 1])
            target = session.context.clients.get(number) if number is not None else None
            if number is not None:
                own = target is not None and target.lane is not None and target.lane.lent
                words[at + 1] = (
                    b"%d" % target.lane.client_id if own and target and target.lane else NOBODY
                )

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"+"):
            if len(args) > 2 and args[2].upper() == b"ON":
                session.hold(HOLD_TRACKING)
            else:
                session.let_go(HOLD_TRACKING)
        return reply

    session.watch(encode(words), seen)
    return True


def _sticky(session: Session, args: list[bytes]) -> bool:
    """Forward on a lane that stays this session's where the server accepts it."""
    if not session.idle() or not session.pin():
        return False

    def seen(reply: bytes) -> bytes:
        if not reply.startswith(b"-") and session.lane is not None:
            session.lane.tainted = True
            session.hold(HOLD_STICKY)
        return reply

    session.watch(encode(args), seen)
    return True


SUBCOMMANDS: Final[Mapping[bytes, Act]] = {
    b"GETNAME": _getname,
    b"ID": _id,
    b"INFO": _info,
    b"KILL": _kill,
    b"LIST": _list,
    b"REPLY": _reply,
    b"SETINFO": _setinfo,
    b"SETNAME": _setname,
    b"TRACKING": _tracking,
    b"UNBLOCK": _unblock,
}
# These leave nothing on the connection they run on.
STATELESS: Final = frozenset(
    {b"", b"CACHING", b"GETREDIR", b"HELP", b"PAUSE", b"TRACKINGINFO", b"UNPAUSE"}
)
