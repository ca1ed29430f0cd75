"""Hash slots on the move: who asks for one waits until those before have been answered.

    in flight at the old node ── redirected ──▶ back ─┐
    asked for since ─────────────────────────▶ front ─┴─ opened ──▶ the new node, in this order

So each client's requests for one slot run in the order in which they were sent, which the server
keeps on one connection and a redirection would break. A gate opens when what was in flight at the
old node has been answered (the reply to a marker behind it) and its pause is over. Never decides
where to: router.py does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ..hot.lane import LaneState
from ..hot.parts import Part
from ..upstream.ask import Reply
from ..upstream.lane import Lane
from ..upstream.tracked import STANDS
from .pieces import client_of
from .redirects import Kind

# Seconds for what is in flight at the old node: one that is stopped answers late, or never. Of one
# that is primary no more its silence until then counts too: what a frozen one does when it wakes up
# is lost, and one that was paused for its failover answers once it has heard of that.
DRAIN_MAX: Final = 1.0
DRAIN_LEAST: Final = 0.05
# Seconds between two looks whether a cluster that cannot answer can.
LATER_S: Final = 0.05
HOP_S: Final = 0.002  # doubled for each hop


def pause_of(kind: Kind, hops: int) -> float:
    """Seconds before a request is sent again; the first hop costs none."""
    if kind is Kind.LATER:
        return LATER_S
    return HOP_S * (1 << max(0, hops - 2)) if hops > 1 or kind is Kind.AGAIN else 0.0


class Gate:
    """What waits for some hash slots. ``opened`` is called once, with those to send in order."""

    def __init__(
        self, slots: Iterable[int], opened: Callable[[Gate], None], gave_up: Callable[[Lane], None]
    ) -> None:
        self.slots = set(slots)
        self._back: list[Part] = []
        self._front: list[Part] = []
        self._opened = opened
        self._gave_up = gave_up
        self._loop = asyncio.get_running_loop()
        self._marks = 0  # not answered yet
        self._until = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self.closed = False

    def __repr__(self) -> str:
        return f"<Gate slots={len(self.slots)} waiting={len(self)}>"

    def __len__(self) -> int:
        return len(self._back) + len(self._front)

    def holds(self, client: object) -> bool:
        """Whether anything of the client waits here."""
        return any(client_of(part.place) is client for part in (*self._back, *self._front))

    def redirected(self, part: Part) -> None:
        """It was sent before the gate stood, and has to be sent again."""
        self._back.append(part)

    def wait(self, part: Part) -> None:
        """It comes behind all that is here."""
        self._front.append(part)

    def forget(self, part: Part) -> None:
        """It does not wait any more."""
        self.replace(part, ())

    def replace(self, part: Part, others: Sequence[Part]) -> None:
        """These wait in its place."""
        for parts in (self._back, self._front):
            if part in parts:
                at = parts.index(part)
                parts[at : at + 1] = others

    def pause(self, seconds: float) -> None:
        """Do not open earlier than this."""
        self._until = max(self._until, self._loop.time() + seconds)
        self._look()

    def behind(self, lane: Lane, patience: float = DRAIN_MAX) -> None:
        """Do not open before what is in flight there has been answered; the lane is given up when
        it has said nothing for so many seconds."""
        if lane.state is not LaneState.READY or not lane.owes:
            self._look()
            return
        self._marks += 1
        answered = False

        def passed(_: Reply | None) -> None:
            nonlocal answered
            if not answered:
                answered = True
                self._marks -= 1
                self._look()

        def late(heard: int) -> None:
            if answered:
                return
            if lane.state is LaneState.READY and (lane.paused or lane.heard != heard):
                # A client does not read, or the replies before it are long: it is alive.
                self._loop.call_later(patience, late, lane.heard)
                return
            self._gave_up(lane)  # which answers the mark too, with an error
            passed(None)

        lane.ask(passed, *STANDS)  # its reply marks that all before it has been answered
        self._loop.call_later(patience, late, lane.heard)

    def _look(self) -> None:
        if self._marks or self.closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        # In any case later: who has just made the gate is still to add to it.
        self._timer = self._loop.call_at(self._until, self._open)

    def _open(self) -> None:
        if not self._marks and not self.closed:
            self.closed = True
            self._opened(self)

    def taken(self) -> list[Part]:
        """All that waits, in order."""
        parts = [*self._back, *self._front]
        self._back.clear()
        self._front.clear()
        return parts

    def close(self) -> list[Part]:
        """Never open; what waits is the caller's."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        return self.taken()
