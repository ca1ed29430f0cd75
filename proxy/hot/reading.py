# cython: annotation_typing=False, language_level=3
"""Reads that may be answered near: out of the near cache, or by the tracked lane that fills it.

    GET, MGET ─────────▶ _read_near    the kernel walks hits and first misses in C
    HGET, SMEMBERS ... ▶ _read_any     one by one (``near_reads``: all)
    GETORSET ──────────▶ _get_or_set   as GETs, whose nils are for session/acts/own.py

Each takes a run of requests and says where it stopped. Whether anything may be answered near at
all is one question, asked once for a run: ``_look_near``. When to ask is session.py's."""

from __future__ import annotations

# Names with _ are C functions, which the other files of this room call too.
# pyright: reportPrivateUsage=false
from ..near.cache import Space
from ..near.index import Entry, request_name
from ..resp.kernel import RouteMap, mix
from ..resp.modes import Mode
from ..resp.routes import Route
from .answers import WINDOW_BYTES, Turn
from .anyreads import AnySlot, words_of
from .fills import FILL, NIL2, NIL3, Fill
from .lane import CLOSED, READY
from .many import ask_many, new_many_slot, new_mixed_slot
from .near import NearReading
from .own import OwnReads, TaskSlot, run_of
from .sending import MUTE_SKIP, Sender

LAST_MAX = 512
# Routes of what is read here.
NEAR, NEAR_MANY, NEAR_ANY = int(Route.NEAR), int(Route.NEAR_MANY), int(Route.NEAR_ANY)
READ_THROUGH = int(Route.READ_THROUGH)
LAST_GET, LAST_GETORSET = b"*2\r\n$3\r\nGET\r\n", b"*2\r\n$8\r\nGETORSET\r\n"
LAST_MGET = b"*2\r\n$4\r\nMGET\r\n"

# C integers in the compiled form (reading.pxd), for the comparisons of every request.
_LAST_MAX = LAST_MAX
_MUTE_SKIP, _WINDOW_BYTES = MUTE_SKIP, WINDOW_BYTES
_NEAR, _NEAR_MANY, _NEAR_ANY, _READ_THROUGH = NEAR, NEAR_MANY, NEAR_ANY, READ_THROUGH
_FAR, _TRACKED, _OWN = int(Mode.FAR), int(Mode.TRACKED), int(Mode.OWN)
_GETORSET_HEAD, _GET_HEAD = len(LAST_GETORSET), len(LAST_GET)
_GET = LAST_GET
# What Reader._look_near finds.
_NOT_NEAR, _NOT_FRESH, _FRESH, _AWAY = 0, 1, 2, 3


