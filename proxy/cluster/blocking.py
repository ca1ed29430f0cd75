"""What waits in a server, on a real lane at the owner of its keys, wherever they go.

Where the slot leaves, or the node is the primary no more, nothing was popped: it waits on at the
new owner for what is left of its time. A lost connection is another thing: an element may have been
popped and have gone with it, so the client's is lost too, as a server's would be that dies. Acts of
acts.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from ..errors import ProxyError
from ..resp.requests import encode, integer_of
from ..table.table import Command
from ..upstream.ask import Reply
from ..upstream.lane import Lane
from .connection import Answer, Connection
from .errand import Errand
from .loan import Loan
from .plans import Anywhere, One, Said, Spread, Unplaced
from .transaction import CROSSSLOT

# Their timeout stands behind the name, in seconds; that of the others is the last word.
_IN_FRONT: Final = frozenset({b"BLMPOP", b"BZMPOP"})
_STREAMS: Final = frozenset({b"XREAD", b"XREADGROUP"})
# What is left where the time is over: 0 would be for ever. The server says what it says then.
LEAST_S: Final = 0.001


def blocks(words: Sequence[bytes], commands: Mapping[bytes, Command]) -> bool:
    """Whether a request may wait in the server."""
    name = words[0].upper()
    if name in _STREAMS:
        return _block_at(words) > 0
    command = commands.get(name)
    return command is not None and b"blocking" in command.flags


def _block_at(words: Sequence[bytes]) -> int:
    """Where the time of an XREAD stands; 0: it does not block."""
    for at, word in enumerate(words[:-1]):
        if word.upper() == b"STREAMS":
            return 0
        if word.upper() == b"BLOCK":
            return at + 1
    return 0


class Timed:
    """A request and the time that it may wait, from now on."""

    def __init__(self, words: Sequence[bytes], now: float) -> None:
        self._words = list(words)
        self._now = now
        name = words[0].upper()
        self._in_ms = name in _STREAMS
        self._at = 1 if name in _IN_FRONT else len(words) - 1
        if self._in_ms:
            self._at = _block_at(words)
        self._ends = self._end(words[self._at]) if self._at < len(words) else None
        self._first = True

    def _end(self, timeout: bytes) -> float | None:
        """None: never, or the server refuses it."""
        if self._in_ms:
            ms = integer_of(timeout)
            return None if ms is None or ms <= 0 else self._now + ms / 1000
        try:
            seconds = float(timeout)
        except ValueError:
            return None
        return self._now + seconds if 0 < seconds < 1e9 else None

    def now_is(self, place: int, word: bytes) -> None:
        """What `$` was when the client asked."""
        self._words[place] = word

    def left(self, now: float) -> bytes:
        """The request with what is left of its time."""
        if self._first or self._ends is None:
            self._first = False
            return encode(self._words)
        left = max(LEAST_S, self._ends - now)
        words = list(self._words)
        words[self._at] = b"%d" % max(1, round(left * 1000)) if self._in_ms else b"%.3f" % left
        return encode(words)


class Blocked:
    """One request that waits; ends with its connection."""

    def __init__(self, connection: Connection, answer: Answer) -> None:
        self._connection = connection
        self._answer = answer
        self._errand: Errand | None = None

    def begin(self, timed: Timed, slot: int | None) -> None:
        loop = asyncio.get_running_loop()
        self._errand = Errand(
            self._connection.cluster,
            self._connection.key,
            slot,
            lambda: timed.left(loop.time()),
            self._done,
            lambda _: self._connection.lose("its node is lost"),
            patient=True,
        )
        self._errand.begin()

    def _done(self, reply: bytes, loan: Loan | None) -> None:
        self._connection.states.pop(Blocked, None)
        if loan is not None:
            if loan.lane is not None:
                loan.lane.patient = False
            loan.give_back(clean=True)
        self._answer(reply)

    @property
    def lane(self) -> Lane | None:
        """Where it waits now."""
        return self._errand.lane if self._errand is not None else None

    def end(self) -> None:
        if self._errand is not None:
            self._errand.end()


def block(connection: Connection, words: list[bytes], request: bytes) -> None:
    match connection.virtual.plan(words):
        case One(at):
            slot: int | None = at
        case Anywhere() | Unplaced():
            slot = None
        case Spread():
            connection.say(CROSSSLOT)
            return
        case Said(reply):
            connection.say(reply)
            return
        case _:
            connection.ordinary(request)
            return
    waiting = Blocked(connection, connection.alone())
    connection.states[Blocked] = waiting
    timed = Timed(words, asyncio.get_running_loop().time())
    _with_moments(connection, words, timed, lambda: waiting.begin(timed, slot))


def _with_moments(
    connection: Connection, words: Sequence[bytes], timed: Timed, then: Callable[[], None]
) -> None:
    """`$` is the last entry as the client asks, also where the request comes to a server later, or
    again. Not asked for users who have logged in: the server may forbid it to them, and tell."""
    places = _moments(words)
    wanted = len(places)
    if not wanted or connection.key.user is not None:
        then()
        return

    def told(place: int, reply: Reply) -> None:
        nonlocal wanted
        wanted -= 1
        found = _last_id(reply)
        if found is not None:
            timed.now_is(place, found)
        if not wanted and connection.state(Blocked) is not None:
            then()

    for place, key in places.items():
        lane = connection.lane()
        lane.ask(partial(told, place), b"XREVRANGE", key, b"+", b"-", b"COUNT", b"1")


def _moments(words: Sequence[bytes]) -> dict[int, bytes]:
    """Where `$` stands, and for which key."""
    upper = [word.upper() for word in words]
    if upper[0] != b"XREAD" or b"STREAMS" not in upper:
        return {}
    begin = upper.index(b"STREAMS") + 1
    half = (len(words) - begin) // 2
    ids = range(begin + half, len(words))
    return {at: words[at - half] for at in ids if words[at] == b"$"}


def _last_id(reply: Reply) -> bytes | None:
    if isinstance(reply, ProxyError):
        return None
    if reply == b"*0\r\n":
        return b"0-0"
    lines = reply.split(b"\r\n", 4)
    return lines[3] if len(lines) == 5 and lines[:2] == [b"*1", b"*2"] else None
