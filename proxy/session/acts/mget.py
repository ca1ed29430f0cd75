"""MGET out of the near cache: what is there is not asked for, and what is not fills it.

GET is the hot path's own (hot/session.py); this is for what takes more than one look."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, cast

from ...errors import ProxyError
from ...hot.answers import WINDOW_BYTES, Answers, RunSlot
from ...hot.fills import FILL, NIL3, Fill
from ...near.cache import Space
from ...resp.kernel import Cutter
from ...resp.modes import Mode
from ...resp.replies import bulk, null
from ...resp.requests import encode
from ...upstream.lane import Lane
from ..conducted import Conducted

# Beyond so many keys an MGET is asked as it is.
KEYS_MAX: Final = 1024
# Of the misses of one MGET, so many are kept at most: each costs two more questions.
FILLS_MAX: Final = 128


def read_many(session: Conducted, args: list[bytes]) -> bool:
    """MGET: each key for itself."""
    space = session.near.space
    if not session.reads_near() or space is None or not 1 < len(args) <= KEYS_MAX:
        session.forward(encode(args), reads=1)
        return True
    lane, turn = cast(Lane, session.near.lane), session.context.turn
    now = turn.clock()
    found = [space.get(key, now) for key in args[1:]]
    if sum(entry.size for entry in found if entry is not None) > WINDOW_BYTES:
        session.forward(encode(args), reads=1)  # from there it comes piece by piece
        return True
    nil = null(session.berth.lane_key.resp)
    replies = [None if entry is None else entry.reply or nil for entry in found]
    nils = sum(reply is nil for reply in replies)
    missing = [key for key, reply in zip(args[1:], replies, strict=True) if reply is None]
    turn.misses += nils
    turn.hits += len(replies) - len(missing) - nils
    head = b"*%d\r\n" % len(replies)
    if not missing:
        session.say(head + b"".join(reply for reply in replies if reply is not None))
        return True
    fills = _fills(space, missing, now)
    slot = MgetSlot(session.answers, [head, *replies], missing, fills, nil, space.cache.value_max)
    session.take_place(slot, Mode.TRACKED)
    for key, fill in fills.items():
        lane.send(FILL + bulk(key), fill)
    session.send(encode([b"MGET", *missing]), slot, lane)
    return True


def _fills(space: Space, keys: list[bytes], now: float) -> dict[bytes, Fill]:
    """For the keys whose values are to be kept."""
    fills: dict[bytes, Fill] = {}
    for key in keys:
        if key not in fills and len(fills) < FILLS_MAX:
            ticket = space.admit(key)
            if ticket is not None:
                fills[key] = Fill(space, ticket, now)
    return fills


class Stage(Enum):
    """Which part of its reply an MgetSlot waits for.

    HEAD ── the array's head ──▶ GATHERING ◀── whole ── PASSING
      │                              └── too large to keep ──▶
      └── an error ──▶ REFUSED"""

    HEAD = auto()
    GATHERING = auto()  # an element, held until it is whole
    PASSING = auto()  # an element that is passed on as it comes
    REFUSED = auto()  # an error, passed on as it comes


class MgetSlot(RunSlot):
    """The reply to an MGET of what was missing, with what was there put in its places, as it
    comes."""

    __slots__ = (
        "_array", "_cutter", "_fills", "_got", "_missing", "_nil", "_replies", "_stage",
        "_value_max",
    )  # fmt: skip

    def __init__(
        self,
        session: Answers,
        replies: list[bytes | None],
        missing: list[bytes],
        fills: dict[bytes, Fill],
        nil: bytes,
        value_max: int,
    ) -> None:
        super().__init__(session, 1)
        self._array = b"*%d\r\n" % len(missing)
        self._replies = iter(replies)
        self._missing = iter(missing)
        self._fills = fills
        self._nil = nil
        self._value_max = value_max
        self._cutter = Cutter()
        self._stage = Stage.HEAD
        self._got = b""  # of the head, or of the element that is gathered

    def feed(self, chunk: bytes) -> None:
        parts: list[bytes] = []
        if self._stage is Stage.HEAD:
            self._got += chunk
            if len(self._got) < len(self._array) and self.want:
                return
            chunk, self._got = self._got, b""
            if chunk.startswith(self._array):
                self._stage = Stage.GATHERING
                chunk = chunk[len(self._array) :]
                self._there(parts)
            else:
                self._stage = Stage.REFUSED
                self._give_up()
        if self._stage is Stage.REFUSED:
            RunSlot.feed(self, chunk)
            return
        pos = 0
        while pos < len(chunk):
            at = self._cutter.cut(chunk, pos, 1)
            self._part(chunk[pos:at], bool(self._cutter.done), parts)
            pos = at
        RunSlot.feed(self, b"".join(parts))

    def _part(self, piece: bytes, whole: bool, parts: list[bytes]) -> None:
        """A piece of the element that is next."""
        if self._stage is Stage.GATHERING:
            piece = self._got + piece
            if not whole and len(piece) <= self._value_max:
                self._got = piece
                return
            self._got = b""
        if not whole:
            self._stage = Stage.PASSING
            parts.append(piece)
            return
        self._element(piece, parts)
        self._stage = Stage.GATHERING
        self._there(parts)

    def _element(self, piece: bytes, parts: list[bytes]) -> None:
        """The end of an element: all of it, if it was gathered."""
        gathered, turn = self._stage is Stage.GATHERING, self.session.turn
        nil = gathered and piece == NIL3
        turn.misses += nil
        turn.hits += not nil
        parts.append(self._nil if nil else piece)
        fill = self._fills.pop(next(self._missing), None)
        if fill is not None and gathered:
            fill.keep(None if nil else piece)
        elif fill is not None:
            fill.give_up()

    def _there(self, parts: list[bytes]) -> None:
        """What was there, up to the next that was missing."""
        for reply in self._replies:
            if reply is None:
                return
            parts.append(reply)

    def _give_up(self) -> None:
        for fill in self._fills.values():
            fill.give_up()
        self._fills.clear()

    def fail(self, why: ProxyError, inside: bool) -> None:
        self._give_up()
        if self._stage is not Stage.HEAD:
            self.session.abort("the server went away in the middle of a reply")
        self.want = 0
        RunSlot.feed(self, why.line)
