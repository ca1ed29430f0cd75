"""SUBSCRIBE and its kin: on a lane of the session's own, for as long as a subscription is left."""

from __future__ import annotations

from ...errors import MAX_SUBSCRIPTIONS
from ...hot.answers import Answers, RunSlot
from ...hot.sending import MUTE_SKIP
from ...resp.requests import encode
from ...upstream.subscriptions import Channels
from ..conducted import Conducted
from ..reasons import HOLD_SUBSCRIBED, STALL_DRAIN, STALL_END
from .plain import forward


class SubscribeSlot(RunSlot):
    """The replies to SUBSCRIBE and its kin: one for each channel (upstream/subscriptions.py)."""

    __slots__ = ("bare", "word")

    def __init__(self, answers: Answers, word: bytes, names: int) -> None:
        super().__init__(answers, max(1, names))
        self.word = word
        self.bare = not names


def subscribe(session: Conducted, args: list[bytes]) -> bool:
    """SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE."""
    if len(args) < 2:
        return forward(session, args)
    berth = session.berth
    if not berth.idle():
        return False  # how many there are is known when all is confirmed
    framing = berth.lane.framing if berth.lane is not None else None
    if not session.context.allowance.may_subscribe(framing, args[1:]):
        session.say(MAX_SUBSCRIPTIONS)
        return True
    return unsubscribe(session, args)


def unsubscribe(session: Conducted, args: list[bytes]) -> bool:
    """UNSUBSCRIBE and its kin, which a client may send without any subscription."""
    berth = session.berth
    if not berth.idle() or not berth.pin():
        return False
    if berth.leaving:
        session.stall(STALL_END)
        return True
    assert berth.lane is not None
    if berth.lane.framing is None:
        berth.lane.subscribe(Channels(berth.lane_key.resp))
    berth.hold(HOLD_SUBSCRIBED)
    slot = SubscribeSlot(session.answers, args[0].lower(), len(args) - 1)
    session.mute &= ~MUTE_SKIP
    session.take_place(slot)
    session.answers.replies_before -= slot.count - 1  # it is one command, whatever it names
    session.send(encode(args), slot)
    session.stall(STALL_DRAIN)
    return True
