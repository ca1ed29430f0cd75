# cython: annotation_typing=False, language_level=3
"""A client's answers: the queue of slots, filled in any order and handed out from the front.

    push_slot ─▶ tail ▶ ... ▶ head ─ filled ─▶ write ─▶ out ─ once per loop turn ─▶ socket
                                 ▲
       lane: feed(chunk) ────────┘        a slot behind the head keeps its parts until its turn

Owns the places, the bytes that are to be written, and the window of replies outstanding. Knows
no request and no lane: SessionCore, which derives from it, does. Methods that raise
NotImplementedError are its."""

from __future__ import annotations

# Names with _ are C functions, which the other files of this room call too.
# pyright: reportPrivateUsage=false
import asyncio
from collections.abc import Callable
from typing import Protocol

from ..errors import ProxyError

# Replies outstanding at first: their sizes are not known yet, and they may be of 100 MB each.
WINDOW_START = 4
WINDOW_MAX = 256
WINDOW_BYTES = 4 * 1024 * 1024
# Seconds after somebody's replies were found to be large in which those of others are asked for one
# at a time at first: many come to read the same.
WARY = 10.0
# Who gets replies of this size on average is kept off the lanes that others share.
LARGE_REPLY = 256 * 1024
# Bits of Answers.stalls: until half of the window is free, until the client reads. The others are
# in session/reasons.py.
STALL_WINDOW = 2
STALL_CLIENT = 16
# A countdown that does not end.
NEVER = 1 << 60

# C integers in the compiled form (answers.pxd).
_WINDOW_BYTES, _STALL_WINDOW, _STALL_CLIENT = WINDOW_BYTES, STALL_WINDOW, STALL_CLIENT


class Slot(Protocol):
    """A place in an answer queue. The lane counts ``want`` down; nobody else touches it.

    A slot is filled exactly once: by ``want`` replies, or by ``fail`` for those that will not
    come."""

    want: int

    def feed(self, chunk: bytes) -> None:
        """Bytes of the replies owed, in any split; ``want`` is already what is still owed after
        them."""

    def fail(self, why: ProxyError, inside: bool) -> None:
        """The lane is gone: ``want`` replies will not come, ``why`` stands for each.

        ``inside``: a part of the first of them has been fed already."""


class RunSlot:
    """Replies to one run of a session's requests, handed on as they come."""

    def __init__(self, session: Answers, want: int) -> None:
        self._begin(session, want)

    def _begin(self, session: Answers, want: int) -> None:
        """What __init__ does, for one that is made without: that costs 0.1 us of every request."""
        self.session = session
        self.want = want
        self.count = want
        self.reads = 0  # of strings: their hits and misses are counted
        self.flat = False  # RESP2's null is to stand where RESP3's comes
        self.marks: bytes | None = None  # where only some are, which (RouteMap.marks)
        self.parts: list[bytes] | None = None
        self.following: RunSlot | None = None

    def feed(self, chunk: bytes) -> None:
        session = self.session
        if session.head is self:
            session._write(chunk)
            if not self.want:
                session._advance()
        elif self.parts is None:
            self.parts = [chunk]
        else:
            self.parts.append(chunk)

    def push(self, frame: bytes) -> None:
        """A push that precedes one of these replies."""
        self.session.pushed(frame)

    def fail(self, why: ProxyError, inside: bool) -> None:
        if inside:  # also where others come before it: nothing can follow what it has given out
            self.session.abort("the server went away in the middle of a reply")
        want = self.want
        self.want = 0
        self.feed(why.line * want)


class MutedSlot(RunSlot):
    """Replies that the client asked not to get (CLIENT REPLY OFF, SKIP)."""

    def feed(self, chunk: bytes) -> None:
        if not self.want and self.session.head is self:
            self.session.advance()

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0
        self.feed(b"")


