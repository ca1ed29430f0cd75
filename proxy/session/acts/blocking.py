"""What waits in the server: on a lane of the session's own, until it is answered."""

from __future__ import annotations

from functools import partial

from ...errors import ProxyError, UpstreamDown
from ...hot.answers import RunSlot
from ...hot.lane import LaneState
from ...resp.requests import encode
from ...upstream.ask import Done, Reply
from ...upstream.may_track import is_no
from ..conducted import Conducted
from ..moment import id_of, last_id, moments
from ..reasons import HOLD_BLOCKED, STALL_DRAIN, STALL_END, STALL_REPLY
from ..waiting import waiting
from ..writes import begin_write
from .plain import forgetting


def block(session: Conducted, args: list[bytes]) -> bool:
    """What may wait: BLPOP and its kin, and KILL of a script that runs."""
    kill = args[0].upper() in (b"SCRIPT", b"FUNCTION")
    # A server that is busy with a script knows KILL, but not SELECT.
    if not session.berth.pin(session.berth.lane_key.with_db(0) if kill else None):
        return False
    if session.berth.leaving:  # or an element would be popped for nobody
        session.stall(STALL_END)
        return True
    places = {} if kill else moments(args)
    lane = session.berth.own
    if places and lane is not None and lane.state is not LaneState.READY:
        _fix_moments(session, args, places)
    else:
        _block(session, args, kill)
    return True


def _fix_moments(session: Conducted, args: list[bytes], places: dict[int, bytes]) -> None:
    """Block from now on, though the lane is still to be opened."""
    resume = session.stall(STALL_REPLY)
    fixed, wanted = list(args), len(places)

    def told(place: int, reply: Reply) -> None:
        nonlocal wanted
        fixed[place] = id_of(reply)
        wanted -= 1
        if wanted or session.berth.left:
            return
        if session.berth.own is not None:
            _block(session, fixed, False)
        else:
            session.say(UpstreamDown("connection lost during the handshake").line)
        resume()

    for place, key in places.items():
        _ask_last(session, key, partial(told, place))


def _ask_last(session: Conducted, key: bytes, told: Done) -> None:
    """Ask for the last id, unless a user who has logged in may not: ACL LOG would show a refusal
    of what that user never asked for. Whether it may costs a round trip, and the moment is so much
    later: a few ms, and only where no lane is warm."""
    lanes, lane_key = session.context.lanes, session.berth.lane_key

    def asked(reply: Reply) -> None:
        if is_no(reply):
            told(reply)
        else:
            lanes.free(lane_key).ask(told, *last_id(key))

    if lane_key.user is None:
        lanes.free(lane_key).ask(told, *last_id(key))
    else:
        own = lanes.shared(lanes.primary_key)
        own.ask(asked, b"ACL", b"DRYRUN", lane_key.user.name, *last_id(key))


def _block(session: Conducted, args: list[bytes], kill: bool) -> None:
    lane = session.berth.lane
    assert lane is not None
    keys = session.context.table.written(args)
    begin_write(session.context, session.berth, keys or [])

    def over() -> None:
        session.berth.blocking -= 1
        if not session.berth.blocking:
            lane.patient = False
            session.berth.let_go(HOLD_BLOCKED)

    def answered(reply: bytes) -> bytes:
        over()
        return reply

    def failed(why: ProxyError) -> bytes:
        over()
        return why.line

    seen, lost = forgetting(session, keys, answered, failed)
    if not session.berth.blocking:
        session.client.identity.waits = waiting(session.client.last, args)
    session.berth.blocking += 1
    lane.patient = True
    session.berth.hold(HOLD_BLOCKED)
    session.peek(encode(args), seen, lost=lost)
    if kill:
        session.stall(STALL_DRAIN)  # this lane is of db 0: what follows goes elsewhere


class ShutdownSlot(RunSlot):
    """SHUTDOWN: no reply and a closed connection is its success."""

    __slots__ = ("_asker",)

    def __init__(self, asker: Conducted) -> None:
        super().__init__(asker.answers, 1)
        self._asker = asker

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0
        self._asker.stall(STALL_END)
        self.session.advance()


def shutdown(session: Conducted, args: list[bytes]) -> bool:
    """On a lane of our own, whose end is the answer."""
    if not session.berth.idle() or not session.berth.pin():
        return False
    slot = ShutdownSlot(session)
    session.take_place(slot)
    session.send(encode(args), slot)
    session.stall(STALL_DRAIN)
    return True
