# cython: annotation_typing=False, language_level=3
"""The hot path: what happens to every request and every reply, and nothing else.

Plain Python with its types in hot.pxd: the build compiles this very file, and where there is no
compiler it runs as it is (tests/test_pure.py). Compiled, a request costs 2 us less of the 7 us that
it costs plain (tests.bench, P=1, 50 connections). Everything that is not every request is in
lane.py and session.py, whose classes derive from these; methods that raise NotImplementedError are
theirs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from ..errors import ProxyError
from ..near.cache import NearCache, Space, Ticket
from ..resp.kernel import BROKEN, PUSH, Cutter, RouteMap
from ..resp.routes import FULL, MORE, Route

UPLOAD_AT = 64 * 1024
LAST_MAX = 512
# Requests that need more than forwarding, of one client in one loop turn: others wait meanwhile.
SPECIALS_MAX = 64
# Replies outstanding at first: their sizes are not known yet, and they may be of 100 MB each.
WINDOW_START = 4
WINDOW_MAX = 256
WINDOW_BYTES = 4 * 1024 * 1024

MUTE_OFF = 1  # CLIENT REPLY OFF
MUTE_SKIP = 2  # CLIENT REPLY SKIP: the next request's reply only

# Requests that are taken one by one. Plain integers: an enum's member is slow to compare.
NEAR = int(Route.NEAR)
WRITE_ONE = int(Route.WRITE_ONE)
GETORSET = int(Route.GETORSET)
_GET_HEAD = len(b"*2\r\n$3\r\nGET\r\n")
FILL = (
    b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$3\r\nYES\r\n"  # track what is read next:
    b"*2\r\n$4\r\nPTTL\r\n"  # it tracks the key, and the GET behind it is of no later time
)
NOT_TRACKED = -3  # no answer of PTTL: nothing is kept
_NIL2, _NIL3 = b"$-1\r\n", b"_\r\n"

# Bits of SessionCore.stalls that the hot path itself sets; the others are in session.py.
STALL_WINDOW = 2  # until half of the window is free


class LaneState(Enum):
    IDLE = auto()  # no connection and nothing to send
    CONNECTING = auto()  # dialling, shaking hands, or between two attempts
    READY = auto()
    DOWN = auto()  # the retry rule is exhausted: fails at once, tried every 2 s
    CLOSED = auto()


READY = LaneState.READY

# C integers in the compiled form (hot.pxd), for the comparisons of every request.
_MORE, _FULL, _PUSH, _BROKEN = MORE, FULL, PUSH, BROKEN
_LAST_MAX, _SPECIALS_MAX, _UPLOAD_AT = LAST_MAX, SPECIALS_MAX, UPLOAD_AT
_MUTE_SKIP, _STALL_WINDOW = MUTE_SKIP, STALL_WINDOW
_WINDOW_BYTES = WINDOW_BYTES
_NEAR, _WRITE_ONE, _GETORSET = NEAR, WRITE_ONE, GETORSET


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


class Run:
    """Replies to one run of a session's requests, handed on as they come."""

    def __init__(self, session: SessionCore, want: int) -> None:
        self.session = session
        self.want = want
        self.count = want
        self.reads = 0  # of strings: their hits and misses are counted
        self.flat = False  # RESP2's null is to stand where RESP3's comes
        self.marks: bytes | None = None  # where only some are, which (RouteMap.marks)
        self.parts: list[bytes] | None = None
        self.following: Run | None = None

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


class WriteSlot(Run):
    """Replies to writes, whose keys the near cache forgets again before the client learns of
    them: what was filled since they were sent may be older."""

    def __init__(
        self, session: SessionCore, want: int, cache: NearCache, keys: list[bytes] | None
    ) -> None:
        super().__init__(session, want)
        self.cache = cache
        self.keys = keys  # None: all there are
        self.muted = session.mute != 0

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
            Run.feed(self, chunk)
        elif not self.want and self.session.head is self:
            self.session._advance()


