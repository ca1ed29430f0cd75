"""Notices SWAPDB and changes of the ACL, of which the server tells nobody: by how often it says
that they were called.

    twice a second, while somebody lives by what was read ─▶ INFO commandstats ─▶ calls_of
                                       other than before ─▶ swapped(), or new_rights()

Whoever may not ask INFO asks once for each connection: ``again`` is called when one stands.
rights.py ticks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ..stats.fleet import Sending
from ..upstream.ask import Reply

SWAPS: Final = re.compile(rb"^cmdstat_swapdb:(calls=\d+,usec=\d+)", re.MULTILINE)
# Other errors, as LOADING, are of the moment.
REFUSALS: Final = (b"-NOPERM", b"-NOAUTH", b"-ERR")
RIGHTS: Final = re.compile(
    rb"^cmdstat_acl\|(?:setuser|deluser|load):(calls=\d+,usec=\d+)", re.MULTILINE
)


def calls_of(kind: re.Pattern[bytes], info: bytes) -> bytes:
    """How often they were called and how long it took, as one text that differs after each call;
    empty: never, or never since CONFIG RESETSTAT."""
    return b" ".join(kind.findall(info))


class Swaps:
    """Asks, and tells of a change. ``needed``: whether anybody depends on it now."""

    def __init__(
        self,
        ask: Sending,
        *,
        needed: Callable[[], bool],
        swapped: Callable[[], None],
        new_rights: Callable[[], None],
    ) -> None:
        self._ask = ask
        self._needed = needed
        self._tell = {SWAPS: swapped, RIGHTS: new_rights}
        self._calls = dict.fromkeys(self._tell, b"")
        self._asking = False
        self._refused = False

    def __repr__(self) -> str:
        calls = b" ".join(filter(None, self._calls.values())).decode()
        return f"<Swaps {'refused' if self._refused else calls or 'none'}>"

    def tick(self) -> None:
        """Twice a second."""
        if not (self._asking or self._refused) and self._needed():
            self._asking = True
            self._ask(self._told, b"INFO", b"commandstats")

    @property
    def refused(self) -> bool:
        """Whether the server does not tell: the proxy's own user may not ask it."""
        return self._refused

    def again(self) -> None:
        """Another connection stands, which may be asked what the last one refused."""
        self._refused = False

    def _told(self, reply: Reply) -> None:
        self._asking = False
        if not isinstance(reply, bytes):
            return  # the connection is lost, and with it all that depends on it
        self._refused = reply.startswith(REFUSALS)
        for kind, tell in self._tell.items():
            before, calls = self._calls[kind], calls_of(kind, reply)
            self._calls[kind] = calls
            if calls not in (before, b""):
                tell()
