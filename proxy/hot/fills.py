# cython: annotation_typing=False, language_level=3
"""What goes into the near cache with the replies that pass, and what is forgotten with the writes.

    lane:   CLIENT CACHING YES, PTTL key ─┐ FillSlot    Fill: how long the value may be kept
            GET key ──────────────────────┘             handed on, and kept

All three go to the tracked lane in one piece, so that what the server says of the key in between
comes in between. A fill is kept or given up, once; its ticket (near/cache.py) is void as soon as
anything may have changed the key. Of an MGET: many.py; of GETORSET: own.py, with a slot for the
Fill and one for the value."""

from __future__ import annotations

# Names with _ are C functions, which the other files of this room call too.
# pyright: reportPrivateUsage=false
from ..errors import ProxyError
from ..near.cache import NearCache, Space
from ..near.index import Ticket
from ..resp.kernel import Cutter, mix
from .answers import Answers, RunSlot

# Track what is read next: PTTL, and the GET behind it is of no later time.
CACHING = b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$3\r\nYES\r\n"
FILL = CACHING + b"*2\r\n$4\r\nPTTL\r\n"  # and the key
NOT_TRACKED = -3  # no answer of PTTL: nothing is kept
NIL2, NIL3 = b"$-1\r\n", b"_\r\n"
# How the two replies before a value begin, but for some that were refused.
TOLD = b"+OK\r\n:"
_TOLD, _NUMBER = TOLD, len(TOLD)
_ZERO, _NINE, _MINUS, _CR = b"09-\r"
_NOT_TRACKED = NOT_TRACKED


class Fill:
    """One reply on its way into the near cache. As a slot it takes the two replies before it."""

    def __init__(self, space: Space, ticket: Ticket, now: float) -> None:
        self.want = 2
        self.space = space
        self.ticket = ticket
        self.asked = now  # a TTL counts from here: never longer than the server's own
        self.ttl_ms = NOT_TRACKED
        self.open = True  # neither kept nor given up yet
        self.got = b""  # of the two replies, then of the one to keep

    def feed(self, chunk: bytes) -> None:
        self.got += chunk
        if not self.want:
            self._told(self.got, 0)
            self.got = b""

    def _told(self, got: bytes, pos: int) -> int:
        """Take the two replies that begin at pos; the offset behind them, 0: they are not whole."""
        end, at, ttl = len(got), pos + _NUMBER, 0
        if got[pos:at] != _TOLD:
            return self._refused(got, pos)
        negative = at < end and got[at] == _MINUS
        if negative:
            at += 1
        # Digit by digit: as an object it costs 300 instructions more, of every fill.
        while at < end and _ZERO <= got[at] <= _NINE:
            ttl = ttl * 10 + got[at] - _ZERO
            at += 1
        if at + 2 > end:
            return 0
        if got[at] != _CR:
            return self._refused(got, pos)
        self.ttl_ms = -ttl if negative else ttl
        self.want = 0
        return at + 2

    def _refused(self, got: bytes, pos: int) -> int:
        """The same where they are not as they should be, or begin only."""
        cutter = Cutter()
        at = cutter.cut(got, pos, 2, False)
        if cutter.done < 2:
            return 0
        self.want = 0
        return at

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0

    def gather(self, chunk: bytes) -> bool:
        """Hold a part of the reply to keep. False: it is too large, and given up; ``got`` is all
        of it that came."""
        self.got = self.got + chunk if self.got else chunk
        if len(self.got) > self.space.cache.value_max:
            self.give_up()
            return False
        return True

    def keep(self, reply: bytes | None) -> None:
        """The whole reply; None for nil."""
        self.open = False
        space, ttl_ms = self.space, self.ttl_ms
        fresh_ms = space.cache.fresh_ms
        if fresh_ms is not None and ttl_ms > 0 and space.requests is None:
            ttl_ms = fresh_ms(self.ticket.key, ttl_ms)  # what is stale is to be seen so: not kept
        space.fill(self.ticket, reply, ttl_ms, self.asked)

    def give_up(self) -> None:
        if self.open:
            self.open = False
            self.space.give_up(self.ticket)


