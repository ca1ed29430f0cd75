"""A connection to a server that is the whole cluster: what a lane has that is lent to one client.

    Lane.write ─▶ cut ─▶ waiting ─▶ one by one ─┬─▶ ordinary: the shared virtual lane of our key
    (whole requests)        ▲                   ├─▶ MULTI ... EXEC: watching.py, transaction.py
                            └── while one that  ├─▶ blocking.py, pubsub.py, waits.py: real lanes
                                is alone runs   └─▶ who we are: identity.py
    Lane.data_received ◀── once per turn ── Replies

It is the in-memory transport of a Lane and of nothing else: has only those methods of a transport
that a Lane uses. What it answers comes in later turns, never inside ``write``. A request that runs
alone is begun when all before it are answered, and those behind it wait for its answer: as on a
server's connection, and as the state that it changes demands. Owns the order and the state; what
each command does is the modules' above."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol, cast

from ..errors import BadInput
from ..hot.lane import LaneState
from ..resp.kernel import BROKEN, DONE, Cutter, split
from ..table.table import Command
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey, Use
from .cluster import Cluster
from .plans import Plan
from .replies import Replies

log = logging.getLogger(__name__)

# Bytes of one request, which is kept until it is answered, and of those that wait.
REQUEST_MAX: Final = 64 * 1024 * 1024
WAITING_MAX: Final = 4 * 1024 * 1024
TOO_LARGE: Final = BadInput(f"a request of more than {REQUEST_MAX} bytes is not possible here")
_CUT: Final = b""  # stands for a request that was too large

# Gets the words, the request, and what takes the answer of one that runs alone.
Answer = Callable[[bytes], None]
Act = Callable[["Connection", list[bytes], bytes], None]


class Acts(Protocol):
    """What knows the commands (acts.py)."""

    def find(self, connection: Connection, words: Sequence[bytes]) -> tuple[Act | None, bool]:
        """What is done with a request, and whether it is done alone; None: it is ordinary."""
        ...

    def upload(self, connection: Connection, pieces: Sequence[bytes]) -> Passing | None:
        """Have a request pass that begins so, and is too large to be kept; None: it cannot."""
        ...


class Passing(Protocol):
    """A request that passes (uploading.py)."""

    def more(self, piece: bytes) -> None: ...
    def whole(self) -> None: ...


class Virtual(Protocol):
    """What the connections of a cluster share (dial.py)."""

    cluster: Cluster
    hellos: dict[int, bytes]

    def next_id(self) -> int: ...
    def ended(self, connection: Connection) -> None: ...
    @property
    def shared(self) -> Callable[[LaneKey], Lane]: ...
    @property
    def plan(self) -> Callable[[Sequence[bytes]], Plan]: ...


class State(Protocol):
    """Something that the connection holds: ends with it, or with RESET."""

    def end(self) -> None: ...


class Connection(asyncio.Transport):
    def __init__(self, protocol: asyncio.Protocol, virtual: Virtual, acts: Acts) -> None:
        super().__init__()
        self.key = LaneKey()
        self.id = virtual.next_id()
        self.virtual = virtual
        self.cluster = virtual.cluster
        self.replies = Replies(self, self._hand_out_soon, self.lose)
        self.states: dict[type, Any] = {}
        self._acts = acts
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._cutter = Cutter(True)
        self._pieces: list[bytes] = []  # of the request that is not whole
        self._size = 0  # of all of it that has come
        self._passing: Passing | None = None  # it is not kept
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._alone = False  # one runs, and all others wait
        self._choked = False
        self._held = False  # what passes through waits
        self._full = False  # the lane was told to write no more
        self._paused = False  # nothing is taken from us
        self._large = False  # it was so while answers were to come
        self._lane: Lane | None = None
        self._ended = False

    def __repr__(self) -> str:
        state = "ended" if self._ended else "alone" if self._alone else "open"
        return (
            f"<Connection {state} db={self.key.db} waiting={len(self._waiting)} {self.replies!r}>"
        )

    @property
    def commands(self) -> Mapping[bytes, Command]:
        return self.cluster.commands()

    @property
    def valkey(self) -> bool:
        """Whether the nodes are Valkeys."""
        return self.cluster.valkey()

    def state(self, kind: type) -> Any:
        """What of this kind is held; None: nothing."""
        return self.states.get(kind)

    # --- Requests -------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        if self._ended:
            return
        pos = 0
        while pos < len(data):
            at = self._cutter.cut(data, pos, 1)
            if self._cutter.stop == BROKEN:
                self.lose("a request that is not canonical")
                return
            self._gather(data[pos:at] if at - pos < len(data) else data)
            pos = at
        self.go_on()

    def _gather(self, piece: bytes) -> None:
        whole = self._cutter.stop == DONE
        self._size += len(piece)
        if self._passing is not None:
            self._passing.more(piece)
            if whole:
                self._passing.whole()
        elif self._size <= REQUEST_MAX:
            self._pieces.append(piece)
        elif self._pieces:
            self._pieces.append(piece)
            idle = not (self._waiting or self._alone or self.replies.owing or self._choked)
            self._passing = self._acts.upload(self, self._pieces) if idle and not whole else None
            self._pieces.clear()
        if whole:
            if self._passing is None:
                request = b"".join(self._pieces) if self._size <= REQUEST_MAX else _CUT
                self._waiting.append(request)
                self._waiting_bytes += len(request)
            self._pieces.clear()
            self._size, self._passing = 0, None

    def go_on(self) -> None:
        """Do what waits, as far as it may be done now."""
        while self._waiting and not (self._alone or self._choked or self._ended):
            request = self._waiting[0]
            try:
                if not self._begin(request):
                    break
            except Exception:
                # A defect of ours must cost this client its connection, and not have it wait.
                log.exception("a request failed")
                self.lose("a defect in the proxy")
                return
            self._waiting.popleft()
            self._waiting_bytes -= len(request)
        self._tell_room()

    def _begin(self, request: bytes) -> bool:
        """False: not before all others are answered."""
        words, _ = split(request, 0)
        if not words:
            self.replies.say(TOO_LARGE.line)
            return True
        act, alone = self._acts.find(self, words)
        if alone and self.replies.owing:
            return False
        if act is None:
            self.ordinary(request)
        else:
            act(self, words, request)
        return True

    def ordinary(self, request: bytes) -> None:
        """Have it done by the shared lane."""
        lane = self.lane()
        lane.send(request, self.replies.place())
        if lane.choked:
            self._choked = True
            lane.waiting_for_room.append(cast(Any, self))

    def alone(self) -> Answer:
        """The request runs alone: nothing else does until what is returned is called with its
        answer."""
        place = self.replies.place()
        self._alone = True

        def answered(reply: bytes) -> None:
            if self._ended:
                return
            self._alone = False
            place.fill(reply)
            self._loop.call_soon(self.go_on)

        return answered

    def lane(self) -> Lane:
        """The shared virtual lane of our key."""
        lane, wanted = self._lane, self.key
        aside = lane is not None and lane.key.use is Use.ASIDE
        if aside or (self._large and not self.replies.owing):
            wanted = replace(wanted, use=Use.ASIDE)  # others need not wait behind its replies
        if lane is None or lane.key != wanted or lane.state is LaneState.CLOSED:
            self._leave()
            lane = self._lane = self.virtual.shared(wanted)
            lane.users += 1
        return lane

    def _leave(self) -> None:
        if self._lane is not None:
            self._lane.users -= 1
            self._lane = None

    def lane_writable(self, lane: Lane) -> None:
        """The shared lane takes more (ports.Owner)."""
        self._choked = False
        self.go_on()

    def hold(self, held: bool) -> None:
        """Whether what passes through has to wait."""
        self._held = held
        self._tell_room()

    def _tell_room(self) -> None:
        full = self._held or self._waiting_bytes > WAITING_MAX
        if full != self._full and not self._ended:
            self._full = full
            (self._protocol.pause_writing if full else self._protocol.resume_writing)()

    # --- Answers --------------------------------------------------------------------------------

    def say(self, reply: bytes) -> None:
        """An answer that is there already."""
        self.replies.say(reply)

    def null(self, *, array: bool = False) -> bytes:
        if self.key.resp == 3:
            return b"_\r\n"
        return b"*-1\r\n" if array else b"$-1\r\n"

    def _hand_out_soon(self) -> None:
        self._loop.call_soon(self._hand_out)

    def _hand_out(self) -> None:
        if self._ended or self._paused:
            return
        data = self.replies.take()
        if data:
            self._protocol.data_received(data)
        if self._waiting and not self.replies.owing:
            self.go_on()

    def pause_reading(self) -> None:
        self._paused = True
        self._large = self._large or self.replies.owing
        if self._lane is not None:
            self._lane.pause_reading(self)

    def resume_reading(self) -> None:
        self._paused = False
        if self._lane is not None:
            self._lane.resume_reading(self)
        self._hand_out_soon()

    # --- The rest of a transport ----------------------------------------------------------------

    def lose(self, why: str) -> None:
        """It ends as a server's does that dies: what is asked and not answered is lost."""
        self._end(ConnectionError(why))

    def abort(self) -> None:
        self._end(None)

    def close(self) -> None:
        self._end(None)

    def is_closing(self) -> bool:
        return self._ended

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._waiting.clear()
        self.virtual.ended(self)
        self.drop_states()
        if self._lane is not None:
            self._lane.resume_reading(self)
        self._leave()
        self._loop.call_soon(self._protocol.connection_lost, error)

    def drop_states(self) -> None:
        """All that is held is over."""
        states, self.states = self.states, {}
        for state in states.values():
            state.end()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Its own bound holds: WAITING_MAX."""

    def get_write_buffer_size(self) -> int:
        return self._waiting_bytes + sum(map(len, self._pieces))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """It has no socket."""
        return default
