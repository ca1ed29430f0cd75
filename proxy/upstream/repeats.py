"""What was asked on a connection that died before it answered, and may be asked once more.

    lost ─▶ of the slots that wait, newest first:
              a run of reads, nothing of the reply handed on ─▶ asked again, before what was unsent
              all else ─▶ fails: nobody knows its outcome; so does what its client sent before

The last, because a read that is asked again after its own client's next write would tell what that
has written. Once: what dies on a second connection fails. Within command_timeout, by the time at
which it was asked first. Only on lanes that are shared; what is a read is for the table to say
(``Dial.reads``), and where it says nothing, as at the nodes of a cluster, nothing is asked again
here: its router does (cluster/router.py).
Knows the slots of sessions; the lane, which calls this, keeps the bytes (hot/lane.py)."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from ..errors import UpstreamLost
from ..hot.answers import Answers, RunSlot, Slot
from ..hot.anyreads import AnySlot
from ..hot.fills import Fill, FillSlot
from ..hot.lane import LaneState
from ..hot.many import HEAD, TELLING, ManySlot, MixedSlot
from ..hot.own import GetOrSetRun, GetOrSetSlot
from ..log import event
from ..resp.kernel import Cutter, RouteMap
from .connecting import Connecting
from .lane_key import Use
from .offline import Offline, Request

log = logging.getLogger(__name__)

# Where clients' reads are. Not those for scripts, nor what asks whether a server still speaks.
USES: Final = frozenset({Use.REQUESTS, Use.ASIDE, Use.TRACKED, Use.REPLICA})
_ALL: Final = 1 << 30  # requests of one piece


def reader_of(slot: Slot) -> Answers | None:
    """The session that gets the replies; None: none does."""
    session: Answers | None = getattr(getattr(slot, "place", slot), "session", None)
    return session


class Repeats:
    """Of one lane: what of it is on its way for the second time, and until when."""

    def __init__(
        self, lane: Connecting, offline: Offline, *, lent: bool, most_s: float | None
    ) -> None:
        self._lane = lane
        self._offline = offline  # what waits for the lane's connection
        self.wanted = not lent and lane.key.use in USES  # what the lane sends is to be kept
        self._most_s = math.inf if most_s is None else most_s
        self._to = 0  # of the lane's ``sent``: what comes before has been asked before
        self._by = math.inf  # when that has waited for long enough

    def __repr__(self) -> str:
        return f"<Repeats owed={self._owed()}>"

    def _owed(self) -> int:
        """How many are on their way again, or wait for the connection."""
        lane = self._lane
        return max(0, self._to - (lane.done if lane.state is LaneState.READY else lane.sent))

    def take(self, waiting: deque[Slot], unsent: int, silent_s: float) -> list[Request]:
        """The connection is lost, on which these waited, and has said nothing for ``silent_s``
        seconds: take out of them what is to be asked again, oldest first. So many more were not
        sent, and will be."""
        lane = self._lane
        reads, pieces = lane.reads, lane.kept_before + lane.kept
        lane.forget_kept()
        first = lane.sent - unsent  # the number of what was not sent; in it, at its head,
        second = max(0, self._to - first)  # may be what is to be asked again
        left = self._most_s - silent_s
        fresh = min(len(waiting), first - self._to, len(pieces))
        again: list[Request] = []
        cut = waiting[0] if lane.halfway and waiting else None
        # A tracked lane that fell silent may stay so with its next connection, and what comes from
        # now on is read elsewhere: its readers had better hear so.
        silent = lane.key.use is Use.TRACKED and silent_s > 0
        if reads is not None and left > 0 and fresh > 0 and not silent:
            slots = list(waiting)[-fresh:]
            again = repeatable(slots, pieces[-fresh:], reads, cut)
            self._by = lane.now + left
        if again:
            event(log, logging.INFO, "reads asked again", db=lane.key.db, reads=len(again))
        taken = {slot for _, slot in again}
        if cut in taken:
            lane.cutter = Cutter()  # of those that fail none has had a part
        rest = [slot for slot in waiting if slot not in taken]
        waiting.clear()
        waiting.extend(rest)
        self._to = lane.sent + len(again) + second
        return again

    def forget(self) -> None:
        """Nothing waits for the connection any more."""
        self._to = min(self._to, self._lane.sent)

    def tick(self) -> None:
        """Once a second: let nothing wait beyond its time."""
        lane = self._lane
        lane.keeps = self.wanted
        if lane.kept and not lane.waiting:
            lane.forget_kept()
        owed = self._owed()
        if not owed or lane.now <= self._by:
            return
        why = f"no answer in {self._most_s:g} s"
        if lane.state is LaneState.READY:
            lane.lose(why)
        else:
            for slot in self._offline.drop(owed):
                slot.fail(UpstreamLost(why), False)
            self.forget()


def repeatable(
    slots: Sequence[Slot], pieces: Sequence[bytes], reads: RouteMap, cut: Slot | None
) -> list[Request]:
    """What of these is asked again, each with what to send, oldest first. ``cut``: a part of its
    reply has come."""
    late: set[Answers] = set()  # who has sent what is not asked again
    again: list[Request] = []
    for slot, data in zip(reversed(slots), reversed(pieces), strict=True):
        session = reader_of(slot)
        if session is None:
            if isinstance(slot, Fill):  # of the next slot, which may be asked again
                _void([slot])
            continue
        rest = None
        whole = slot is not cut or isinstance(slot, FillSlot | ManySlot)  # which know what is told
        if session not in late and session.wire is not None and whole:
            rest = _begun_anew(slot, data, reads)
        if rest is None:
            late.add(session)
        else:
            again.append((rest, slot))
    again.reverse()
    return again


def _begun_anew(slot: Slot, data: bytes, reads: RouteMap) -> bytes | None:
    """What to send for the replies that a slot still wants, which has been made to want them all;
    None: it is not to be asked again."""
    kind = type(slot)
    if kind is RunSlot or kind is GetOrSetRun:
        return _rest(data, slot.want, reads)
    if isinstance(slot, FillSlot):
        if not slot.fill.open:
            return None  # too large to keep: a part has been handed on
        _void([slot.fill])
        slot.want = 3
        return data
    if isinstance(slot, ManySlot):
        if slot.stage not in (TELLING, HEAD):
            return None
        fills = [fill for fill in slot.fills if fill is not None]
        _void(fills)
        slot.stage, slot.told, slot.got = TELLING, 0, b""
        values = len(slot.gaps) if kind is MixedSlot else 1
        slot.want = values + 2 * len(fills)
        return data
    # Their fills, where they have any, are slots of their own, fail and are not kept.
    return data if kind is AnySlot or kind is GetOrSetSlot else None


def _void(fills: Iterable[Fill]) -> None:
    """What they bring is not to be kept: who tells of changes has forgotten what it was asked."""
    for fill in fills:
        fill.space.give_up(fill.ticket)
        fill.want, fill.got = 2, b""


def _rest(data: bytes, want: int, reads: RouteMap) -> bytes | None:
    """The last requests of a piece, so many, where it is made of reads alone."""
    count = reads.scan(data, 0, _ALL)
    if reads.end != len(data) or count < want:
        return None
    if count == want:
        return data
    reads.scan(data, 0, count - want)
    return data[reads.end :]