def new_fill(space: Space, ticket: Ticket, now: float) -> Fill:
    """As Fill(), which costs 1,500 instructions more."""
    fill: Fill = Fill.__new__(Fill)
    fill.want = 2
    fill.space = space
    fill.ticket = ticket
    fill.asked = now
    fill.ttl_ms = _NOT_TRACKED
    fill.open = True
    fill.got = b""
    return fill


class FillSlot(RunSlot):
    """The reply to a GET that fills the near cache, in order with the invalidations around it. It
    takes those before it too, as long as the fill has not been told."""

    fill: Fill

    def feed(self, chunk: bytes) -> None:
        fill = self.fill
        if fill.want:
            chunk = self._behind_told(chunk)
            if not chunk:
                return
        if fill.open:
            if not self.want:
                chunk = self._keep(fill.got + chunk if fill.got else chunk)
            elif fill.gather(chunk):
                return
            else:
                chunk = fill.got  # too large to keep: passed on as it comes
        elif not self.want:
            self.session.turn.hits += 1
        RunSlot.feed(self, chunk)

    def _behind_told(self, chunk: bytes) -> bytes:
        """What is there of the value, once how long it may be kept has come."""
        fill = self.fill
        got = fill.got + chunk if fill.got else chunk
        at = fill._told(got, 0)
        fill.got = b"" if at else got
        return got[at:] if at else b""

    def _keep(self, reply: bytes) -> bytes:
        """Fill with a whole reply; what the client gets."""
        fill, turn = self.fill, self.session.turn
        if reply == NIL3:
            turn.misses += 1
            fill.keep(None)
            return NIL2 if self.flat else reply
        if reply.startswith(b"$"):
            turn.hits += 1
            fill.keep(reply)
        else:
            fill.give_up()
        return reply

    def fail(self, why: ProxyError, inside: bool) -> None:
        if not self.fill.open:  # a part has been passed on
            self.session.abort("the server went away in the middle of a reply")
        self.fill.give_up()
        self.want = 0
        RunSlot.feed(self, why.line)


def new_fill_slot(session: Answers, fill: Fill, flat: bool) -> FillSlot:
    """Made without __init__, which costs 2,500 instructions more."""
    slot: FillSlot = FillSlot.__new__(FillSlot)
    slot._begin(session, 3)
    slot.count = 1
    slot.flat = flat
    slot.fill = fill
    return slot


class WriteSlot(RunSlot):
    """Replies to writes, whose keys the near cache forgets again before the client learns of
    them: what was filled since they were sent may be older."""

    cache: NearCache
    keys: list[bytes] | None  # None: all there are
    muted: bool

    def feed(self, chunk: bytes) -> None:
        forget(self.cache, self.keys)
        if self.reads:  # one GETDEL or GETEX: its first bytes tell
            self.reads = 0
            turn = self.session.turn
            if chunk.startswith((b"$-", b"_")):
                turn.misses += 1
            elif chunk.startswith(b"$"):
                turn.hits += 1
        if not self.muted:
            RunSlot.feed(self, chunk)
        elif not self.want and self.session.head is self:
            self.session._advance()


def new_write_slot(
    session: Answers, count: int, cache: NearCache, keys: list[bytes] | None, muted: bool
) -> WriteSlot:
    """Made without __init__, which costs 800 instructions more."""
    slot: WriteSlot = WriteSlot.__new__(WriteSlot)
    slot._begin(session, count)
    slot.cache = cache
    slot.keys = keys
    slot.muted = muted
    return slot


def forget(cache: NearCache, keys: list[bytes] | None) -> None:
    """Writes of these keys pass, None: of any: whatever was read before them must not be served
    any more. What else a write that passes does is session/writes.py's."""
    if keys is None:
        cache.flush("flushed")
        return
    for space in cache.spaces.values():
        if space.holds():
            for key in keys:
                space.written(key)
        if not space.worth.pays:
            for key in keys:
                space.worth.wrote(mix(key))
