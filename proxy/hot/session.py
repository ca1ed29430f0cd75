# cython: annotation_typing=False, language_level=3
"""What happens to every request that a client sends: bytes in, runs of requests out.

Plain Python with its types in session.pxd: the build compiles this very file, and where there is
no compiler it runs as it is (tests/test_pure.py). Compiled, a request costs 2 us less of the 7 us
that it costs plain (tests.bench, P=1, 50 connections). Everything that is not every request is in
session/, whose Session derives from SessionCore; methods that raise NotImplementedError are its.
What the modes are, and the moves between them: modes.py."""

from __future__ import annotations

# Names with _ are C functions, which the other files of this room call too.
# pyright: reportPrivateUsage=false
from ..near.cache import Space
from ..near.index import Entry, request_name
from ..resp.kernel import RouteMap, mix
from ..resp.modes import Mode
from ..resp.routes import FULL, MORE, Route
from .answers import STALL_WINDOW, WINDOW_BYTES, Turn
from .anyreads import AnySlot, words_of
from .fills import FILL, NIL2, NIL3, Fill
from .lane import CLOSED
from .many import ask_many, new_many_slot
from .names import Names
from .near import NearReading
from .own import OwnReads, TaskSlot, run_of
from .sending import MUTE_SKIP, Sender

UPLOAD_AT = 64 * 1024
LAST_MAX = 512
# Bytes that may be a pipeline: more requests than it does harm to let out unseen.
PIPELINE_AT = 128
# Requests that need more than forwarding, of one client in one loop turn: others wait meanwhile.
SPECIALS_MAX = 64

# Routes of requests that are taken one by one: GET, MGET, GETORSET, and writes of one key, which
# stands behind the name.
NEAR, WRITE_ONE, GETORSET = int(Route.NEAR), int(Route.WRITE_ONE), int(Route.GETORSET)
NEAR_MANY, NEAR_ANY = int(Route.NEAR_MANY), int(Route.NEAR_ANY)
LAST_GET, LAST_GETORSET = b"*2\r\n$3\r\nGET\r\n", b"*2\r\n$8\r\nGETORSET\r\n"
LAST_MGET = b"*2\r\n$4\r\nMGET\r\n"

# C integers in the compiled form (session.pxd), for the comparisons of every request.
_MORE, _FULL = MORE, FULL
_LAST_MAX, _SPECIALS_MAX, _UPLOAD_AT = LAST_MAX, SPECIALS_MAX, UPLOAD_AT
_PIPELINE_AT = PIPELINE_AT
_MUTE_SKIP, _STALL_WINDOW = MUTE_SKIP, STALL_WINDOW
_WINDOW_BYTES = WINDOW_BYTES
_NEAR, _WRITE_ONE, _GETORSET, _NEAR_MANY = NEAR, WRITE_ONE, GETORSET, NEAR_MANY
_NEAR_ANY = NEAR_ANY
_FAR, _TRACKED, _OWN = int(Mode.FAR), int(Mode.TRACKED), int(Mode.OWN)
_READ_THROUGH = int(Route.READ_THROUGH)
_GETORSET_HEAD, _GET_HEAD = len(LAST_GETORSET), len(LAST_GET)
_GET = LAST_GET
# What SessionCore._look_near finds.
_NOT_NEAR, _NOT_FRESH, _FRESH = 0, 1, 2


