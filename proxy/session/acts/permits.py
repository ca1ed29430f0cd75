"""ACL and CONFIG, where they change who may what: passed on, and answered when it is known what
that means for those who come next. What is in the near cache was read by those who might then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ...errors import ProxyError
from ...hot.own import TaskSlot
from ...hot.sending import MUTE_SKIP
from ...resp.requests import encode
from ...upstream.ask import AskSlot, Reply
from ..conducted import Conducted
from ..context import Context
from ..reasons import STALL_DRAIN, STALL_REPLY
from .plain import forward

CHANGES: Final[Mapping[bytes, frozenset[bytes]]] = {
    b"ACL": frozenset({b"DELUSER", b"LOAD", b"SETUSER"}),
    b"CONFIG": frozenset({b"SET"}),
}


def permit(session: Conducted, args: list[bytes]) -> bool:
    """Any ACL or CONFIG request."""
    name, sub = args[0].upper(), args[1].upper() if len(args) > 1 else b""
    words = [word.lower() for word in args[2::2]]
    if sub not in CHANGES.get(name, ()) or (name == b"CONFIG" and b"requirepass" not in words):
        return forward(session, args)
    context = session.context
    session.near.elsewhere()
    place = TaskSlot(session.answers, bool(session.mute))
    session.mute &= ~MUTE_SKIP
    session.take_place(place)
    resume = session.stall(STALL_REPLY)

    def known(text: bytes) -> None:
        rights_changed(context)
        session.stall(STALL_DRAIN)
        place.fill(text)
        resume()

    def answered(reply: Reply) -> None:
        text = reply.line if isinstance(reply, ProxyError) else reply
        context.lanes.newcomers.look(lambda: known(text))

    session.send(encode(args), AskSlot(answered))
    return True


def rights_changed(context: Context) -> None:
    """Somebody may have lost the right to what was read for them."""
    if context.near is not None:
        context.near.flush("flushed")
    context.rights_changed()


def newcomers_changed(context: Context) -> None:
    """Newcomers are barred now, or let in: so are those who came while they were."""
    era = context.lanes.newcomers.era
    for client in context.clients:
        berth = client.berth
        if berth.lane_key.era in (0, era):
            berth.choose_mode()
        elif berth.quiet:
            berth.rekey(replace(berth.lane_key, era=era))
        else:
            berth.lane_key = replace(berth.lane_key, era=era)
            berth.choose_mode()
