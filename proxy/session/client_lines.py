"""How CLIENT LIST and CLIENT INFO show a client of this proxy: one line, with the fields that the
server's own lines have.

The fields are Redis 7.0's plus Valkey's: https://redis.io/docs/latest/commands/client-list/. What
is no memory of ours is told as what it would be: multi-mem= is what the client has queued, though
the server keeps it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Final

from .clients import Client
from .reasons import HOLD_WATCH

# What an idle client costs (tests.bench.idle), and a piece of Redis's list of replies.
_IDLE_BYTES: Final = 2048
_PIECE: Final = 16 * 1024
_WORD: Final = re.compile(rb"\$(\d+)\r\n")
_ASKING: Final = re.compile(rb" qbuf=[1-9][^\n]* cmd=client\|(?:info|list) ")

# Redis 7.0.15's own, until the upstream has shown its.
FIELDS: Final = tuple(
    b"id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem "
    b"multi-mem rbs rbp obl oll omem tot-mem events cmd user redir resp".split()
)


def fields_of(reply: bytes) -> tuple[bytes, ...]:
    """The field names out of the first line of a CLIENT LIST or INFO reply."""
    for row in reply.split(b"\n"):
        if row.startswith((b"id=", b"txt:id=")):
            return tuple(word.partition(b"=")[0] for word in row.removeprefix(b"txt:").split())
    return FIELDS


def shows_query(reply: bytes) -> bool:
    """Whether the server shows the request itself in the buffer of whoever asks for CLIENT LIST or
    INFO, as Redis does, and one that tells nothing may; Valkey has read it out of there by then."""
    return b"id=" not in reply or _ASKING.search(reply) is not None


# The subcommands of a command by its name, both in upper case; None: there is no such command.
Known = Callable[[bytes], Collection[bytes] | None]


def command_name(begin: bytes, known: Known) -> str:
    """The full name of the command that a request begins with, as the server writes it
    (``config|get``); NULL where it does not know it."""
    words = head_of(begin)
    subs = known(words[0].upper()) if words else None
    if subs is None:
        return "NULL"
    name = words[0].decode("latin-1").lower()
    if not subs or len(words) < 2:
        return name
    return f"{name}|{words[1].decode('latin-1').lower()}" if words[1].upper() in subs else "NULL"


def head_of(begin: bytes) -> list[bytes]:
    """The first two words of a request, of which only the beginning may be there."""
    if not begin.startswith(b"*"):
        return begin.split(None, 2)[:2]
    words: list[bytes] = []
    at = begin.find(b"\n") + 1
    while len(words) < 2 and (size := _WORD.match(begin, at)) is not None:
        end = size.end() + int(size[1])
        words.append(begin[size.end() : end])
        at = end + 2
    return words


def argv_bytes(request: bytes) -> int:
    """The bytes of the words of a request, as far as it is there."""
    if not request.startswith(b"*"):
        return sum(map(len, request.split()))
    total, at = 0, request.find(b"\n") + 1
    while (size := _WORD.match(request, at)) is not None:
        total += int(size[1])
        at = size.end() + int(size[1]) + 2
    return total


def line(
    client: Client,
    now: float,
    fields: Sequence[bytes],
    known: Known,
    asking: bytes = b"",
    *,
    buffered: bool = True,
) -> bytes:
    """One client. ``asking``: the request that it asks this with, if it is the one who asks;
    ``buffered``: the server counts that as still in its buffer."""
    who, berth, traffic = client.identity, client.berth, client.traffic
    sub, psub, ssub = berth.subscriptions
    blocked = who.waits.begin if berth.blocking else b""
    query = traffic.unread + (len(asking) if buffered else 0)
    argv = argv_bytes(asking or blocked) if asking or blocked else 0
    gathered, pieces = traffic.gathered
    multi = max(client.queued_bytes, 0)
    values = {
        b"id": who.id,
        b"addr": who.peer,
        b"laddr": who.local,
        b"fd": who.id,
        b"name": who.name.decode("utf-8", "replace"),
        b"age": int(now - who.born),
        b"idle": max(int(now - client.active), 0),
        b"flags": berth.flags,
        b"capa": who.capa,
        b"db": berth.lane_key.db,
        b"sub": sub,
        b"psub": psub,
        b"ssub": ssub,
        b"multi": client.queued,
        b"watch": watched(client),
        b"qbuf": query,
        b"qbuf-free": max(traffic.room - len(asking), 0) if query else 0,
        b"argv-mem": argv,
        b"multi-mem": multi,
        b"rbs": gathered,
        b"rbp": gathered,
        b"obl": gathered,
        b"oll": pieces + -(-traffic.unsent // _PIECE),
        b"omem": traffic.unsent,
        b"tot-mem": _IDLE_BYTES + query + argv + multi + gathered + traffic.unsent,
        b"events": "r",
        b"cmd": command_name(asking or blocked or client.last, known),
        b"user": berth.user.decode("utf-8", "replace"),
        b"redir": who.redirect,
        b"resp": berth.lane_key.resp,
        b"lib-name": who.library[0].decode("utf-8", "replace"),
        b"lib-ver": who.library[1].decode("utf-8", "replace"),
        b"tot-net-in": traffic.received,
        b"tot-net-out": traffic.sent,
        b"tot-cmds": traffic.answered,
    }
    return b" ".join(b"%b=%b" % (name, str(values.get(name, 0)).encode()) for name in fields)


def watched(client: Client) -> int:
    """How many keys the client watches."""
    return len(client.transaction.watched) if client.berth.holds & HOLD_WATCH else 0