def forget(cache: NearCache, keys: list[bytes] | None) -> None:
    """Writes of these keys pass: whatever was read before them must not be served any more."""
    if keys is None:
        cache.flush("flushed")
        return
    for space in cache.spaces.values():
        if space.entries or space.tickets:
            for key in keys:
                space.written(key)


class PttlSlot:
    """The replies before that of a GET that fills the near cache: CLIENT CACHING's and PTTL's."""

    def __init__(self, ticket: Ticket, now: float) -> None:
        self.asked = now  # a TTL counts from here: never longer than the server's own
        self.want = 2
        self.ticket = ticket
        self.ttl_ms = NOT_TRACKED
        self.got = b""

    def feed(self, chunk: bytes) -> None:
        self.got += chunk
        if self.want:
            return
        caching, _, ttl = self.got.partition(b"\r\n")
        if caching == b"+OK" and ttl.startswith(b":"):
            self.ttl_ms = int(ttl[1:])

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0


class Fill(Run):
    """The reply to a GET that fills the near cache, in order with the invalidations around it."""

    def __init__(self, session: SessionCore, space: Space, lead: PttlSlot) -> None:
        super().__init__(session, 1)
        self.space = space
        self.lead = lead
        self.flat = session.flat
        self.got = b""
        self.large = False  # passed on as it comes, and not kept

    def feed(self, chunk: bytes) -> None:
        if not self.large:
            self.got = self.got + chunk if self.got else chunk
            if self.want:
                if len(self.got) <= self.space.cache.value_max:
                    return
                self.large = True
                self.space.give_up(self.lead.ticket)
            chunk = self.got
            self.got = b""
            if not self.want:
                chunk = self._keep(chunk)
        if self.large and not self.want:
            self.session.turn.hits += 1
        Run.feed(self, chunk)

    def _keep(self, reply: bytes) -> bytes:
        """Fill with a whole reply; what the client gets."""
        turn, ticket = self.session.turn, self.lead.ticket
        if reply == _NIL3:
            turn.misses += 1
            self.space.fill(ticket, None, self.lead.ttl_ms, self.lead.asked)
            return _NIL2 if self.flat else reply
        if reply.startswith(b"$"):
            turn.hits += 1
            self.space.fill(ticket, reply, self.lead.ttl_ms, self.lead.asked)
        else:
            self.space.give_up(ticket)
        return reply

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.space.give_up(self.lead.ticket)
        if self.large:
            self.session.abort("the server went away in the middle of a reply")
        self.want = 0
        Run.feed(self, why.line)


class MutedSlot(Run):
    """Replies that the client asked not to get (CLIENT REPLY OFF, SKIP)."""

    def feed(self, chunk: bytes) -> None:
        if not self.want and self.session.head is self:
            self.session.advance()

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0
        self.feed(b"")


