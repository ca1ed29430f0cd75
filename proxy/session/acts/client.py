"""CLIENT: what it says is of the proxy's own clients, what it changes is a session's.

The server is still asked wherever it can be without harm, so that its ACL, its arity and its
wording decide; only a reply that is no error is replaced by ours. A subcommand that nobody here
knows is taken to leave state behind (Route.STICKY).
https://redis.io/docs/latest/commands/?group=connection"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Final

from ...errors import BadFilter, ProxyError
from ...hot.reading import LAST_MAX
from ...hot.sending import MUTE_OFF, MUTE_SKIP
from ...resp.inline import Dialect
from ...resp.modes import Mode
from ...resp.replies import OK, bulk, error, integer, null, verbatim
from ...resp.requests import encode, integer_of, is_name
from ..client_lines import FIELDS, Known, fields_of, line
from ..clients import Test
from ..conducted import Conducted
from ..filters import filters, ids_end
from ..reasons import STALL_END
from .odd import sticky
from .pause import pause, unpause
from .plain import Act, Answer, ask, forward
from .tracking import NOBODY, tracking

NO_NAME: Final = b" "  # no name may be it, so a server that is asked to take it changes nothing
_REDIRECT: Final = re.compile(rb"\$8\r\nredirect\r\n:-?\d+\r\n")
NO_SUCH_CLIENT: Final = error("No such client")


def client(session: Conducted, args: list[bytes]) -> bool:
    sub = args[1].upper() if len(args) > 1 else b""
    table = session.context.table
    known = table.knows(b"CLIENT", sub) or not table.commands[b"CLIENT"].subcommands
    if sub in ANSWERS and known:
        return _replaced(session, args, ANSWERS[sub](session, args))
    act = SUBCOMMANDS.get(sub)
    if session.mode == Mode.LOCKED:
        return sticky(session, args)  # the server has a word for strangers
    if act is not None and known:
        return act(session, args)
    if sub in STATELESS or (sub == b"SETINFO" and not known):
        return forward(session, args)
    return sticky(session, args)


def _replaced(session: Conducted, args: list[bytes], answer: Answer) -> bool:
    """Ask the server the same; where it would answer, answer ourselves. No word from it is no yes:
    who may not see or kill others while it is there may not while it is away."""

    def seen(reply: bytes) -> bytes:
        return reply if reply.startswith(b"-") else answer(reply)

    session.peek(encode(args), seen)
    return True


def _id(session: Conducted, args: list[bytes]) -> Answer:
    return lambda _: integer(session.client.identity.id)


def _getname(session: Conducted, args: list[bytes]) -> Answer:
    def answer(_reply: bytes) -> bytes:
        name = session.client.identity.name
        return bulk(name) if name else null(session.berth.lane_key.resp)

    return answer


def _getredir(session: Conducted, args: list[bytes]) -> Answer:
    who = session.client.identity
    return lambda reply: integer(who.redirect) if who.redirect > 0 else reply


def _trackinginfo(session: Conducted, args: list[bytes]) -> Answer:
    def answer(reply: bytes) -> bytes:
        redirect = session.client.identity.redirect
        if redirect <= 0:
            return reply
        return _REDIRECT.sub(b"$8\r\nredirect\r\n:%d\r\n" % redirect, reply, count=1)

    return answer


def _info(session: Conducted, args: list[bytes]) -> Answer:
    known, asking = _known(session), _asking(session, args)

    def answer(reply: bytes) -> bytes:
        now, shown = session.context.turn.now, session.context.shows_query
        text = line(session.client, now, fields_of(reply), known, asking, buffered=shown)
        return verbatim(text + b"\n", session.berth.lane_key.resp)

    return answer


def _asking(session: Conducted, args: list[bytes]) -> bytes:
    """The request that asks, which is EXEC where it was queued; of a long one more than its
    beginning."""
    last = session.client.last
    return last if len(last) < LAST_MAX else encode(args)


def _known(session: Conducted) -> Known:
    """The commands of the server, and ours."""
    commands, customs = session.context.table.commands, session.context.customs

    def subcommands(name: bytes) -> Collection[bytes] | None:
        if name in customs:
            return {one.name.upper().encode() for one in customs[name].subcommands}
        return commands[name].subcommands if name in commands else None

    return subcommands


def _list(session: Conducted, args: list[bytes]) -> Answer:
    known, asking = _known(session), _asking(session, args)

    def answer(reply: bytes) -> bytes:
        try:
            tests = filters(args[2:], session.client, skip_me=False, unite=_unites(session))
        except BadFilter as bad:
            return bad.line
        fields = session.context.fields or FIELDS
        now, me, shown = session.context.turn.now, session.client, session.context.shows_query
        lines = [
            line(one, now, fields, known, asking if one is me else b"", buffered=shown) + b"\n"
            for one in session.context.clients
            if not one.cut and all(test(one) for test in tests)
        ]
        return verbatim(b"".join(lines), session.berth.lane_key.resp)

    return answer


def _unites(session: Conducted) -> bool:
    return session.context.dialect is Dialect.VALKEY


def queued(session: Conducted, args: list[bytes]) -> tuple[list[bytes], Answer | None]:
    """Inside MULTI: the request to queue and what makes EXEC's element of it ours; None: it cannot
    be."""
    sub = args[1].upper() if len(args) > 1 else b""
    if sub in ANSWERS:
        act = ANSWERS[sub]  # asked when EXEC answers: a SETNAME queued before it acts before it
        return args, lambda reply: reply if reply.startswith(b"-") else act(session, args)(reply)
    if sub == b"KILL" and len(args) > 2:
        words, killed = _killing(session, args)
        return words, lambda reply: reply if reply.startswith(b"-") else killed(reply)
    if sub == b"SETNAME" and len(args) == 3:
        return _naming(session, args)
    plain = sub in STATELESS and sub not in (b"PAUSE", b"UNPAUSE")
    return args, (lambda reply: reply) if plain else None


def _setname(session: Conducted, args: list[bytes]) -> bool:
    if len(args) != 3:
        return forward(session, args)
    words, named = _naming(session, args)
    session.peek(encode(words), named)
    return True


def _naming(session: Conducted, args: list[bytes]) -> tuple[list[bytes], Answer]:
    """What to ask the server instead, whose ACL decides and whose connection keeps its name, and
    what to do then."""

    def named() -> None:
        session.client.identity.name = args[2]

    return [*args[:2], NO_NAME], _unless_bad(args[2], named)


def _setinfo(session: Conducted, args: list[bytes]) -> bool:
    option = args[2].lower() if len(args) == 4 else b""
    if option not in (b"lib-name", b"lib-ver"):
        return forward(session, args)  # arity, or an option that the server does not know either

    def told() -> None:
        name, version = session.client.identity.library
        session.client.identity.library = (
            (args[3], version) if option == b"lib-name" else (name, args[3])
        )

    session.peek(encode([*args[:3], NO_NAME]), _unless_bad(args[3], told))
    return True


def _unless_bad(word: bytes, do: Callable[[], None]) -> Answer:
    """Where all that the server has against the request is the name that it was asked with."""

    def seen(reply: bytes) -> bytes:
        if not is_name(word) or not (reply.startswith(b"-") and b" cannot contain " in reply):
            return reply
        do()
        return OK

    return seen


def _kill(session: Conducted, args: list[bytes]) -> bool:
    if len(args) < 3:
        session.forward(encode(args))
        return True
    words, answer = _killing(session, args)
    return _replaced(session, words, answer)


def _killing(session: Conducted, args: list[bytes]) -> tuple[list[bytes], Answer]:
    """What to ask the server, which judges the filters and has nobody to kill, and what to do
    then."""
    old_form = len(args) == 3
    words = [b"ADDR", args[2], b"SKIPME", b"NO"] if old_form else args[2:]
    tests: list[Test] = []
    bad: BadFilter | None = None
    try:
        tests = filters(words, session.client, unite=_unites(session))
    except BadFilter as error:
        bad = error

    def answer(_reply: bytes) -> bytes:
        if bad is not None:
            return bad.line
        killed = session.context.clients.kill(tests, session.client)
        if all(test(session.client) for test in tests):
            session.stall(STALL_END)
        if old_form:
            return OK if killed else NO_SUCH_CLIENT
        return integer(killed)

    judged = [] if old_form else _without_ids(args[2:])
    return [b"CLIENT", b"KILL", *judged, b"ID", NOBODY], answer


def _without_ids(words: list[bytes]) -> list[bytes]:
    """The filters of CLIENT KILL but ID and its numbers, which would be lanes'; what is no number
    is the server's to refuse."""
    kept: list[bytes] = []
    at = 0
    while at < len(words):
        option, behind = words[at].upper(), at + 2
        number = integer_of(words[at + 1]) if at + 1 < len(words) else None
        if option in (b"ID", b"NOT-ID"):
            behind = ids_end(words, behind)
        if option != b"ID" or (number or 0) <= 0:
            kept += words[at:behind]
        at = behind
    return kept


