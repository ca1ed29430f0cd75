"""MGET out of the near cache: what is there is not asked for, and what is not fills it.

GET is the hot path's own (hot.py); this is for what takes more than one look."""

from __future__ import annotations

from typing import Final, cast

from .hot import FILL, LaneState, Lead
from .kernel import Cutter
from .lane import Lane
from .nearcache import Space, Ticket
from .resp import encode, null
from .session import Seen, Session

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
    return (space, cast(Lane, tracked)) if tracked.done > session.behind else None


def read_many(session: Session, args: list[bytes]) -> bool:
    """MGET: each key for itself."""
    here = fresh(session)
    if here is None or len(args) < 2:
        session.forward(encode(args), 1, 1)
        return True
    space, lane = here
    turn = session.turn
    now = turn.clock()
    found = [space.get(key, now) for key in args[1:]]
    replies = [entry.reply or NULL if entry is not None else None for entry in found]
    for reply in replies:
        turn.hits += reply is not None and reply != NULL
        turn.misses += reply == NULL
    missing = [at for at, reply in enumerate(replies) if reply is None]
    if not missing:
        session.say(_array(replies, session.key.resp))
        return True
    leads = _leads(space, [args[1 + at] for at in missing])
    resp = session.key.resp

    def seen(reply: bytes) -> bytes:
        values = _elements(reply, len(missing))
        if values is None:
            for lead in leads.values():
                space.give_up(lead.ticket)
            return reply
        now = turn.clock()
        for at, value in zip(missing, values, strict=True):
            replies[at] = value
            turn.hits += value != NULL
            turn.misses += value == NULL
            if args[1 + at] in leads:
                lead = leads.pop(args[1 + at])
                space.fill(lead.ticket, None if value == NULL else value, lead.ttl_ms, now)
        return _array(replies, resp)

    slot = Seen(session, seen, False)
    session.go_tracked()
    session.push_slot(slot)
    for key, lead in leads.items():
        lane.send(FILL + encode([key]).partition(b"\r\n")[2], lead)
    lane.send(encode([b"MGET", *(args[1 + at] for at in missing)]), slot)
    if lane.choked:
        session.wait_for(lane)
    return True


def _leads(space: Space, keys: list[bytes]) -> dict[bytes, Lead]:
    """For the keys whose values are to be kept."""
    tickets: dict[bytes, Ticket] = {}
    for key in keys:
        if key not in tickets and len(tickets) < FILLS_MAX:
            ticket = space.admit(key)
            if ticket is not None:
                tickets[key] = ticket
    return {key: Lead(ticket) for key, ticket in tickets.items()}


def _elements(reply: bytes, count: int) -> list[bytes] | None:
    """The elements of MGET's reply as they came; None where it is an error."""
    head = b"*%d\r\n" % count
    if not reply.startswith(head):
        return None
    cutter, pos, values = Cutter(), len(head), []
    for _ in range(count):
        end = cutter.cut(reply, pos, 1)
        values.append(reply[pos:end])
        pos = end
    return values


def _array(replies: list[bytes | None], resp: int) -> bytes:
    parts = [b"*%d\r\n" % len(replies)]
    parts += [null(resp) if reply is None or reply == NULL else reply for reply in replies]
    return b"".join(parts)
