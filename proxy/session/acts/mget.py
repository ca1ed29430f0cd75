"""MGET out of the near cache: what is there is not asked for, and what is not fills it.

GET is the hot path's own (hot.py); this is for what takes more than one look."""

from __future__ import annotations

from typing import Final, cast

from ...errors import ProxyError
from ...hot.session import FILL, WINDOW_BYTES, LaneState, PttlSlot, Run
from ...near.cache import Space, Ticket
from ...resp.kernel import Cutter
from ...resp.replies import bulk, null
from ...resp.requests import encode
from ...upstream.lane import Lane
from ..session import Session

# Beyond so many keys an MGET is asked as it is.
KEYS_MAX: Final = 1024
# Of the misses of one MGET, so many are kept at most: each costs two more questions.
FILLS_MAX: Final = 128
NULL: Final = b"_\r\n"


def fresh(session: Session) -> tuple[Space, Lane] | None:
    """Where the session may read near now: nothing of its own is outstanding, and the tracked lane
    has answered since it read elsewhere. None: it may not."""
    space, tracked = session.space, session.tracked
    if space is None or tracked is None or session.head is not None or session.mute:
        return None
    if tracked.state is not LaneState.READY or not tracked.tracking or not space.open:
        session.open_tracked()
        return None
    heard = tracked.done > session.fresh_after and not tracked.paused
    return (space, cast(Lane, tracked)) if heard else None


def read_many(session: Session, args: list[bytes]) -> bool:
    """MGET: each key for itself."""
    here = fresh(session)
    if here is None or not 1 < len(args) <= KEYS_MAX:
        session.forward(encode(args), 1, 1)
        return True
    space, lane = here
    turn = session.turn
    now = turn.clock()
    found = [space.get(key, now) for key in args[1:]]
    if sum(entry.size for entry in found if entry is not None) > WINDOW_BYTES:
        session.forward(encode(args), 1, 1)  # from there it comes piece by piece
        return True
    nil = null(session.lane_key.resp)
    replies = [None if entry is None else entry.reply or nil for entry in found]
    nils = sum(reply is nil for reply in replies)
    missing = [key for key, reply in zip(args[1:], replies, strict=True) if reply is None]
    turn.misses += nils
    turn.hits += len(replies) - len(missing) - nils
    head = b"*%d\r\n" % len(replies)
    if not missing:
        session.say(head + b"".join(reply for reply in replies if reply is not None))
        return True
    leads = _leads(space, missing, now)
    session.go_tracked()
    slot = MgetSlot(session, head, replies, missing, space, leads)
    session.push_slot(slot)
    for key, lead in leads.items():
        lane.send(FILL + bulk(key), lead)
    lane.send(encode([b"MGET", *missing]), slot)
    if lane.choked:
        session.wait_for(lane)
    return True


class MgetSlot(Run):
    """The reply to an MGET of what was missing, with what was there put in its places, as it
    comes."""

    __slots__ = (
        "array", "cutter", "element", "fills", "leads", "missing", "nil", "refused",
        "replies", "space"
    )  # fmt: skip

    def __init__(
        self,
        session: Session,
        head: bytes,
        replies: list[bytes | None],
        missing: list[bytes],
        space: Space,
        leads: dict[bytes, PttlSlot],
    ) -> None:
        super().__init__(session, 1)
        self.array = b"*%d\r\n" % len(missing)
        self.replies = iter([head, *replies])
        self.missing = iter(missing)
        self.space = space
        self.leads = leads
        self.nil = null(session.lane_key.resp)
        self.cutter = Cutter()
        self.element = b""  # of what came, until it is whole; it is too large to keep: nothing
        self.fills = True
        self.refused = False  # it was an error

    def feed(self, chunk: bytes) -> None:
        if self.refused:
            Run.feed(self, chunk)
            return
        parts: list[bytes] = []
        if self.array:
            # Until its head is there. An error has none.
            self.element += chunk
            chunk = self.element
            if len(chunk) < len(self.array) and self.want:
                return
            self.element = b""
            self.refused = not chunk.startswith(self.array)
            if self.refused:
                self._give_up()
                self.array = b""
                Run.feed(self, chunk)
                return
            chunk = chunk[len(self.array) :]
            self.array = b""
            self._there(parts)
        pos = 0
        while pos < len(chunk):
            at = self.cutter.cut(chunk, pos, 1)
            self._part(chunk[pos:at], bool(self.cutter.done), parts)
            pos = at
        Run.feed(self, b"".join(parts))

    def _part(self, piece: bytes, whole: bool, parts: list[bytes]) -> None:
        """A piece of the element that is next."""
        first = self.element + piece if self.fills else piece
        if self.fills and not whole and len(first) <= self.space.cache.value_max:
            self.element = first
            return
        if not whole:
            self.fills = False
            self.element = b""
            parts.append(first)
            return
        key, turn = next(self.missing), self.session.turn
        nil = self.fills and first == NULL
        turn.misses += nil
        turn.hits += not nil
        parts.append(self.nil if nil else first)
        lead = self.leads.pop(key, None)
        if lead is not None and self.fills:
            self.space.fill(lead.ticket, None if nil else first, lead.ttl_ms, lead.asked)
        elif lead is not None:
            self.space.give_up(lead.ticket)
        self.fills = True
        self.element = b""
        self._there(parts)

    def _there(self, parts: list[bytes]) -> None:
        """What was there, up to the next that was missing."""
        for reply in self.replies:
            if reply is None:
                return
            parts.append(reply)

    def _give_up(self) -> None:
        for lead in self.leads.values():
            self.space.give_up(lead.ticket)
        self.leads.clear()

    def fail(self, why: ProxyError, inside: bool) -> None:
        self._give_up()
        if not self.array:
            self.session.abort("the server went away in the middle of a reply")
        self.want = 0
        Run.feed(self, why.line)


def _leads(space: Space, keys: list[bytes], now: float) -> dict[bytes, PttlSlot]:
    """For the keys whose values are to be kept."""
    tickets: dict[bytes, Ticket] = {}
    for key in keys:
        if key not in tickets and len(tickets) < FILLS_MAX:
            ticket = space.admit(key)
            if ticket is not None:
                tickets[key] = ticket
    return {key: PttlSlot(ticket, now) for key, ticket in tickets.items()}
