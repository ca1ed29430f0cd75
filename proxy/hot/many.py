# cython: annotation_typing=False, language_level=3
"""MGETs and runs of GETs out of the near cache: what is not there is asked for, and fills it.

    RouteMap.many ─┬─ all is there ────────────────▶ answered
    RouteMap.near  ├─ nothing is, at first sight ──▶ asked as it is, among others
                   └─ ask_many ─▶ lane ─▶ ManySlot: what was missing as it comes, the rest about it
                                          MixedSlot: the same of GETs

Called by reading.py, which knows when it may be asked for."""

from __future__ import annotations

# Names with _ are C functions, which the other files of this room call too.
# pyright: reportPrivateUsage=false
from ..errors import ProxyError
from ..near.cache import Space
from ..resp.kernel import Cutter, RouteMap, fit, pack_keys
from .answers import Answers, RunSlot
from .fills import CACHING, NIL2, NIL3, Fill, new_fill

# Of the misses of one MGET, so many are kept at most: each costs two more questions.
FILLS_MAX = 128
_NIL2, _NIL3 = NIL2, NIL3
_FILLS_MAX = FILLS_MAX

# Which part of its replies a ManySlot waits for:
#
#   TELLING ── how long each may be kept ──▶ HEAD ── the array's ──▶ GATHERING ◀─ whole ── PASSING
#                                              └── an error ──▶ REFUSED  └─── too large ───▶
TELLING = 0
HEAD = 1
GATHERING = 2  # an element, held until it is whole
PASSING = 3  # an element that is passed on as it comes
REFUSED = 4  # an error, passed on as it comes
_TELLING, _HEAD, _GATHERING, _PASSING, _REFUSED = TELLING, HEAD, GATHERING, PASSING, REFUSED


class ManySlot(RunSlot):
    """What is there of an MGET, and the reply to an MGET of what was missing."""

    there: bytes  # the reply, without what is missing,
    gaps: list[int]  # and where in it that belongs
    fills: list[Fill | None]  # of what is missing; empty where nothing is to be kept
    stage: int
    said: int  # of ``there``, bytes
    at: int  # of the gaps: how many are filled
    told: int  # of the fills: how many know how long
    value_max: int
    nil: bytes
    array: bytes  # the head of the reply
    got: bytes  # of what is not whole
    cutter: Cutter

    def feed(self, chunk: bytes) -> None:
        pos, end = 0, len(chunk)
        if self.stage <= _HEAD:
            if self.got:
                chunk, self.got = self.got + chunk, b""
                end = len(chunk)
            pos = self._begun(chunk)
            if pos < 0:
                return
        if self.stage == _REFUSED:
            RunSlot.feed(self, self.cutter.part(chunk, pos, end) if pos else chunk)
            return
        parts: list[bytes] = []
        if not self.said:
            self._there(parts)
        cutter = self.cutter
        while pos < end:
            at = cutter.cut(chunk, pos, 1, False)
            self._part(cutter.part(chunk, pos, at), cutter.done > 0, parts)
            pos = at
        RunSlot.feed(self, b"".join(parts))

    def _begun(self, chunk: bytes) -> int:
        """The offset behind what comes before the values, in all that has come; -1: it is not
        whole."""
        pos = 0
        while self.told < len(self.fills):
            fill = self.fills[self.told]
            if fill is not None:
                at = fill._told(chunk, pos)
                if not at:
                    self.got = chunk[pos:]
                    return -1
                pos = at
            self.told += 1
        self.stage = _HEAD
        if len(chunk) - pos < len(self.array) and self.want:
            self.got = chunk[pos:]
            return -1
        if chunk.startswith(self.array, pos):
            self.stage = _GATHERING
            return pos + len(self.array)
        self.stage = _REFUSED
        self.give_up()
        return pos

    def _part(self, piece: bytes, whole: bool, parts: list[bytes]) -> None:
        """A piece of the element that is next."""
        if self.stage == _GATHERING:
            if self.got:
                piece, self.got = self.got + piece, b""
            if not whole and len(piece) <= self.value_max:
                self.got = piece
                return
        if not whole:
            self.stage = _PASSING
            parts.append(piece)
            return
        self._element(piece, parts)
        self.stage = _GATHERING
        self._there(parts)

    def _element(self, piece: bytes, parts: list[bytes]) -> None:
        """The end of an element: all of it, if it was gathered."""
        gathered, turn = self.stage == _GATHERING, self.session.turn
        nil = gathered and piece == _NIL3
        if nil:
            turn.misses += 1
        else:
            turn.hits += 1
        parts.append(self.nil if nil else piece)
        at = self.at
        self.at += 1
        fill = self.fills[at] if self.fills else None
        if fill is None:
            return
        if gathered:
            fill.keep(None if nil else piece)
        else:
            fill.give_up()

    def _there(self, parts: list[bytes]) -> None:
        """What was there, up to the next that was missing."""
        begin, end = self.said, len(self.there)
        if self.at < len(self.gaps):
            end = self.gaps[self.at]
        if begin < end:
            parts.append(self.cutter.part(self.there, begin, end))
            self.said = end

    def give_up(self) -> None:
        """No value will come that is to be kept."""
        for fill in self.fills:
            if fill is not None:
                fill.give_up()

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.give_up()
        if self.stage > _HEAD:
            self.session.abort("the server went away in the middle of a reply")
        self.want = 0
        RunSlot.feed(self, why.line)


