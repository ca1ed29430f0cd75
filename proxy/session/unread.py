"""Bytes that clients have not read yet, of one and of all together, and how many they may be.

    a client's socket is full ─▶ its lane is not read from, where nobody else waits there
    others wait there ─▶ it is read from for their sake, up to ``UNREAD_MAX`` for this client;
                         with ``UNREAD_TOTAL`` for all clients, no further at all
    ``hard`` is passed ─▶ the client is cut at once

What then happens to the lane is weight.py's."""

from __future__ import annotations

from typing import Final

UNREAD_MAX: Final = 64 * 1024 * 1024
UNREAD_TOTAL: Final = 256 * 1024 * 1024


class Unread:
    """What all clients together have not read, as far as it is more than a full socket."""

    __slots__ = ("hard", "impatient_until", "total")

    def __init__(self, hard: int = 0) -> None:
        self.total = 0
        self.hard = hard  # client_output_buffer's, for each client; 0: none
        self.impatient_until = 0.0  # loop time: no client is waited for before

    def __repr__(self) -> str:
        return f"<Unread {self.total}>"

    def count(self, before: int, now: int) -> bool:
        """One client has ``now`` bytes unread, which were ``before``; whether that is too
        much."""
        self.total += now - before
        return now > UNREAD_MAX or (now > 0 and self.total > UNREAD_TOTAL)

    def passed(self, now: int) -> bool:
        """Whether a client with so many bytes unread is beyond the hard bound, as Redis counts."""
        return 0 < self.hard <= now


def overcome(unread: int, how: str) -> str:
    """Why a client is cut, in the words of Redis's log."""
    return f"overcoming of output buffer limits (client_output_buffer): {unread} bytes, {how}"