def _unblock(session: Conducted, args: list[bytes]) -> bool:
    number = integer_of(args[2]) if len(args) > 2 else None
    target = session.context.clients.get(number) if number is not None else None
    words = list(args)
    if number is not None:
        lane = target.berth.lane if target is not None and target.berth.blocking else None
        words[2] = b"%d" % lane.client_id if lane is not None else NOBODY
    return forward(session, words)


def _reply(session: Conducted, args: list[bytes]) -> bool:
    """Its sender waits until the server has agreed: to ON, which changes nothing on a lane."""
    mode = args[2].upper() if len(args) == 3 else b""
    if mode not in (b"ON", b"OFF", b"SKIP"):
        return forward(session, args)
    was, session.mute = session.mute & MUTE_OFF, 0

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"-"):
            session.mute = was
            return b"" if was else reply
        if mode == b"ON":
            return reply
        session.mute = MUTE_OFF if was or mode == b"OFF" else MUTE_SKIP
        return b""

    def lost(why: ProxyError) -> bytes:
        return seen(why.line)

    ask(session, [*args[:2], b"ON"], seen, lost=lost)
    return True


# What these answer is of our clients: the server is asked the same, and its answer replaced.
ANSWERS: Final[Mapping[bytes, Callable[[Conducted, list[bytes]], Answer]]] = {
    b"GETNAME": _getname,
    b"GETREDIR": _getredir,
    b"ID": _id,
    b"INFO": _info,
    b"LIST": _list,
    b"TRACKINGINFO": _trackinginfo,
}
SUBCOMMANDS: Final[Mapping[bytes, Act]] = {
    b"KILL": _kill,
    b"PAUSE": pause,
    b"REPLY": _reply,
    b"SETINFO": _setinfo,
    b"SETNAME": _setname,
    b"TRACKING": tracking,
    b"UNBLOCK": _unblock,
    b"UNPAUSE": unpause,
}
# These leave nothing on the connection they run on.
STATELESS: Final = frozenset({b"", b"CACHING", b"HELP", b"PAUSE", b"UNPAUSE"})