class LaneCore:
    """Requests out, replies to the slot at the head. See lane.py for the drawing and for everything
    else."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self.state = LaneState.IDLE
        self.waiting: deque[Slot] = deque()
        self.out: list[bytes] = []
        self.wire: asyncio.Transport | None = None
        self.cutter = Cutter()
        self.frame: list[bytes] = []  # the parts of a push that came in pieces
        self.heard = 0  # reads from the socket, for tick()
        self.paused = False  # not reading: the only client that waits does not read
        self.choked = False  # takes no more for now: see Owner.lane_writable
        self.flush_deferred = False  # the flush was put off by a turn
        self.tracking = False  # the server tells here of changes to what is read here
        self.sent = 0  # slots that were sent, and those that were answered,
        self.done = 0  # in the same order
        self.plain_framing = (
            True  # replies are told apart by their ends alone: no tunnel, no subscriptions
        )
        self.call_soon = call_soon

    def _send(self, data: bytes, slot: Slot) -> None:
        """Queue whole requests and the slot that waits for their replies."""
        if self.state is not READY:
            self.send_later(data, slot)
            return
        # One write per loop turn carries what all sessions sent: this is what cuts the upstream's
        # CPU to a third (tests.bench, upstream column at P=1).
        if not self.out:
            self.call_soon(self.flush)
        self.out.append(data)
        self.waiting.append(slot)
        self.sent += 1
        if self.paused:
            self.resume_reading()

    def send(self, data: bytes, slot: Slot) -> None:
        self._send(data, slot)

    def flush(self) -> None:
        wire = self.wire
        if self.out and wire is not None and self.state is READY:
            if not self.flush_deferred and len(self.waiting) > len(self.out):
                # Others are on their way already: one more look at the clients makes the batch
                # a sixth larger, and throughput a tenth (tests.bench, P=1, 50 connections).
                self.flush_deferred = True
                self.call_soon(self.flush)
                return
            self.flush_deferred = False
            wire.write(b"".join(self.out) if len(self.out) > 1 else self.out[0])
            self.out.clear()

    def data_received(self, data: bytes) -> None:
        self.heard += 1
        if not self.plain_framing:
            self.odd_received(data, 0)
            return
        pos = 0
        end = len(data)
        cutter = self.cutter
        waiting = self.waiting
        while pos < end:
            if self.frame or not waiting:
                pos = self.unasked(data, pos)
                continue
            if cutter.places:
                cutter.places.clear()  # of the last cut, or of a push
            slot = waiting[0]
            if type(slot) is Run:
                run = slot
                if run.marks is None:
                    at = cutter.cut(data, pos, run.want, False)
                    if run.reads:
                        # Each value and each nil once, in the read that completes it. What goes
                        # another way is not counted: MutedSlot, uploads, MULTI, subscribed lanes.
                        turn = run.session.turn
                        turn.hits += cutter.bulks
                        turn.misses += cutter.nulls
                    run.want -= cutter.done
                else:
                    at = self._cut_marked(data, pos, run)
                if at > pos:
                    if not run.want:
                        waiting.popleft()
                        self.done += 1
                    if run.flat and cutter.places:
                        run.feed(cutter.flat(data, pos, at))
                    else:
                        run.feed(data if at - pos == end else cutter.part(data, pos, at))
                    pos = at
            else:
                at = cutter.cut(data, pos, slot.want, False)
                if at > pos:
                    slot.want -= cutter.done
                    if not slot.want:
                        waiting.popleft()
                        self.done += 1
                    slot.feed(data if at - pos == end else cutter.part(data, pos, at))
                    pos = at
            if self.waiting is not waiting:
                return  # the slot just fed has closed the lane
            if cutter.stop == _PUSH:
                pos = self.unasked(data, pos)
            elif cutter.stop == _BROKEN:
                self.lose("bytes that are not RESP")
                return
            if not self.plain_framing:
                # The reply just handed over changed how this connection speaks.
                if pos < end:
                    self.odd_received(data, pos)
                return

    def _cut_marked(self, data: bytes, pos: int, run: Run) -> int:
        """Cut the replies of a run one by one, for only some of them are reads of strings; the
        offset reached."""
        cutter, turn, marks, count = self.cutter, run.session.turn, run.marks, run.count
        assert marks is not None
        end, want = len(data), run.want
        while pos < end and want:
            read = marks[count - want]
            pos = cutter.cut(data, pos, 1, False)
            if read:
                turn.hits += cutter.bulks
                turn.misses += cutter.nulls
            if not cutter.done:
                break
            want -= 1
        run.want = want
        return pos

    def send_later(self, data: bytes, slot: Slot) -> None:
        raise NotImplementedError

    def odd_received(self, data: bytes, pos: int) -> None:
        raise NotImplementedError

    def unasked(self, data: bytes, pos: int) -> int:
        raise NotImplementedError

    def lose(self, why: str) -> None:
        raise NotImplementedError

    def resume_reading(self) -> None:
        raise NotImplementedError


class SessionCore:
    """Bytes in, runs of requests out, replies to the client. See session.py for the drawing and the
    rest."""

    def __init__(self, routes: RouteMap, turn: Turn) -> None:
        self.routes = routes
        self.turn = turn
        self.active = turn.now
        self.last = b""  # the bytes of the last small run, for CLIENT LIST's cmd=
        self.lane: LaneCore | None = None
        # Reads of strings go to the tracked lane, from where the near cache is filled: what the
        # cache then serves can never be older than what a client has read there before.
        self.space: Space | None = None  # None: this client reads nothing out of the near cache
        self.tracked: LaneCore | None = None
        self.far: RouteMap = routes  # the same routes, where GET is a read like others
        self.home: RouteMap = routes  # what ``routes`` is again when the tracked lane has answered
        self.near_only: RouteMap = routes  # what may follow reads on the tracked lane
        self.cache: NearCache | None = None  # what forgets the keys that this client writes
        self.asking = False  # commands of the proxy's own are outstanding: others wait for them
        self.waiting: RouteMap = routes  # what may follow those
        self.on_tracked = False  # what is outstanding was sent to the tracked lane
        self.read_far = False  # reads of strings went elsewhere: behind those ...
        self.fresh_after = -1  # ... the tracked lane must have answered something sent later
        self.near_bytes = 0  # bytes out of the near cache that were not handed to the socket yet
        self.flat = True  # the client speaks RESP2
        self.head: Run | None = None
        self.tail: Run | None = None
        self.owed = 0
        self.window = WINDOW_START
        self.stalls = 0
        self.mute = 0
        self.queued = -1  # commands queued since MULTI, as CLIENT LIST's multi=
        self.closed = False
        self.wire: asyncio.Transport | None = None
        self.rest = b""
        self.need = 0
        self.pieces: list[bytes] = []  # behind ``rest``, when that is large
        self.gathered = 0  # bytes of both
        self.odd = False  # an upload or a tunnel: bytes are not requests
        self.parsing = False
        self.at_drain = False  # something is to be done when nothing is outstanding
        self.replies = 0
        self.reply_bytes = 0
        self.out: bytes | None = None  # written in this turn, at first one piece,
        self.outs: list[bytes] | None = None  # then, the first included, all of them

    def data_received(self, data: bytes) -> None:
        self.active = self.turn.now
        if self.odd:
            self.odd_received(data)
            return
        if self.rest:
            large = len(self.rest) > _UPLOAD_AT and not self.stalls
            if large and self.gathered + len(data) < self.need:
                # A large request that is not whole yet: joined once, not for each read.
                self.pieces.append(data)
                self.gathered += len(data)
                return
            if self.pieces:
                self.pieces.append(data)
                data = self.take_rest()
            else:
                data = self.rest + data
                self.rest = b""
        if self.stalls or len(data) < self.need:
            self.keep(data)
            return
        self._parse(data, 0)

    def take_rest(self) -> bytes:
        """All that is unparsed."""
        rest = b"".join([self.rest, *self.pieces]) if self.pieces else self.rest
        self.rest = b""
        self.pieces.clear()
        return rest

    def _parse(self, data: bytes, pos: int) -> None:
        """Act on the requests in data from pos on, as far as they are whole and nothing stalls
        us."""
        end = len(data)
        specials = 0
        far = False
        self.parsing = True
        self.need = 0
        try:
            while pos < end and not self.stalls:
                limit = 1 if self.mute & _MUTE_SKIP else self.window - self.owed
                routes = self.far if far else self.routes
                far = False
                count = routes.scan(data, pos, limit)
                at = routes.end
                route = routes.route
                if count:
                    if routes.tells and not self.on_tracked:
                        self.read_far = True
                    run = data if at - pos == end else routes.part(data, pos, at)
                    self._forward(run, count, routes.reads, routes.marks)
                    pos = at
                if route == _MORE:
                    if end - pos <= _UPLOAD_AT:
                        break
                    at = self.upload(data, pos)
                    if at < 0:
                        break
                    pos = at
                elif route == _FULL:
                    if self.owed >= self.window:
                        self.stalls |= _STALL_WINDOW
                        self.at_drain = True
                elif route == _NEAR:
                    at = self._read_near(data, pos)
                    far = at == pos
                    pos = at
                elif route == _GETORSET:
                    at = self._near_hit(data, pos)
                    if at == pos:
                        at = self.special(data, pos, route)
                        if at < 0:
                            break
                    pos = at
                elif route == _WRITE_ONE and self.cache is not None:
                    at = self._write_one(data, pos)
                    if at == pos:
                        at = self.special(data, pos, route)
                        if at < 0:
                            break
                    pos = at
                elif not self.stalls:
                    at = self.special(data, pos, route)
                    if at < 0:
                        break
                    pos = at
                    if self.odd:  # it began a tunnel: what is behind it is not ours to read
                        if pos < end:
                            self.odd_received(data[pos:])
                        return
                    specials += 1
                    if specials == _SPECIALS_MAX:
                        self.yield_turn()
        finally:
            self.parsing = False
        if pos < end and not self.closed:
            self.keep(data[pos:] if pos else data)

    def _forward(self, data: bytes, count: int, reads: int, marks: bytes | None) -> None:
        """Send whole requests, ``count`` of them, where this session's requests go now."""
        slot: Run
        lane: LaneCore | None
        if self.mute:
            slot = MutedSlot(self, count)
            self.mute &= ~_MUTE_SKIP
        else:
            slot = Run.__new__(Run)  # without the call of __init__: 0.1 us of every request
            slot.session = self
            slot.want = count
            slot.count = count
            slot.reads = reads
            slot.marks = marks
            slot.flat = False
            slot.parts = None
            slot.following = None
        if len(data) < _LAST_MAX:
            self.last = data
        if self.queued >= 0:
            self.queued += count
        self._push_slot(slot)
        if self.on_tracked and self.tracked is not None:
            slot.flat = self.flat
            lane = self.tracked
        else:
            lane = self.lane
            if reads:
                self.read_far = True
            if lane is None:
                lane = self.attach()
        lane._send(data, slot)
        if lane.choked:
            self.wait_for(lane)

    def _read_near(self, data: bytes, pos: int) -> int:
        """Answer the GETs that begin at pos out of the near cache, and ask for those that are not
        there; the offset behind them. The same offset: not here, or not whole."""
        space, tracked = self.space, self.tracked
        if self.head is not None or space is None or self.mute:
            return pos
        if tracked is None or tracked.state is not READY or not tracked.tracking or not space.open:
            self.open_tracked()
            return pos
        if tracked.paused:  # for a client that does not read: what has changed is not heard of
            return pos
        routes, turn = self.routes, self.turn
        # From an empty queue on all is of one instant: no reply that is still to come can be of
        # an older one.
        fresh = tracked.done > self.fresh_after
        end, begin, missed = len(data), pos, 0
        now = turn.clock()
        limit = self.window
        cache = space.cache
        while pos < end and limit and not self.stalls:
            if fresh:
                count = routes.absent(data, pos, limit, cache.present, cache.sights, space.salt)
                if count:
                    if not missed:
                        begin = pos
                    missed += count
                    limit -= count
                    space.misses += count
                    pos = routes.end
                    continue
            key = routes.key(data, pos)
            if key is None or routes.words != 2 or routes.route != _NEAR:
                break
            at = routes.end
            limit -= 1
            entry = space.get(key, now) if fresh else None
            if entry is not None:
                if missed:
                    self._ask_tracked(routes.part(data, begin, pos), missed)
                    missed = 0
                self._say(entry.reply)
                self.near_bytes += entry.size
                if self.near_bytes > _WINDOW_BYTES:  # the client may not read so much
                    self.yield_turn()
            else:
                ticket = space.admit(key) if fresh else None
                if ticket is not None:
                    if missed:
                        self._ask_tracked(routes.part(data, begin, pos), missed)
                        missed = 0
                    self._fill(routes.part(data, pos, at), space, ticket, now)
                else:
                    if not missed:
                        begin = pos
                    missed += 1
            pos = at
        if missed:
            self._ask_tracked(routes.part(data, begin, pos), missed)
        return pos

    def _near_hit(self, data: bytes, pos: int) -> int:
        """Answer the GETORSET key at pos out of the near cache; the offset behind it, the same
        where it is not there."""
        space, tracked = self.space, self.tracked
        if self.head is not None or space is None or tracked is None or self.mute or self.asking:
            return pos
        usable = tracked.state is READY and tracked.tracking and space.open and not tracked.paused
        if not usable or tracked.done <= self.fresh_after:
            return pos
        routes = self.routes
        key = routes.key(data, pos)
        if key is None or routes.words != 2:
            return pos
        entry = space.entries.get(key)
        if entry is None or entry.reply is None:
            return pos
        entry = space.get(key, self.turn.clock())
        if entry is None:
            return pos
        self._say(entry.reply)
        self.near_bytes += entry.size
        if self.near_bytes > _WINDOW_BYTES:
            self.yield_turn()
        return routes.end

    def _say(self, reply: bytes | None) -> None:
        """An answer out of the near cache, in its place."""
        turn = self.turn
        if reply is None:
            turn.misses += 1
            reply = _NIL2 if self.flat else _NIL3
        else:
            turn.hits += 1
        tail = self.tail
        if tail is None:
            self.replies += 1
            self._write(reply)
        elif not tail.want and tail.parts is not None:
            tail.parts.append(reply)
            tail.count += 1
            self.owed += 1
        else:
            slot = Run(self, 0)
            slot.count = 1
            slot.parts = [reply]
            self._push_slot(slot)

    def _ask_tracked(self, data: bytes, count: int) -> None:
        """Read on the tracked lane, and keep nothing of it."""
        self._go_tracked()
        self._forward(data, count, count, None)

    def _fill(self, data: bytes, space: Space, ticket: Ticket, now: float) -> None:
        """Read on the tracked lane, and keep it."""
        self._go_tracked()
        lane = self.tracked
        assert lane is not None
        lead = PttlSlot(ticket, now)
        slot = Fill(self, space, lead)
        self._push_slot(slot)
        lane._send(FILL + data[_GET_HEAD:], lead)
        lane._send(data, slot)
        if len(data) < _LAST_MAX:
            self.last = data
        if lane.choked:
            self.wait_for(lane)

    def _go_tracked(self) -> None:
        """What follows waits, unless it is a read too: it would be on another lane."""
        if not self.on_tracked:
            self.on_tracked = True
            self.home = self.routes
            self.routes = self.near_only

    def _write_one(self, data: bytes, pos: int) -> int:
        """Forward the writes of one key each that begin at pos; the offset behind them."""
        routes = self.routes
        end, begin, count = len(data), pos, 0
        limit = 1 if self.mute & _MUTE_SKIP else self.window - self.owed
        keys: list[bytes] = []
        while pos < end and count < limit:
            key = routes.key(data, pos)
            if key is None or routes.route != _WRITE_ONE:
                break
            keys.append(key)
            pos = routes.end
            count += 1
        if count:
            self._forward_write(routes.part(data, begin, pos), count, keys, 0)
        return pos

    def _forward_write(self, data: bytes, count: int, keys: list[bytes] | None, reads: int) -> None:
        """Send whole requests that write these keys, None: any."""
        assert self.cache is not None
        forget(self.cache, keys)
        slot = WriteSlot(self, count, self.cache, keys)
        slot.reads = reads
        self.mute &= ~_MUTE_SKIP
        if len(data) < _LAST_MAX:
            self.last = data
        if self.queued >= 0:
            self.queued += count
        self._push_slot(slot)
        lane = self.lane
        if lane is None:
            lane = self.attach()
        lane._send(data, slot)
        if lane.choked:
            self.wait_for(lane)

    def _push_slot(self, slot: Run) -> None:
        """Take the place at the end of the answer queue."""
        if self.tail is None:
            self.head = slot
        else:
            self.tail.following = slot
        self.tail = slot
        self.owed += slot.count

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
        self.near_bytes = 0
        if self.wire is not None:
            self.wire.write(data)

    def _advance(self) -> None:
        """The head of the queue is filled: hand out what stands complete behind it."""
        slot = self.head
        while slot is not None and not slot.want:
            self.owed -= slot.count
            self.replies += slot.count
            slot = slot.following
            self.head = slot
            if slot is not None and slot.parts is not None:
                self._write(b"".join(slot.parts))
                slot.parts = None
        if self.replies >= self.window or self.reply_bytes > _WINDOW_BYTES:
            self._resize_window()
        if slot is None:
            self.tail = None
            if self.on_tracked or self.asking:
                self.on_tracked = self.asking = False
                self.routes = self.home
            elif self.read_far:
                self.read_far = False
                if self.tracked is not None:
                    self.fresh_after = self.tracked.sent
            if self.at_drain:
                self.drained()
        elif self.stalls & _STALL_WINDOW and self.owed * 2 <= self.window:
            self.resume(_STALL_WINDOW)

    def _resize_window(self) -> None:
        """As many replies outstanding as make about 4 MB, by the sizes lately seen; at most twice
        as many as before, for the next ones may be larger."""
        size = self.reply_bytes // max(1, self.replies) + 1
        self.window = max(1, min(WINDOW_MAX, 2 * self.window, WINDOW_BYTES // size))
        self.replies = self.reply_bytes = 0

    # The same for callers outside of this file: compiled, the names above are C functions.

    def parse(self, data: bytes, pos: int) -> None:
        self._parse(data, pos)

    def forward(self, data: bytes, count: int, reads: int = 0) -> None:
        self.read_far |= not self.on_tracked  # nobody has looked what it may tell
        self._forward(data, count, reads, None)

    def forward_write(
        self, data: bytes, count: int, keys: list[bytes] | None, reads: int = 0
    ) -> None:
        self.read_far = True
        self._forward_write(data, count, keys, reads)

    def go_tracked(self) -> None:
        self._go_tracked()

    def ask_own(self, slot: Run) -> None:
        """Take a place for a command of the proxy's own, which holds back what is not its like."""
        self._push_slot(slot)
        if not self.asking:
            self.asking = True
            if not self.on_tracked:
                self.home = self.routes
            self.routes = self.waiting

    def push_slot(self, slot: Run) -> None:
        self._push_slot(slot)

    def write(self, data: bytes) -> None:
        self._write(data)

    def advance(self) -> None:
        self._advance()

    # What session.py does.

    def odd_received(self, data: bytes) -> None:
        raise NotImplementedError

    def keep(self, data: bytes) -> None:
        raise NotImplementedError

    def upload(self, data: bytes, pos: int) -> int:
        raise NotImplementedError

    def special(self, data: bytes, pos: int, route: int) -> int:
        raise NotImplementedError

    def yield_turn(self) -> None:
        raise NotImplementedError

    def attach(self) -> LaneCore:
        raise NotImplementedError

    def open_tracked(self) -> None:
        raise NotImplementedError

    def wait_for(self, lane: LaneCore) -> None:
        raise NotImplementedError

    def drained(self) -> None:
        raise NotImplementedError

    def resume(self, reason: int) -> None:
        raise NotImplementedError

    def pushed(self, frame: bytes) -> None:
        raise NotImplementedError

    def abort(self, why: str) -> None:
        raise NotImplementedError


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
        self.dirty: list[SessionCore] = []
        # Reads of strings that the server has answered: with a value, with nil.
        self.hits = 0
        self.misses = 0

    def flush(self) -> None:
        dirty = self.dirty
        self.dirty = []
        for session in dirty:
            session.flush()
