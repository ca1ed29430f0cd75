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
from ..resp.kernel import RouteMap
from ..resp.modes import Mode
from ..resp.routes import FULL, MORE, Route
from .answers import STALL_WINDOW, Turn
from .lane import TURN_BYTES
from .names import Names
from .near import NearReading
from .reading import NEAR, NEAR_ANY, NEAR_MANY, READ_THROUGH, Reader
from .sending import MUTE_SKIP

UPLOAD_AT = 64 * 1024
# Bytes that may be a pipeline: more requests than it does harm to let out unseen.
PIPELINE_AT = 128
# Requests that need more than forwarding, of one client in one loop turn: others wait meanwhile.
SPECIALS_MAX = 64

# Routes of requests that are taken one by one, beside those of reading.py: GETORSET, and writes of
# one key, which stands behind the name.
WRITE_ONE, GETORSET = int(Route.WRITE_ONE), int(Route.GETORSET)

# C integers in the compiled form (session.pxd), for the comparisons of every request.
_MORE, _FULL = MORE, FULL
_SPECIALS_MAX, _UPLOAD_AT = SPECIALS_MAX, UPLOAD_AT
_PIPELINE_AT = PIPELINE_AT
_MUTE_SKIP, _STALL_WINDOW = MUTE_SKIP, STALL_WINDOW
_NEAR, _NEAR_MANY, _NEAR_ANY, _READ_THROUGH = NEAR, NEAR_MANY, NEAR_ANY, READ_THROUGH
_WRITE_ONE, _GETORSET = WRITE_ONE, GETORSET
_FAR, _TRACKED = int(Mode.FAR), int(Mode.TRACKED)


class SessionCore(Reader):
    """Bytes in, runs of requests out, replies to the client. See session/session.py for the
    drawing and the rest."""

    def __init__(self, maps: list[RouteMap], mode: int, near: NearReading, turn: Turn) -> None:
        super().__init__(maps, mode, near, turn)
        self.active = turn.now  # when bytes last went in or out, as Redis's lastinteraction
        self.received = 0  # bytes, for CLIENT LIST's tot-net-in=
        self.names = Names()
        self.closed = self.parsing = False
        self.rest = b""
        self.need = 0
        self.pieces: list[bytes] = []  # behind ``rest``, when that is large
        self.gathered = 0  # bytes of both
        self.odd = False  # an upload or a tunnel: bytes are not requests

    def data_received(self, data: bytes) -> None:
        self.active = self.turn.now
        self.received += len(data)
        if len(data) >= TURN_BYTES:
            self.rest_a_turn()
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
        # Without a local name for it, which would cost a GET 18 instructions (callgrind).
        self.turn.countdown -= 1
        if self.turn.countdown > 0:
            self._parse(data, 0)
        else:
            self._parse_timed(data)

    def _parse_timed(self, data: bytes) -> None:
        turn = self.turn
        began, near = turn.begin(), turn.near_reads + turn.near_owns
        asked = turn.asking + turn.writing + turn.others + turn.owns
        self._parse(data, 0)
        near = turn.near_reads + turn.near_owns - near
        asked = turn.asking + turn.writing + turn.others + turn.owns - asked
        self.time(began, near != 0, data, near + asked)

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
                    self.turn.asking += routes.asking
                    self.turn.writing += routes.writing
                    self.turn.others += count - routes.asking - routes.writing
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
            self.turn.writing += count
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

    # What session/ does.

    def rest_a_turn(self) -> None:
        """Read no more in this turn of the loop: others wait."""
        raise NotImplementedError

    def time(self, began: float, near: bool, data: bytes, count: int) -> None:
        """What has just been parsed is to be timed, from then on, and sampled: some ``count``
        requests. ``near``: some were answered near."""
        raise NotImplementedError

    def odd_received(self, data: bytes) -> None:
        raise NotImplementedError

    def keep(self, data: bytes) -> None:
        raise NotImplementedError

    def upload(self, data: bytes, pos: int) -> int:
        raise NotImplementedError

    def special(self, data: bytes, pos: int, route: int) -> int:
        raise NotImplementedError

    def drained(self) -> None:
        raise NotImplementedError
