"""A lane to a master that may become a replica: what it refuses then is asked again elsewhere.

    -READONLY ─▶ nothing that stands behind it on this connection has written anything either
                 ├─ shared ─▶ all of it waits for the next connection, as if it had not been sent
                 └─ lent   ─▶ the lane is over: the client's state was the connection's

Sent again is only what the server refused before it ran, and what it answered as a replica. Not so
where a script was asked: its reply may say anything, and one that we believed on a master would
have what follows done twice. The server is asked ROLE then. For the same reason not what works on
replicas too (NOT_TWICE)."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any, Final

from ...errors import ProtocolError, UpstreamLost
from ...hot.answers import Slot
from ...hot.lane import LaneState
from ...resp.requests import Partial, encode, parse_request
from ..ask import AskSlot, Reply, drop
from ..asker import CACHING
from ..handshake import MASTER, role_of
from ..lane import Lane
from ..lane_key import Use

REFUSAL: Final = b"-READONLY "
SCRIPTS: Final = frozenset({b"EVAL", b"EVALSHA", b"FCALL", b"EXEC"})
# What a replica does as well, and nobody may do twice.
NOT_TWICE: Final = frozenset(
    {b"PUBLISH", b"SPUBLISH", b"CONFIG", b"CLIENT", b"SCRIPT", b"ACL", b"DEBUG", b"LATENCY",
     b"SLOWLOG", b"COMMANDLOG", b"FAILOVER", b"REPLICAOF", b"SLAVEOF", b"SHUTDOWN", b"MODULE"}
)  # fmt: skip


def requests_in(data: bytes) -> list[tuple[int, bytes]] | None:
    """Where each request of a piece begins, and its command. None: they cannot be told apart."""
    found: list[tuple[int, bytes]] = []
    pos = 0
    while pos < len(data):
        try:
            request = parse_request(data, pos)
        except ProtocolError:
            return None
        if isinstance(request, Partial) or not request.args:
            return None
        name = request.args[0].upper()
        caching = name == b"CLIENT" and request.args[1:2] == [b"CACHING"]  # ours
        found.append((pos, b"CLIENT|CACHING" if caching else name))
        pos = request.end
    return found


class MasterLane(Lane):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._sent: deque[tuple[Slot, bytes]] = deque()  # what is not answered, oldest first
        self._tail = b""  # what may be how a refusal begins
        self._asked = False  # its role

    def flush(self) -> None:
        pieces = list(self.out)
        super().flush()
        if pieces and not self.out and not self.lent:
            slots = islice(self.waiting, len(self.waiting) - len(pieces), None)
            self._sent.extend(zip(slots, pieces, strict=True))
            self._trim()

    def _trim(self) -> None:
        """Forget what has been answered."""
        owed = len(self.waiting) - len(self.out)
        while len(self._sent) > owed:
            self._sent.popleft()

    def _forgotten(self) -> None:
        super()._forgotten()
        self._sent.clear()
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        if self._tail:
            data, self._tail = self._tail + data, b""
        dash = data.rfind(b"-", -len(REFUSAL) + 1)
        if dash >= 0 and REFUSAL.startswith(data[dash:]):
            data, self._tail = data[:dash], data[dash:]
        at = data.find(REFUSAL) if self.state is LaneState.READY and self.plain_framing else -1
        while at >= 0:
            if at:
                super().data_received(data[:at])
                data = data[at:]
            if self.state is not LaneState.READY or self._refused():
                return  # nobody waits for what comes
            at = data.find(REFUSAL, 1)
        if data:
            super().data_received(data)
        self._trim()

    def _refused(self) -> bool:
        """Whether what comes next is the server's word that it is no master, on which we have left
        it."""
        if self.cutter.inside or self.frame or not self.waiting:
            return False  # a part of a value
        if self.lent:
            self.give_up(UpstreamLost("the server has become a replica"))
            return True
        self._trim()
        slot = self.waiting[0]
        if not self._sent or self._sent[0][0] is not slot:
            return False
        data = self._sent[0][1]
        asked = requests_in(data)
        if asked is None or len(asked) < slot.want:
            return False
        answered = len(asked) - slot.want
        begin, name = asked[answered]
        if name in SCRIPTS and not isinstance(slot, AskSlot):  # our own say what they met
            self._ask_role()
            return False
        self._sent[0] = (slot, data[begin:])
        if name in SCRIPTS and self.key.use is Use.TRACKED:
            # What is read next shall be remembered: that was for the script, and is answered.
            self._sent.appendleft((AskSlot(drop), encode(CACHING)))
            self.waiting.appendleft(self._sent[0][0])
        queued = [name for _, name in asked[:answered] if name in (b"MULTI", b"EXEC", b"DISCARD")]
        # Of a transaction whose MULTI has been answered the rest must not run alone.
        self._leave(lost=slot if queued[-1:] == [b"MULTI"] else None)
        return True

    def _ask_role(self) -> None:
        """A script says so, or has met it: the server itself is to tell. A user's lane asks nothing
        that the user may not."""
        if not self._asked and self.key.user is None:
            self._asked = True
            self.ask(self._take_role, b"ROLE")

    def _take_role(self, reply: Reply) -> None:
        self._asked = False
        if isinstance(reply, bytes) and (role_of(reply) or MASTER) != MASTER:
            self.lose("the server has become a replica")

    def _leave(self, lost: Slot | None) -> None:
        """Take back what is not answered, but for the slot that is lost, and connect anew."""
        unsent = zip(self.out, islice(self.waiting, len(self._sent), None), strict=True)
        again, never = list[tuple[bytes, Slot]](), list[Slot]()
        for slot, data in self._sent:
            asked = requests_in(data)
            if slot is lost or asked is None or any(name in NOT_TWICE for _, name in asked):
                never.append(slot)
            else:
                again.append((data, slot))
        again += unsent
        self.out.clear()
        self.waiting = deque()
        self._why = UpstreamLost("the server has become a replica")
        self.offline.put_back(again)
        self._abort()
        self._lost()
        self._fail(never, self._why)
