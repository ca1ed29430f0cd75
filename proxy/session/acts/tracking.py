"""CLIENT TRACKING: on a lane of the session's own, and with REDIRECT between two such lanes.

    asker: CLIENT TRACKING ON REDIRECT 7 ─▶ has client 7 a lane of its own? ─▶ the lane's id, asked
              stalls while that lane connects ◀── no: it gets one, held for as long as the asker
                                                  redirects to it (Clients.redirect)

The cost is the asker's: it has one target at a time, of its own user, and frees it as it goes on.
https://redis.io/docs/latest/commands/client-tracking/"""

from __future__ import annotations

import asyncio
from typing import Final

from ...hot.lane import LaneState
from ...resp.requests import integer_of
from ..clients import Client
from ..conducted import Conducted
from ..reasons import HOLD_REDIRECTED, HOLD_TRACKING, STALL_REPLY
from .plain import ask, ending

# No lane has this id, so asking about it changes nothing and still meets the ACL and the syntax
# check.
NOBODY: Final = b"%d" % (2**63 - 1)
# A target that is busy is asked for again after so many seconds.
BUSY_S: Final = 0.01


def tracking(session: Conducted, args: list[bytes]) -> bool:
    """The lane is this session's while tracking is on: invalidations come where the reads went."""
    if not session.berth.idle() or not session.berth.pin():
        return False
    words = list(args)
    target: Client | None = None
    for at, word in enumerate(words[:-1]):
        if word.upper() != b"REDIRECT":
            continue
        number = integer_of(words[at + 1])
        if number is None:
            continue  # the server says what is wrong with it
        target = _target(session, number)
        if target is not None and not _has_identity(session, target):
            return False
        lane = target.berth.own if target is not None else None
        words[at + 1] = b"%d" % lane.client_id if lane is not None else NOBODY

    def seen(reply: bytes) -> bytes:
        clients, asker = session.context.clients, session.client
        if not reply.startswith(b"+"):
            clients.unburden(asker)
        elif len(args) > 2 and args[2].upper() == b"ON":
            session.berth.hold(HOLD_TRACKING)
            clients.redirect(asker, target)
        else:
            session.berth.let_go(HOLD_TRACKING)
            clients.redirect(asker, None)
        return reply

    end = ending(session)
    ask(session, words, seen, lost=lambda why: seen(end(why)))
    return True


def _target(session: Conducted, number: int) -> Client | None:
    """The client that is meant; None: there is none whom this user may burden."""
    target = session.context.clients.get(number)
    if target is None or target.berth.user != session.berth.user:
        return None
    return target


def _has_identity(session: Conducted, target: Client) -> bool:
    """Whether the target has a lane of its own whose id is known; if not, it gets one, and the
    session waits for it."""
    berth = target.berth
    if not berth.pin_now():
        if berth.quiet:
            return True  # there is no place for another lane: as if nobody were there
        asyncio.get_running_loop().call_later(BUSY_S, session.stall(STALL_REPLY))
        return False
    lane = berth.own
    assert lane is not None
    if target is not session.client:
        berth.hold(HOLD_REDIRECTED)
        session.context.clients.burden(session.client, target)
    if lane.client_id or lane.state is LaneState.READY:
        return True
    resume = session.stall(STALL_REPLY)
    lane.ask(lambda _: resume(), b"HELLO")  # everybody may say it
    return False