class Reader(Sender):
    """The reads of one session."""

    def __init__(self, maps: list[RouteMap], mode: int, near: NearReading, turn: Turn) -> None:
        super().__init__(maps, mode, near, turn)
        self.last = b""  # how the last request begins, for CLIENT LIST's cmd=
        self.own: OwnReads  # set by who derives from this
        self.timed = False  # of some keys it is to be known how long they last (OwnReads.timed)
        self.uses_own = False

    def _note(self, data: bytes, pos: int, end: int) -> None:
        """The request in data[pos:end] is the client's last."""
        end = min(end, pos + _LAST_MAX)
        self.last = data if end - pos == len(data) else self.routes.part(data, pos, end)

    def _look_near(self) -> int:
        """Whether reads may be answered near now: from an empty queue on all is of one instant,
        and no reply that is still to come can be of an older one. _NOT_FRESH: they may be asked on
        the tracked lane. _AWAY: there is none, and what stood as it was lost may be told."""
        near = self.near
        space = near.space
        if space is not None and space.open and not space._pays():
            return _NOT_NEAR
        if self.head is not None or self.mute:
            return _NOT_NEAR
        if space is None:
            if near.again and near.again <= self.turn.now:
                self.open_tracked()
            return _NOT_NEAR
        if not near._stands():
            self.open_tracked()
            away = space.until > self.turn.now and self.own.away(self)
            return _AWAY if away else _NOT_NEAR
        if not near._hears():
            return _NOT_NEAR
        return _FRESH if near._fresh() else _NOT_FRESH

    def _read_near(self, data: bytes, pos: int) -> int:
        """Answer the GETs and MGETs that begin at pos out of the near cache, and ask for what is
        not there; the offset behind them. The same offset: not here, or not whole."""
        found = self._look_near()
        if found == _NOT_NEAR:
            return pos
        if found == _AWAY:
            return self._read_away(data, pos)
        routes, space, fresh = self.routes, self.near.space, found == _FRESH
        assert space is not None
        end, begin, missed = len(data), pos, 0
        now = self.turn.clock()
        sketch = space.cache.sketch
        limit, last = self.window, LAST_GET
        # In a cluster each asks a node of its own.
        mixed = self.near.lane is not None and self.near.lane.router is None
        while pos < end and limit and not self.stalls:
            if fresh:
                count = routes.near(data, pos, limit, space.entries, sketch, now, self.flat, mixed)
                if count:
                    if routes.told is None:
                        if not missed:
                            begin = pos
                        missed += count
                        space.misses += count
                    else:
                        if missed:
                            self._ask_tracked(routes.part(data, begin, pos), missed)
                            missed = 0
                        if routes.missing:
                            self._read_mixed(routes, space, count, now)
                        else:
                            space.hits += count
                            self.turn.near_reads += count
                            self._say_near(routes.told, count, routes.nils)
                    limit -= count
                    pos, last = routes.end, LAST_GET
                    continue
                keys = routes.many(data, pos, space.entries, sketch, now, self.flat)
                if keys:
                    at = routes.end
                    if routes.told is None:
                        if not missed:
                            begin = pos
                        missed += 1
                        space.misses += keys
                    else:
                        if missed:
                            self._ask_tracked(routes.part(data, begin, pos), missed)
                            missed = 0
                        self._read_many(routes, space, keys, now)
                    limit -= 1
                    pos, last = at, LAST_MGET
                    continue
            key = routes.key(data, pos)
            if key is None:
                break
            if routes.route == _NEAR_MANY and not fresh:
                last = LAST_MGET
            elif routes.words == 2 and routes.route == _NEAR:
                last = LAST_GET
            else:
                break
            at = routes.end
            limit -= 1
            entry = space.get(key, now) if fresh else None
            if entry is not None:
                if missed:
                    self._ask_tracked(routes.part(data, begin, pos), missed)
                    missed = 0
                self.turn.near_reads += 1
                self._say_entry(entry)
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
        if limit != self.window:
            self.last = last
        return pos

    def _read_away(self, data: bytes, pos: int) -> int:
        """Answer the GETs and MGETs that begin at pos with what stood as the link was lost, while
        the server is away (``stale_if_down``); the offset behind them, where something is not
        there."""
        routes, space, now = self.routes, self.near.space, self.turn.clock()
        assert space is not None
        cache, limit = space.cache, self.window
        while pos < len(data) and limit and not self.stalls:
            keys = routes.many(data, pos, space.entries, cache.sketch, now, self.flat)
            if keys:
                if routes.told is None or routes.gaps:
                    break
                at, told = routes.end, routes.told
                self.turn.misses += routes.nils
                self.turn.near_nils += routes.nils
                self.turn.hits += keys - routes.nils
                self.turn.near_hits += keys - routes.nils
                self.turn.near_reads += 1
                self._answer(told, 1)
                self._count_near(len(told))
                self.last = LAST_MGET
            else:
                key = routes.key(data, pos)
                if key is None or routes.words != 2 or routes.route != _NEAR:
                    break
                at, keys = routes.end, 1
                entry = space.get(key, now)
                if entry is None:
                    break
                self._say_entry(entry)
                self.turn.near_reads += 1
                self.last = LAST_GET
            cache.down_hits += keys
            limit -= 1
            pos = at
        return pos

    def _read_any(self, data: bytes, pos: int) -> int:
        """The same for the other reads of one key (``near_reads``: all) that begin at pos."""
        found = _NOT_FRESH if self.mode == _TRACKED else self._look_near()
        space = self.near.space
        if found in (_NOT_NEAR, _AWAY) or space is None:
            return pos
        routes, fresh, now = self.routes, found == _FRESH, self.turn.clock()
        others, limit = space.other(), self.window - self.owed
        asked: set[bytes] = set()
        while limit > 0 and not self.stalls:
            key = routes.key(data, pos)
            if key is None or routes.route != _NEAR_ANY:
                break
            words, at = routes.words, routes.end
            request = routes.part(data, pos, at)
            if words != 2 and request.split(b"\r\n", 3)[2].upper() == b"EXISTS":
                break  # of several keys
            limit -= 1
            # What is asked may be answered with what is newer than all that stands here of the key.
            near = fresh and key not in asked
            name = request_name(request, self.flat)
            entry = others.get(name, now) if near else None
            if entry is not None and entry.reply is not None:
                self.turn.near_reads += 1
                self._answer(entry.reply, 1)
                self._count_near(len(entry.reply))
            else:
                self.turn.asking += 1
                asked.add(key)
                ticket = others.admit(name) if near else None
                fill = None if ticket is None else Fill(others, ticket, now)
                self._ask_any(request, key, fill)
            self._note(data, pos, at)
            pos = at
        space.tally()
        return pos

    def _ask_any(self, request: bytes, key: bytes, fill: Fill | None) -> None:
        """Read on the tracked lane, and keep it where there is a fill."""
        self._go_tracked()
        lane = self.near.lane
        assert lane is not None
        slot = AnySlot(self, words_of(request), fill, self.flat)
        self._push_slot(slot)
        if fill is not None:
            lane._send(FILL + b"$%d\r\n%b\r\n" % (len(key), key), fill)
        lane._send(request, slot)
        if lane.choked:
            self.wait_for(lane)

    def _read_mixed(self, routes: RouteMap, space: Space, count: int, now: float) -> None:
        """Ask for what is missing of so many GETs, which the kernel has just looked up; the rest is
        answered with it: a slot for each run of either would cost more than the server does."""
        turn, missing = self.turn, routes.missing
        hits = count - missing
        space.misses += missing
        space.hits += hits
        turn.misses += routes.nils
        turn.near_nils += routes.nils
        turn.hits += hits - routes.nils
        turn.near_hits += hits - routes.nils
        turn.near_reads += hits
        turn.asking += missing
        for hashed in routes.sampled:
            space.cache._sample(hashed)
        slot = new_mixed_slot(self, space, routes, count, self.flat)
        self._ask_slot(ask_many(slot, space, routes, now), slot)

    def _read_many(self, routes: RouteMap, space: Space, keys: int, now: float) -> None:
        """Answer the MGET that the kernel has just looked up, or ask for what is missing of it."""
        turn = self.turn
        missing = len(routes.gaps)
        space.misses += missing
        space.hits += keys - missing
        turn.misses += routes.nils
        turn.near_nils += routes.nils
        turn.hits += keys - missing - routes.nils
        turn.near_hits += keys - missing - routes.nils
        for hashed in routes.sampled:
            space.cache._sample(hashed)
        told = routes.told
        assert told is not None
        if missing:
            turn.asking += 1
            space.vain += keys - missing
            slot = new_many_slot(self, space, routes, self.flat)
            self._ask_slot(ask_many(slot, space, routes, now), slot)
        else:
            turn.near_reads += 1
            self._answer(told, 1)
            self._count_near(len(told))

    def _get_or_set(self, data: bytes, pos: int, route: int) -> int:
        """Answer the GETORSETs of a key alone that begin at pos out of the near cache, or ask for
        them as GETs, and by their route GETs of keys that are loaded; the offset behind them. The
        same offset: none such, or not now."""
        mode = self.mode
        if mode != _OWN and mode != _TRACKED and (mode > _FAR or self.head is not None):
            return pos  # something is outstanding elsewhere
        head = self.head
        if type(head) is TaskSlot and head.alone:
            return pos
        fresh = self._look_near() == _FRESH
        lane = self.near.lane
        if not fresh and lane is not None and lane.state is not READY and self.own.away(self):
            return pos
        routes, space, worth = self.routes, self.near.space, None
        now = 0.0
        if fresh:
            now = self.turn.clock()
        else:
            worth = self.near._passing()
        keys: list[bytes] = []
        pieces: list[bytes] = []
        begin, end = pos, len(data)
        through = route == _READ_THROUGH
        head_size = _GET_HEAD if through else _GETORSET_HEAD
        limit = 1 if self.mute & _MUTE_SKIP else self.window - self.owed
        while pos < end and limit > 0 and not self.stalls:
            key = routes.key(data, pos)
            if key is None or routes.words != 2 or routes.route != route:
                break
            at = routes.end
            if through and not (data.startswith(_GET, pos) and self.own.reads_through(self, key)):
                break
            limit -= 1
            entry = ticket = None
            if fresh:
                assert space is not None
                entry = space.get(key, now)
                if entry is None or entry.reply is None:
                    entry, ticket = None, space.admit(key)
            if through:
                self.turn.near_reads += entry is not None
                self.turn.asking += entry is None
            else:
                self.turn.near_owns += entry is not None
                self.turn.owns += entry is None
            if entry is None and (ticket is not None or (self.timed and self.own.timed(self, key))):
                if keys:
                    self._ask_own(b"".join(pieces), keys)
                    keys, pieces = [], []
                fill = None
                if ticket is not None:
                    assert space is not None
                    fill = Fill(space, ticket, now)
                self.own.fill(self, key, fill)
            elif entry is None:
                if worth is not None:
                    worth._note(mix(key), 1)
                keys.append(key)
                pieces.append(_GET)
                pieces.append(routes.part(data, pos + head_size, at))
            else:
                if keys:
                    self._ask_own(b"".join(pieces), keys)
                    keys, pieces = [], []
                self._say_entry(entry)
            pos = at
        if keys:
            one = len(keys) == 1
            self._ask_own(_GET + pieces[1] if one else b"".join(pieces), keys)
        if pos != begin:
            self.last = LAST_GET if through else LAST_GETORSET
        return pos

    def _ask_own(self, data: bytes, keys: list[bytes]) -> None:
        """Ask for these keys on the tracked lane, where what follows of their kind may follow."""
        if not self.uses_own:
            self.uses_own = True
            self.own.used(self)
        lane = self.near.lane
        if lane is None or lane.state is CLOSED:
            self.open_tracked()
            lane = self.near.lane
        assert lane is not None
        run = run_of(self, lane, keys, self.mute != 0, self.own)
        self.mute &= ~_MUTE_SKIP
        self._push_slot(run.place)
        if self.mode != _OWN:
            self._become(_OWN)
        lane._send(data, run)
        if lane.choked:
            self.wait_for(lane)

    def _say_entry(self, entry: Entry) -> None:
        reply = entry.reply
        if reply is None:
            self._say_near(NIL2 if self.flat else NIL3, 1, 1)
        else:
            self._say_near(reply, 1, 0)

    def _say_near(self, replies: bytes, count: int, nils: int) -> None:
        """So many answers out of the near cache, in their place."""
        self.turn.hits += count - nils
        self.turn.near_hits += count - nils
        if nils:
            self.turn.misses += nils
            self.turn.near_nils += nils
        self._answer(replies, count)
        self._count_near(len(replies))

    def _count_near(self, size: int) -> None:
        near = self.near
        near.unsent += size
        if near.unsent > _WINDOW_BYTES:  # the client may not read so much
            self.yield_turn()

    # The same for callers outside of the compiled path: the names above are C functions there.

    def reads_near(self) -> bool:
        """Whether what stands in the near cache may be told to the client now."""
        return self._look_near() == _FRESH

    def count_near(self, size: int) -> None:
        """Bytes out of the near cache have been answered."""
        self._count_near(size)

    # What session/ does.

    def yield_turn(self) -> None:
        raise NotImplementedError

    def open_tracked(self) -> None:
        raise NotImplementedError
