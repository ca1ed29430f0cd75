"""What MONITOR shows on its lane, told apart from the replies to what is asked there.

A line of MONITOR is a simple string that begins with the server's clock; a server that shows them
answers no request with such a string. Pure: the lane hands every frame over (ports.Framing).

What lanes ask on their own account is left out: the ledger, which all lanes write into
(Dial.ledger), tells each that monitors what is due to be shown. By what a line says, not by its
address, which is another one behind a relay; two equal lines are the same to whoever reads them."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import Final
from weakref import WeakSet

from .subscriptions import Channels

_LINE: Final = re.compile(rb"\+\d{1,20}\.\d{1,9} \[\d+ ")
_PARTS: Final = re.compile(rb'[^\[]*\[\d+ (.*?)\] (".*")\r\n', re.DOTALL)
# A question that has not been shown after so many seconds will not be: its lane was lost.
DUE: Final = 5.0
# So many are remembered at most.
DUES_MAX: Final = 4096
_AUTH: Final = b'"AUTH"'  # what is behind it is not shown
_CACHING: Final = b'"CLIENT" "CACHING" "YES"'  # before what fills the near cache, and then:
_PTTL: Final = b'"PTTL" '
_ESCAPES: Final = {ord(b"\\"): b"\\\\", ord(b'"'): b'\\"', ord(b"\n"): b"\\n", ord(b"\r"): b"\\r",
                   ord(b"\t"): b"\\t", ord(b"\a"): b"\\a", ord(b"\b"): b"\\b"}  # fmt: skip


def line_of(words: Sequence[bytes]) -> bytes:
    """A request as MONITOR shows it (sdscatrepr in Redis)."""
    if words[0].upper() == b"AUTH":
        return _AUTH
    return b" ".join(b'"%b"' % b"".join(map(_escaped, word)) for word in words)


def _escaped(byte: int) -> bytes:
    escape = _ESCAPES.get(byte)
    return escape or (b"%c" % byte if 32 <= byte < 127 else b"\\x%02x" % byte)


class Ledger:
    """What lanes ask on their own account, told to those who monitor."""

    def __init__(self) -> None:
        self.readers: WeakSet[Monitoring] = WeakSet()

    def __repr__(self) -> str:
        return f"<Ledger readers={len(self.readers)}>"

    def note(self, words: Sequence[bytes], now: float) -> None:
        """A lane sends this now, in seconds of the loop's clock."""
        if self.readers:
            line = line_of(words)
            for reader in self.readers:
                reader.expect(line, now)


class Monitoring(Channels):
    """The frames of a connection that monitors, and may have subscriptions besides."""

    def __init__(self, resp: int = 2) -> None:
        super().__init__(resp)
        self._due: deque[tuple[float, bytes]] = deque(maxlen=DUES_MAX)
        self._held: dict[bytes, bytes] = {}  # by address: CLIENT CACHING, until the next line

    def expect(self, line: bytes, now: float) -> None:
        """The server will show this, which no client has asked."""
        self._due.append((now + DUE, line))

    def shown(self, frame: bytes, now: float) -> bytes:
        """What the client gets for a frame that answers no request; empty: nothing."""
        parts = _PARTS.match(frame) if frame[:1] == b"+" else None
        if parts is None:
            return frame
        address, said = parts[1], parts[2]
        held = self._held.pop(address, b"")
        if said == _CACHING and len(self._held) < DUES_MAX:
            self._held[address] = frame
            return held
        if held and said.startswith(_PTTL):
            return b""
        if held and self._takes(_CACHING, now):
            held = b""
        return held if self._takes(_AUTH if said.startswith(_AUTH) else said, now) else held + frame

    def _takes(self, line: bytes, now: float) -> bool:
        """Whether the line was expected; it is not, any more."""
        while self._due and self._due[0][0] < now:
            self._due.popleft()
        for at, (_, due) in enumerate(self._due):
            if due == line:
                del self._due[at]
                return True
        return False

    def __repr__(self) -> str:
        return f"<Monitoring {super().__repr__()}>"

    @property
    def empty(self) -> bool:
        """Never: it monitors for as long as the lane lives, or until RESET, which is its end."""
        return False

    def unasked(self, frame: bytes, head: object) -> bool:
        """Whether no request waits for the frame (ports.Framing)."""
        return bool(_LINE.match(frame)) or super().unasked(frame, head)
