# cython: annotation_typing=False, language_level=3
"""The places of the proxy's own commands in a client's queue, and the read that most of them are.

    GETORSET k  ─▶ TaskSlot ◀─ GetOrSetSlot, on the tracked lane as GET k ─ a value ─▶ client
                       ▲                                                  └ nil ─▶ missed(): a task
                       └────────────────────────────── fill ◀───────────────────────────┘
    a run of    ─▶ RunSlot  ◀─ GetOrSetRun, as one slice of GETs; where the second is nil:
    GETORSETs      RunSlot (1) ▶ TaskSlot (2), which a task fills ▶ RunSlot (all behind it)
    others      ─▶ TaskSlot ◀─ fill ◀─ a task

What is to be run, and when: session/acts/own.py. Compiled, because every hit of GETORSET with the
near cache off passes here (tests.bench.near, "GETORSET hit")."""

from __future__ import annotations

# Names with _ are C fields, which run_of sets.
# pyright: reportPrivateUsage=false
from collections.abc import Callable
from typing import Protocol

from ..errors import ProxyError, ServerError, is_away
from ..resp.kernel import Cutter
from .answers import Answers, MutedSlot, RunSlot
from .fills import Fill
from .lane import LaneCore

# What a reply to GET is, by its first two bytes.
UNTOLD, VALUE, NIL, OTHER = 0, 1, 2, 3  # OTHER: an error

_UNTOLD, _VALUE, _NIL, _OTHER = UNTOLD, VALUE, NIL, OTHER


class OwnReads(Protocol):
    """What session/acts/own.py does for GETORSETs, and GETs of keys with a loader, that are no
    hits."""

    def used(self, session: Answers) -> None:
        """A session asks."""

    def reads_through(self, session: Answers, key: bytes) -> bool:
        """Whether a plain GET of the key is one of these, for this session now."""
        ...

    def timed(self, session: Answers, key: bytes) -> bool:
        """Whether it is to be known how long the key lasts: it may be stale."""
        ...

    def away(self, session: Answers) -> bool:
        """Whether there is no server to ask: of these reads each is looked at by itself."""
        ...

    def fill(self, session: Answers, key: bytes, fill: Fill | None) -> None:
        """Ask for one key, and have it kept where there is a fill."""

    def missed(self, session: Answers, place: TaskSlot, key: bytes, why: ProxyError | None) -> None:
        """There is nothing at the key, or no answer, and why: see that the place is filled."""


class TaskSlot(RunSlot):
    """The place of a command that others fill: in one piece, or as it comes. Behind ``alone``
    nothing is asked before it is filled: what it does may be seen."""

    def __init__(self, session: Answers, muted: bool, alone: bool = True) -> None:
        super().__init__(session, 1)
        self.muted = muted
        self.alone = alone

    def fill(self, text: bytes) -> None:
        """The whole answer."""
        self.pass_on(text, 0)

    def pass_on(self, chunk: bytes, want: int) -> None:
        """A part of the answer; it is the last one where nothing is wanted behind it."""
        self.want = want
        RunSlot.feed(self, b"" if self.muted else chunk)


class GetOrSetSlot:
    """The reply to the GET that asks for a value: passed on to its place as it comes. Where it is
    nil, or does not come (``why``), ``missed`` has to see that the place is filled."""

    def __init__(
        self,
        place: TaskSlot,
        fill: Fill | None,
        missed: Callable[[GetOrSetSlot], None],
        asker: object,
        key: bytes,
        command: object,
    ) -> None:
        self.want = 1
        self.place = place
        self.missed = missed
        self.asker = asker  # these three for ``missed``
        self.key = key
        self.command = command
        self.why: ProxyError | None = None
        self._fill = fill
        self._kind = _UNTOLD
        self._got = b""  # until its kind is told

    def feed(self, chunk: bytes) -> None:
        fill = self._fill
        if self._kind == _UNTOLD:
            chunk = self._got = self._got + chunk
            if len(chunk) < 2:
                return
            self._tell(chunk)
        if self._kind != _NIL:
            if fill is not None and fill.open and fill.gather(chunk) and not self.want:
                fill.keep(fill.got)
            self.place.pass_on(chunk, self.want)
        elif not self.want:
            self.place.session.turn.misses += 1
            self.missed(self)

    def _tell(self, reply: bytes) -> None:
        """What it is, by its beginning."""
        if reply.startswith((b"$-", b"_")):
            self._kind = _NIL
        elif reply.startswith(b"$"):
            self._kind = _VALUE
            self.place.session.turn.hits += 1
            return
        else:
            self._kind = _OTHER
        if self._fill is not None:  # nothing to keep
            self._fill.give_up()

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0
        if self._fill is not None:
            self._fill.give_up()
        if self._kind in (VALUE, OTHER):  # a part has been passed on
            self.place.session.abort("the server went away in the middle of a reply")
            self.place.fill(why.line)
        else:
            self.why = why
            self.missed(self)