class MixedSlot(ManySlot):
    """What is there of a run of GETs, and the replies to those of what was missing."""

    def feed(self, chunk: bytes) -> None:
        if self.want or self.got or self.stage != _TELLING:
            ManySlot.feed(self, chunk)
            return
        # All in one piece, as nearly always.
        begun, fills, turn = self._begun(chunk), self.fills, self.session.turn
        out, hits, nils, kept = fit(self.there, self.gaps, chunk, begun, self.nil, fills)
        turn.hits += hits
        turn.misses += nils
        if kept:
            at = 0
            for fill in fills:
                if fill is not None:
                    reply = kept[at]
                    at += 1
                    if reply is None or reply.startswith(b"$"):
                        fill.keep(reply)
                    else:
                        fill.give_up()
        RunSlot.feed(self, out)

    def _element(self, piece: bytes, parts: list[bytes]) -> None:
        gathered, turn = self.stage == _GATHERING, self.session.turn
        nil = gathered and piece == _NIL3
        refused = gathered and piece.startswith(b"-")
        if nil:
            turn.misses += 1
        elif not refused:
            turn.hits += 1
        parts.append(self.nil if nil else piece)
        fill = self.fills[self.at] if self.fills else None
        self.at += 1
        if fill is None:
            return
        if gathered and not refused:
            fill.keep(None if nil else piece)
        else:
            fill.give_up()

    def fail(self, why: ProxyError, inside: bool) -> None:
        """Each that will not come is answered for itself."""
        self.give_up()
        if self.stage == _PASSING:
            self.session.abort("the server went away in the middle of a reply")
        parts: list[bytes] = []
        if not self.said:
            self._there(parts)
        while self.at < len(self.gaps):
            parts.append(why.line)
            self.at += 1
            self._there(parts)
        self.got = b""
        self.want = 0
        RunSlot.feed(self, b"".join(parts))


def new_many_slot(session: Answers, space: Space, routes: RouteMap, flat: bool) -> ManySlot:
    """For what the kernel has just looked up (RouteMap.many)."""
    slot: ManySlot = ManySlot.__new__(ManySlot)
    _begin(slot, session, space, routes, flat)
    slot.want = slot.count = 1
    slot.array = b"*%d\r\n" % len(routes.gaps)
    return slot


def new_mixed_slot(
    session: Answers, space: Space, routes: RouteMap, count: int, flat: bool
) -> MixedSlot:
    """The same for so many GETs (RouteMap.near)."""
    slot: MixedSlot = MixedSlot.__new__(MixedSlot)
    _begin(slot, session, space, routes, flat)
    slot.want = routes.missing
    slot.count = count
    slot.array = b""
    return slot


def _begin(slot: ManySlot, session: Answers, space: Space, routes: RouteMap, flat: bool) -> None:
    told = routes.told
    assert told is not None
    slot.session = session
    slot.reads = 0
    slot.flat = flat
    slot.marks = None
    slot.parts = None
    slot.following = None
    slot.there = told
    slot.gaps = routes.gaps
    slot.fills = []
    slot.stage = _TELLING
    slot.said = slot.at = slot.told = 0
    slot.value_max = space.cache.value_max
    slot.nil = _NIL2 if flat else _NIL3
    slot.got = b""
    slot.cutter = Cutter()


def ask_many(slot: ManySlot, space: Space, routes: RouteMap, now: float) -> bytes:
    """What to send, with fills for what is to be kept of it."""
    asked = routes.asked
    assert asked is not None
    parts: list[bytes] = []
    fills: list[Fill | None] = []
    for at, key in routes.doubts:
        if len(parts) == 2 * _FILLS_MAX:
            break
        ticket = space._seek(key, now)
        if ticket is None:
            continue
        if not fills:
            fills = slot.fills = [None] * len(slot.gaps)
        fills[at] = new_fill(space, ticket, now)
        slot.want += 2
        parts.append(CACHING)
        parts.append(pack_keys(b"PTTL", [key], b"", b""))
    if not parts:
        return asked
    parts.append(asked)
    return b"".join(parts)
