"""A request too large to be held: it is streamed to a lane of its own as it comes.

    whole, or small enough to wait for ─▶ gathered: Session.rest, until ``need`` bytes are there
    larger, and no command that must be read ─▶ Upload: cut, and sent on piece by piece
    larger, and to be read ─▶ refused past GATHER_MAX

What the server has of it cannot be taken back: bytes that two servers might frame differently
end it with an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ..errors import ProtocolError
from ..hot.sending import NONE_WRITTEN
from ..hot.session import UPLOAD_AT
from ..resp.kernel import BROKEN, DONE, Cutter
from ..resp.routes import Route
from ..table.table import Table
from ..upstream.lane import Lane

# A request that the proxy itself must understand is gathered up to this size.
GATHER_MAX: Final = 64 * 1024 * 1024
_HEAD: Final = re.compile(rb"\*\d+\r\n\$\d+\r\n([A-Za-z.]+)\r\n\$(\d{1,9})\r\n")


class Upload:
    """The request that streams now. ``canonical``: what came so far a server frames as we do."""

    __slots__ = ("_cutter", "canonical", "seen")

    def __init__(self, data: bytes, pos: int) -> None:
        self.seen = len(data) - pos  # bytes
        self._cutter = Cutter(True)
        self._cutter.cut(data, pos, 1)
        self.canonical = self._cutter.stop != BROKEN

    def __repr__(self) -> str:
        return f"<Upload {'canonical' if self.canonical else 'broken'} skip={self._cutter.skip}>"

    @property
    def whole(self) -> bool:
        return self._cutter.stop == DONE

    def more(self, data: bytes, lane: Lane) -> int:
        """Send on what belongs to the request; the offset behind it."""
        at = self._cutter.cut(data, 0, 1)
        self.seen += at
        if self._cutter.stop == BROKEN:
            self.canonical = False
            lane.give_up(ProtocolError("a large request must be canonical: $<length>\\r\\n"))
            return len(data)
        lane.send_part(data[:at])
        return at


@dataclass(frozen=True, slots=True)
class Stream:
    """Stream it; it writes these keys, None: any."""

    keys: list[bytes] | None


@dataclass(frozen=True, slots=True)
class Gather:
    """Hold it until so many bytes of it are there."""

    most: int


def plan(
    table: Table, data: bytes, pos: int, route: int, *, locked: bool, holding: bool
) -> Stream | Gather | None:
    """What to do with a request that is not whole; None: refuse it."""
    size = len(data) - pos
    if data[pos : pos + 1] == b"*" and not locked:
        # Where a load may run for one of its keys it must be read before it is sent.
        unread = route in (Route.ODD, Route.SCRIPTED) and not (table.ours.voids or table.ours.near)
        writes = route in (Route.WRITE, Route.WRITE_ONE) and not holding
        if size <= UPLOAD_AT and (unread or writes):
            return Gather(UPLOAD_AT)
        if unread:
            return Stream(NONE_WRITTEN)
        if writes:
            name, key = first_words(data, pos)
            if key is not None and table.writes_one(name):
                return Stream([key])
    if size <= GATHER_MAX:
        return Gather(GATHER_MAX)
    written = route in (Route.WRITE, Route.WRITE_ONE, Route.SCRIPTED)
    return Stream(None) if written and not table.ours.voids else None  # whatever keys it has


def first_words(data: bytes, pos: int) -> tuple[bytes, bytes | None]:
    """The name and the word behind it, if they are there already."""
    found = _HEAD.match(data, pos)
    if found is None:
        return b"", None
    start, size = found.end(), int(found[2])
    whole = start + size + 2 <= len(data)
    return found[1].upper(), data[start : start + size] if whole else None