class GetOrSetRun:
    """The replies to a slice of GETs that ask for values: passed on to their place as they come.
    For each that is nil, or does not come, the asker has to fill a place of its own.

    Kept because as a slot and a place each they cost 8 times a GET (tests.bench.near, "getorset",
    P=16)."""

    want: int
    lane: LaneCore  # its cutter has just cut what is fed
    keys: list[bytes]
    asker: OwnReads
    place: RunSlot  # of all that are still owed
    _cutter: Cutter | None  # while what was fed ends inside a reply
    _told: int  # replies
    _held: bytes  # how one begins that may be nil
    _inside: bool  # a part of one has been passed on

    def feed(self, chunk: bytes) -> None:
        seen, turn = self.lane.cutter, self.place.session.turn
        cutter = self._cutter
        rare = seen.nulls or seen.errors or (self.want and seen.inside)
        if cutter is None and not rare:
            turn.hits += seen.bulks  # no nil, no error, and whole: as nearly always
            self._told += seen.done
            self.place.want = self.want
            self.place.feed(chunk)
            return
        if cutter is None:
            cutter = Cutter()
        begin, start, at = 0, 0, len(self._held)  # what to pass on; this reply; what is cut of it
        if at:
            chunk = self._held + chunk
            self._held = b""
        end = len(chunk)
        while at < end:
            at = cutter.cut(chunk, at, 1)
            if not cutter.done:
                break
            self._inside = False
            if cutter.nulls:
                turn.misses += 1
                self._miss(chunk[begin:start], None)
                begin = at
            elif cutter.errors and (why := _away(chunk[start:at])) is not None:
                self._miss(chunk[begin:start], why)
                begin = at
            else:
                turn.hits += cutter.bulks
                self._told += 1
            start = at
        if start < end and not self._inside:
            if chunk.startswith((b"$-", b"_"), start) or end - start == 1:
                self._held = chunk[start:]
                end = start
            else:
                self._inside = True
        self._cutter = cutter if cutter.inside else None
        if begin < end:
            self.place.want = self.want
            self.place.feed(chunk if end - begin == len(chunk) else chunk[begin:end])

    def _miss(self, before: bytes, why: ProxyError | None) -> None:
        """The next reply is nil, or lost, behind these of the same place: that ends here."""
        place = self.place
        session, behind = place.session, place.following
        key, rest = self.keys[self._told], len(self.keys) - self._told - 1
        self._told += 1
        muted = type(place) is MutedSlot
        task = TaskSlot(session, muted, False)
        last: RunSlot = task
        if rest:
            last = self.place = task.following = _place_for(session, rest, muted)
        place.following = task
        last.following = behind
        if session.tail is place:
            session.tail = last
        if session.clocked is place:
            session.clocked = last
        place.count -= 1 + rest
        place.want = 0
        place.feed(before)
        self.asker.missed(session, task, key, why)

    def fail(self, why: ProxyError, inside: bool) -> None:
        if self._inside:
            self.place.want = self.want
            self.want = 0
            self.place.fail(why, True)
            return
        self.want = 0
        while self._told < len(self.keys):
            self._miss(b"", why)


def _away(reply: bytes) -> ProxyError | None:
    """An error that is as good as no answer: of a cluster, the node that has the key is away."""
    why = ServerError(reply)
    return why if is_away(why) else None


def run_of(
    session: Answers, lane: LaneCore, keys: list[bytes], muted: bool, asker: OwnReads
) -> GetOrSetRun:
    """The slot for a lane, and the place for the session's queue that hangs on it."""
    run = GetOrSetRun.__new__(GetOrSetRun)  # without __init__: see RunSlot._begin
    run.want = len(keys)
    run.lane = lane
    run.keys = keys
    run.asker = asker
    run.place = _place_for(session, len(keys), muted)
    run._cutter = None
    run._told = 0
    run._held = b""
    run._inside = False
    return run


def _place_for(session: Answers, count: int, muted: bool) -> RunSlot:
    if muted:
        return MutedSlot(session, count)
    slot = RunSlot.__new__(RunSlot)
    slot._begin(session, count)
    return slot