class Answers:
    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.wire: asyncio.Transport | None = None
        self.head: RunSlot | None = None
        self.tail: RunSlot | None = None
        self.owed = 0  # replies outstanding, and how many may be
        self.window = turn.start()
        self.stalls: int = 0  # why nothing is parsed: bits
        self.at_drain = False  # something is to be done when nothing is outstanding
        self.replies = 0  # since the window was last measured, and their bytes
        self.reply_bytes = 0
        self.replies_before = 0  # those that were measured: CLIENT LIST's totals are of both
        self.bytes_before = 0
        self.large = False  # they are large
        # What is timed: from ``began`` on until this place is filled. None: nothing now.
        self.clocked: RunSlot | None = None
        self.began = 0.0
        self.loading = False  # it has found nothing, and is loaded
        self.out: bytes | None = None  # written in this turn, at first one piece,
        self.outs: list[bytes] | None = None  # then, the first included, all of them

    def _push_slot(self, slot: RunSlot) -> None:
        """Take the place at the end of the queue."""
        if self.tail is None:
            self.head = slot
        else:
            self.tail.following = slot
        self.tail = slot
        self.owed += slot.count

    def _answer(self, reply: bytes, count: int) -> None:
        """Answers that are there already, in their place behind what is outstanding."""
        tail = self.tail
        if tail is None:
            self.replies += count
            self._write(reply)
        elif not tail.want and tail.parts is not None:
            tail.parts.append(reply)
            tail.count += count
            self.owed += count
        else:
            slot = RunSlot(self, 0)
            slot.count = count  # of the window: what we say ourselves is bounded too
            slot.parts = [reply]
            self._push_slot(slot)

    def _write(self, data: bytes) -> None:
        """Bytes for the client, behind all earlier ones."""
        if self.wire is None or not data:
            return
        self.reply_bytes += len(data)
        if self.out is None:
            self.out = data
            turn = self.turn
            if not turn.dirty:
                turn.call_soon(turn.flush)
            turn.dirty.append(self)
        elif self.outs is None:
            self.outs = [self.out, data]
        else:
            self.outs.append(data)

    def flush(self) -> None:
        """Hand what was written in this turn to the socket."""
        if self.out is None:
            return
        data = self.out if self.outs is None else b"".join(self.outs)
        self.out = self.outs = None
        self._handed_over()
        if self.wire is not None:
            self.wire.write(data)
            if self.large or self.reply_bytes > _WINDOW_BYTES or self.stalls & _STALL_CLIENT:
                self.weigh()

    def _advance(self) -> None:
        """The head of the queue is filled: hand out what stands complete behind it."""
        slot = self.head
        while slot is not None and not slot.want:
            self.owed -= slot.count
            self.replies += slot.count
            if slot is self.clocked:
                self.answered()
            slot = slot.following
            self.head = slot
            if slot is not None and slot.parts is not None:
                self._write(b"".join(slot.parts))
                slot.parts = None
        if self.replies >= self.window or self.reply_bytes > _WINDOW_BYTES:
            self._resize_window()
        if slot is None:
            self.tail = None
            self._emptied()
        elif self.stalls & _STALL_WINDOW and self.owed * 2 <= self.window:
            self.resume(_STALL_WINDOW)

    def _resize_window(self) -> None:
        """As many replies outstanding as make about 4 MB, by the sizes lately seen; at most twice
        as many as before, for the next ones may be larger."""
        size = self.reply_bytes // max(1, self.replies) + 1
        self.window = max(1, min(WINDOW_MAX, 2 * self.window, WINDOW_BYTES // size))
        self.replies_before += self.replies
        self.bytes_before += self.reply_bytes
        self.replies = self.reply_bytes = 0
        if size > LARGE_REPLY:
            if not self.large:
                self.grow_large()
        elif self.large and size < LARGE_REPLY // 4:
            self.large = False
            self.at_drain = True

    def _narrow(self) -> None:
        """What follows may be answered with anything, whatever was seen before."""
        if self.window > WINDOW_START:
            self.window = self.turn.start()
            self.replies_before += self.replies
            self.bytes_before += self.reply_bytes
            self.replies = self.reply_bytes = 0

    def grow_large(self) -> None:
        """Replies are large from now on: what follows goes another way, when all is answered."""
        self.large = True
        self.turn.wary_until = self.turn.now + WARY
        self.window = 1
        self.at_drain = True

    # The same for callers outside of the compiled path: the names above are C functions there.

    def push_slot(self, slot: RunSlot) -> None:
        self._push_slot(slot)

    def answer(self, reply: bytes) -> None:
        self._answer(reply, 1)

    def write(self, data: bytes) -> None:
        self._write(data)

    def advance(self) -> None:
        self._advance()

    # What session.py here, and session/, do.

    def _handed_over(self) -> None:
        """What was written has gone to the socket."""

    def _emptied(self) -> None:
        """Nothing is outstanding any more."""

    def weigh(self) -> None:
        """More of large replies, or for a client that does not read, has gone to the socket."""

    def answered(self) -> None:
        """What was timed is answered."""
        raise NotImplementedError

    def resume(self, reason: int) -> None:
        raise NotImplementedError

    def pushed(self, frame: bytes) -> None:
        raise NotImplementedError

    def abort(self, why: str) -> None:
        raise NotImplementedError


def _never() -> int:
    return NEVER


class Turn:
    """One turn of the event loop: what its clients are to get, and when it began.

    A client gets one write for each turn, whatever it was made of: fewer system calls, and a reply
    travels with the push behind it, as it does from the server."""

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], object],
        now: float,
        clock: Callable[[], float],
    ) -> None:
        self.clock = clock  # the same, now
        # seconds, monotonic, as the server last looked: asking for every request would cost
        self.now = now
        self.call_soon = call_soon
        self.dirty: list[Answers] = []
        self.wary_until = 0.0
        # Reads of strings that the server has answered: with a value, with nil.
        self.hits = 0
        self.misses = 0
        # Requests by what the server's table says of them, and by who was asked.
        self.asking = 0  # reads of the server
        self.writing = 0
        self.others = 0
        self.owns = 0  # the proxy's own: GETORSETs asked as GETs
        self.near_reads = 0  # answered near
        self.near_owns = 0
        # Of the reads of strings above those that were answered near.
        self.near_hits = 0
        self.near_nils = 0
        self.errors = 0  # replies of the server
        # Reads of sockets until one is timed, and what gives the next number: see stats/sampler.py.
        self.countdown = NEVER
        self.gap: Callable[[], int] = _never
        self.stopwatch: Callable[[], float] = clock

    def time_by(self, gap: Callable[[], int], stopwatch: Callable[[], float]) -> None:
        """Have reads timed from now on, ``gap`` of them apart."""
        self.gap, self.stopwatch = gap, stopwatch
        self.countdown = gap()

    def begin(self) -> float:
        """The requests of this read are timed."""
        self.countdown = self.gap()
        return self.stopwatch()

    def start(self) -> int:
        """How many replies may be outstanding whose sizes are not known yet."""
        return 1 if self.now < self.wary_until else WINDOW_START

    def flush(self) -> None:
        dirty = self.dirty
        self.dirty = []
        for session in dirty:
            session.flush()
