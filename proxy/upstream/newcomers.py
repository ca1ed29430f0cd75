"""Whether the server would let a new connection in with the login that the proxy has.

    once a second, and when a change of it passes ─▶ RESET AUTH? HELLO ─▶ barred? ─▶ changed()

Lanes that stand are in for good, whatever CONFIG SET requirepass or ACL SETUSER say later; a client
that comes later would be asked. So whoever comes while newcomers are ``barred`` gets lanes of an
``era`` of their own, which the server has asked for what it asks now. A new era begins each time
they are barred: lanes of the last may have been let in since.

RESET makes the lane on which AUTH is asked (Lanes.asking) a new connection again; neither it nor
HELLO is anything that an ACL can forbid. Refuses to tell sessions: permits.py does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from ..errors import ProxyError
from ..log import event
from ..settings.address import Upstream
from .ask import Reply
from .handshake import NOT_READY, login
from .lane import Lane
from .lane_key import LaneKey

log = logging.getLogger(__name__)

_HELLO: Final = (b"HELLO",)
_RESET: Final = (b"RESET",)


def _nothing() -> None: ...


def barred_by(replies: Sequence[Reply]) -> bool | None:
    """What the replies to AUTH, if it was asked, and HELLO say; None: nothing, for now."""
    *logins, hello = replies
    for reply in replies:
        if isinstance(reply, ProxyError) or reply.startswith(NOT_READY):
            return None
    refused = any(isinstance(reply, bytes) and reply.startswith(b"-") for reply in logins)
    return refused or (isinstance(hello, bytes) and hello.startswith(b"-NOAUTH"))


class Newcomers:
    """Asks, and keeps the answer. ``changed`` is called each time it is another."""

    def __init__(self, asking: Callable[[], Lane], upstream: Upstream) -> None:
        self.barred = False
        self.era = 0  # of those who come while they are barred
        self.changed: Callable[[], None] = _nothing
        self._asking = asking
        self._login = [step.words for step in login(LaneKey(), upstream)]
        self._resets = True  # the server knows RESET, which came with Redis 6.2
        self._looks = 0  # not answered yet

    def __repr__(self) -> str:
        return f"<Newcomers {'barred' if self.barred else 'let in'} era={self.era}>"

    def tick(self) -> None:
        """Once a second."""
        if not self._looks:
            self.look()

    def look(self, done: Callable[[], None] = _nothing) -> None:
        """Ask now; ``done`` is called when it is known, or cannot be."""
        lane = self._asking()
        if not self._resets:
            if lane.waiting or lane.offline:
                done()
                return
            lane.close()
            lane = self._asking()
        asked = [_RESET] * self._resets + [*self._login, _HELLO]
        replies: list[Reply] = []
        self._looks += 1

        def take(reply: Reply) -> None:
            replies.append(reply)
            if len(replies) < len(asked):
                return
            self._looks -= 1
            try:
                self._judge(replies)
            finally:
                done()

        for words in asked:
            lane.ask(take, *words)

    def _judge(self, replies: list[Reply]) -> None:
        if self._resets:
            reset = replies.pop(0)
            if isinstance(reset, bytes) and reset.startswith(b"-"):
                self._resets = False
                return
        barred = barred_by(replies)
        if barred is not None:
            self.take(barred)

    def take(self, barred: bool) -> None:
        """A new connection was asked for a login, or was not."""
        if barred == self.barred:
            return
        self.barred = barred
        self.era += barred
        if barred:
            event(log, logging.WARNING, "newcomers barred", era=self.era)
        else:
            event(log, logging.WARNING, "newcomers let in")
        self.changed()
