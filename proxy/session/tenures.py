"""The locks that are renewed for a session's client, and how it is told that one is lost.

RESP3: a push, never inside of a reply. RESP2 knows none: an error at its next LOCK command."""

from __future__ import annotations

from functools import partial

from ..hot.own import TaskSlot
from ..locking.tenure import Tenure
from ..resp.replies import bulk
from .conducted import Conducted
from .slots import PeekSlot


def tenure_of(session: Conducted) -> Tenure:
    """One for each client, from its first LOCK on."""
    identity, berth = session.client.identity, session.berth
    if identity.tenure is None:
        tell = partial(_tell, session)
        identity.tenure = Tenure(berth.run, lambda: berth.left, tell)
    return identity.tenure


def _tell(session: Conducted, resource: bytes, fence: int) -> bool:
    berth, answers = session.berth, session.answers
    if berth.lane_key.resp == 2 or berth.tunnel is not None:
        return False
    frame = b">3\r\n%b%b:%d\r\n" % (bulk(b"lock-lost"), bulk(resource), fence)
    # These give nothing out before they have all of it, and may have to wait for long.
    if answers.head is None or isinstance(answers.head, (PeekSlot, TaskSlot)):
        answers.write(frame)
    else:
        answers.answer(frame)
    return True
