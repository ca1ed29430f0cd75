"""COMMAND and INFO: what the server says, and what the proxy adds to it.

The server is asked the same words, so that its ACL, its arity and its wording decide: an error
passes as it is. Its own part of an answer is never decoded: a count or a length at its head is
changed, and ours stands behind. Where nothing is to be added the request is any other's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from ...custom.introspection import (
    UNKNOWN,
    Facts,
    docs,
    facts_of,
    find,
    keys_alone,
    keys_and_flags,
    row,
)
from ...errors import BadInput
from ...keys.glob import compile_glob
from ...resp.kernel import Cutter
from ...resp.replies import bulk, error, integer
from ...resp.requests import encode
from ..client_counts import counts, with_counts
from ..conducted import Conducted

Answer = Callable[[bytes], bytes]

_HEAD: Final = re.compile(rb"([*%~])(\d+)\r\n")
_TEXT: Final = re.compile(rb"(?:\$|=)(\d+)\r\n(txt:)?")
_COUNT: Final = re.compile(rb":(\d+)\r\n")
UNKNOWN_COMMAND: Final = error(UNKNOWN)
# INFO of these, or of no section at all, has ours in it; of clients, our numbers.
SECTIONS: Final = frozenset({b"ALL", b"DEFAULT", b"EVERYTHING", b"NEARHIT"})


def merge(session: Conducted, args: list[bytes]) -> bool:
    """Ask the server, and answer with what it and we have to say (Route.COMMAND, Route.INFO)."""
    request = encode(args)
    answer = merging(session, args)
    if answer is None:
        session.forward(request)
        return True
    session.peek(request, answer)
    return True


def merging(session: Conducted, args: list[bytes]) -> Answer | None:
    """What completes the server's reply; None: it is complete."""
    if args[0].upper() == b"INFO":
        asked = {word.upper() for word in args[1:]}
        whole = not asked or bool(asked & SECTIONS)
        return _info_of(session, whole=whole) if whole or b"CLIENTS" in asked else None
    answer = ANSWERS.get(args[1].upper() if len(args) > 1 else b"")
    return answer(session, args) if answer is not None and session.context.customs else None


# --- INFO -----------------------------------------------------------------------------------------


def _info_of(session: Conducted, *, whole: bool) -> Answer:
    """Our clients in place of the lanes; of the whole, our section behind it."""

    def answer(reply: bytes) -> bytes:
        head = _TEXT.match(reply)
        if head is None:
            return reply
        context = session.context
        ours = counts(context.clients, paused=context.lanes.writes_paused)
        text, lanes = with_counts(reply[head.end() : -2], ours)
        section = session.context.info() if whole else b""
        if section:
            section += b"".join(b"upstream_%b:%d\r\n" % row for row in lanes.items())
            # A blank line stands between two sections.
            text += b"\r\n" + section if text else section
        mark = head[2] or b""
        return b"%b%d\r\n%b%b\r\n" % (reply[:1], len(mark) + len(text), mark, text)

    return answer


# --- COMMAND --------------------------------------------------------------------------------------


def _ours(session: Conducted) -> list[Facts]:
    return [facts_of(spec) for spec in session.context.customs.values()]


def _with(reply: bytes, more: list[bytes], each: int = 1) -> bytes:
    """The array or map with more at its end; ``each``: how much its count grows by one of them."""
    head = _HEAD.match(reply)
    if head is None or not more:
        return reply
    grown = b"%b%d\r\n" % (head[1], int(head[2]) + each * len(more))
    return b"".join((grown, reply[head.end() :], *more))


def _all(session: Conducted, args: list[bytes]) -> Answer:
    return lambda reply: _with(
        reply, [row(one, session.berth.lane_key.resp) for one in _ours(session)]
    )


def _count(session: Conducted, args: list[bytes]) -> Answer:
    def answer(reply: bytes) -> bytes:
        count = _COUNT.fullmatch(reply)
        return reply if count is None else integer(int(count[1]) + len(session.context.customs))

    return answer


def _list(session: Conducted, args: list[bytes]) -> Answer:
    def answer(reply: bytes) -> bytes:
        rows = [one for command in _ours(session) for one in command.all()]
        kept = rows if len(args) == 2 else _filtered(rows, args[-2].upper(), args[-1].lower())
        return _with(reply, [bulk(one.name) for one in kept])

    return answer


def _filtered(rows: list[Facts], kind: bytes, value: bytes) -> list[Facts]:
    """FILTERBY: both values that we can have are compared in any case, as in Redis."""
    if kind == b"PATTERN":
        pattern = compile_glob(value)
        return [one for one in rows if pattern.match(one.name)]
    if kind == b"ACLCAT":
        return [one for one in rows if value.decode("latin-1") in one.categories]
    return []  # MODULE: they are of none


def _info(session: Conducted, args: list[bytes]) -> Answer | None:
    if len(args) == 2:
        return _all(session, args)
    found = [find(session.context.customs, name) for name in args[2:]]
    if not any(found):
        return None

    def answer(reply: bytes) -> bytes:
        """The server has a null where it does not know a name: ours goes in its place."""
        head = _HEAD.match(reply)
        if head is None or int(head[2]) != len(found):
            return reply
        cutter, parts, pos = Cutter(), [head[0]], head.end()
        for one in found:
            end = cutter.cut(reply, pos, 1, True)
            parts.append(reply[pos:end] if one is None else row(one, session.berth.lane_key.resp))
            pos = end
        return b"".join(parts)

    return answer


def _docs(session: Conducted, args: list[bytes]) -> Answer:
    def answer(reply: bytes) -> bytes:
        named = [find(session.context.customs, name) for name in args[2:]]
        rows = [one for one in named if one is not None] if named else _ours(session)
        entries = [docs(one, session.berth.lane_key.resp) for one in rows]
        return _with(reply, entries, 1 if reply.startswith(b"%") else 2)

    return answer


def _keys(session: Conducted, args: list[bytes]) -> Answer | None:
    words = args[2:]
    spec = session.context.customs.get(words[0].upper()) if words else None
    if spec is None:
        return None

    def answer(reply: bytes) -> bytes:
        if reply != UNKNOWN_COMMAND:  # it, or its ACL, has something else against the request
            return reply
        try:
            if args[1].upper() == b"GETKEYS":
                return keys_alone(spec, words)
            return keys_and_flags(spec, words, session.berth.lane_key.resp)
        except BadInput as bad:
            return bad.line

    return answer


ANSWERS: Final[Mapping[bytes, Callable[[Conducted, list[bytes]], Answer | None]]] = {
    b"": _all,
    b"COUNT": _count,
    b"DOCS": _docs,
    b"GETKEYS": _keys,
    b"GETKEYSANDFLAGS": _keys,
    b"INFO": _info,
    b"LIST": _list,
}
