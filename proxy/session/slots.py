"""Places of a session's queue whose reply it looks at."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..errors import ProxyError
from ..hot.answers import Answers, RunSlot

log = logging.getLogger(__name__)


def line_of(why: ProxyError) -> bytes:
    """What a client gets for a reply that will not come."""
    return why.line


class PeekSlot(RunSlot):
    """One reply that the session looks at, whole, when it arrives; what ``seen`` returns goes to
    the client, or what ``lost`` returns where none will arrive."""

    __slots__ = ("got", "lost", "muted", "seen")

    def __init__(
        self,
        session: Answers,
        seen: Callable[[bytes], bytes],
        lost: Callable[[ProxyError], bytes],
        muted: bool,
    ) -> None:
        super().__init__(session, 1)
        self.seen = seen
        self.lost = lost
        self.muted = muted
        self.got: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        self.got.append(chunk)
        if not self.want:
            reply = b"".join(self.got)
            self._tell(lambda: self.seen(reply))

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0
        self._tell(lambda: self.lost(why))

    def _tell(self, text_of: Callable[[], bytes]) -> None:
        self.got.clear()
        try:
            text = text_of()
        except Exception:
            # A defect of ours must cost this client its connection, not everybody the lane.
            log.exception("looking at a reply failed")
            self.session.abort("a defect in the proxy")
            text = b""
        RunSlot.feed(self, b"" if self.muted else text)