class SessionCore(Sender):
    """Bytes in, runs of requests out, replies to the client. See session/session.py for the
    drawing and the rest."""

    def __init__(self, maps: list[RouteMap], mode: int, near: NearReading, turn: Turn) -> None:
        super().__init__(maps, mode, near, turn)
        self.active = turn.now  # when bytes last went in or out, as Redis's lastinteraction
        self.received = 0  # bytes, for CLIENT LIST's tot-net-in=
        self.last = b""  # how the last request begins, for CLIENT LIST's cmd=
        self.names = Names()
        self.own: OwnReads  # set by who derives from this
        self.uses_own = False
        self.closed = self.parsing = False
        self.rest = b""
        self.need = 0
        self.pieces: list[bytes] = []  # behind ``rest``, when that is large
        self.gathered = 0  # bytes of both
        self.odd = False  # an upload or a tunnel: bytes are not requests

    def _note(self, data: bytes, pos: int, end: int) -> None:
        """The request in data[pos:end] is the client's last."""
        end = min(end, pos + _LAST_MAX)
        self.last = data if end - pos == len(data) else self.routes.part(data, pos, end)

    def data_received(self, data: bytes) -> None:
        self.active = self.turn.now
        self.received += len(data)
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
                if (self.owed or end - pos > _PIPELINE_AT) and self.names._unknown(data, pos):
                    self._narrow()
                limit = 1 if self.mute & _MUTE_SKIP else self.window - self.owed
                if far:
                    far = False
                    routes = self.maps[_FAR]
                    routes.worth = self.near._passing()
                    count = routes.scan(data, pos, limit)
                    routes.worth = None
                else:
                    routes = self.routes
                    count = routes.scan(data, pos, limit)
                at = routes.end
                route = routes.route
                if count:
                    if routes.tells and self.mode != _TRACKED:
                        self.near._elsewhere()
                    run = data if at - pos == end else routes.part(data, pos, at)
                    self._note(data, routes.last, at)
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
                elif route in (_NEAR, _NEAR_MANY):
                    at = self._read_near(data, pos)
                    far = at == pos
                    pos = at
                elif route == _NEAR_ANY:
                    at = self._read_any(data, pos)
                    if at == pos and self.mode == _TRACKED:
                        at = self.special(data, pos, route)
                        if at < 0:
                            break
                        pos = at
                    else:
                        far = at == pos
                        pos = at
                elif route in (_GETORSET, _READ_THROUGH):
                    at = self._get_or_set(data, pos, route)
                    if at == pos:
                        at = self.special(data, pos, route)
                        if at < 0:
                            break
                    pos = at
                elif route == _WRITE_ONE and self.near.cache is not None:
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

    def _look_near(self) -> int:
        """Whether reads may be answered near now: from an empty queue on all is of one instant,
        and no reply that is still to come can be of an older one. _NOT_FRESH: they may be asked on
        the tracked lane."""
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
            return _NOT_NEAR
        if not near._hears():
            return _NOT_NEAR
        return _FRESH if near._fresh() else _NOT_FRESH

    def _read_near(self, data: bytes, pos: int) -> int:
        """Answer the GETs and MGETs that begin at pos out of the near cache, and ask for what is
        not there; the offset behind them. The same offset: not here, or not whole."""
        found = self._look_near()
        if found == _NOT_NEAR:
            return pos
        routes, space, fresh = self.routes, self.near.space, found == _FRESH
        assert space is not None
        end, begin, missed = len(data), pos, 0
        now = self.turn.clock()
        sketch = space.cache.sketch
        limit, last = self.window, LAST_GET
        while pos < end and limit and not self.stalls:
            if fresh:
                count = routes.near(data, pos, limit, space.entries, sketch, now, self.flat)
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
                        space.hits += count
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

    def _read_any(self, data: bytes, pos: int) -> int:
        """The same for the other reads of one key (``near_reads``: all) that begin at pos."""
        found = _NOT_FRESH if self.mode == _TRACKED else self._look_near()
        space = self.near.space
        if found == _NOT_NEAR or space is None:
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
                self._answer(entry.reply, 1)
                self._count_near(len(entry.reply))
            else:
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

    def _read_many(self, routes: RouteMap, space: Space, keys: int, now: float) -> None:
        """Answer the MGET that the kernel has just looked up, or ask for what is missing of it."""
        turn = self.turn
        missing = len(routes.gaps)
        space.misses += missing
        space.hits += keys - missing
        turn.misses += routes.nils
        turn.hits += keys - missing - routes.nils
        for mixed in routes.sampled:
            space.cache._sample(mixed)
        told = routes.told
        assert told is not None
        if missing:
            slot = new_many_slot(self, space, routes, self.flat)
            self._ask_slot(ask_many(slot, space, routes, now), slot)
        else:
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
            if entry is None and ticket is None:
                if worth is not None:
                    worth._note(mix(key))
                keys.append(key)
                pieces.append(_GET)
                pieces.append(routes.part(data, pos + head_size, at))
            else:
                if keys:
                    self._ask_own(b"".join(pieces), keys)
                    keys, pieces = [], []
                if entry is not None:
                    self._say_entry(entry)
                else:
                    assert space is not None
                    assert ticket is not None
                    self.own.fill(self, key, Fill(space, ticket, now))
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
        turn = self.turn
        turn.misses += nils
        turn.hits += count - nils
        self._answer(replies, count)
        self._count_near(len(replies))

    def _count_near(self, size: int) -> None:
        near = self.near
        near.unsent += size
        if near.unsent > _WINDOW_BYTES:  # the client may not read so much
            self.yield_turn()

    def _write_one(self, data: bytes, pos: int) -> int:
        """Forward the writes of one key each that begin at pos; the offset behind them."""
        routes = self.routes
        end, begin, count, last = len(data), pos, 0, pos
        limit = 1 if self.mute & _MUTE_SKIP else self.window - self.owed
        keys: list[bytes] = []
        while pos < end and count < limit:
            key = routes.key(data, pos)
            if key is None or routes.route != _WRITE_ONE:
                break
            keys.append(key)
            last, pos = pos, routes.end
            count += 1
        if count:
            self._note(data, last, pos)
            self._forward_write(routes.part(data, begin, pos), count, keys, 0)
        return pos

    def _handed_over(self) -> None:
        self.active = self.turn.now
        self.near.unsent = 0

    def _emptied(self) -> None:
        self.near._settled()
        if self.mode >= _TRACKED:
            self._become(self.home)
        if self.at_drain:
            self.drained()

    # The same for callers outside of the compiled path: the names above are C functions there.

    def parse(self, data: bytes, pos: int) -> None:
        self._parse(data, pos)

    def reads_near(self) -> bool:
        """Whether what stands in the near cache may be told to the client now."""
        return self._look_near() == _FRESH

    def count_near(self, size: int) -> None:
        """Bytes out of the near cache have been answered."""
        self._count_near(size)

    # What session/ does.

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

    def open_tracked(self) -> None:
        raise NotImplementedError

    def drained(self) -> None:
        raise NotImplementedError
