"""How a client's connection ends while the process stops: with all that it was told, and a FIN.

A plain close sends RST where bytes of the client are unread, as under load they are, and RST has
the client's system forget what it has not handed over yet. So our side ends first, what still
comes is taken and dropped, and the client's FIN, or ``LINGER``, ends the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

LINGER: Final = 0.25  # seconds
# Of an upload nothing has come for so long: the client does not mean to end it.
UPLOAD_PAUSE: Final = 1.0


def end_first(wire: asyncio.Transport) -> None:
    """Say that nothing more will come, behind all that was written; close soon."""
    if wire.is_closing():
        return
    if not wire.can_write_eof():
        wire.close()
        return
    wire.write_eof()
    wire.resume_reading()
    asyncio.get_running_loop().call_later(LINGER, wire.close)


def end_now(wire: asyncio.Transport) -> None:
    """Close without waiting for the client: it has got all that was written, or never will."""
    if wire.get_write_buffer_size():
        wire.abort()
    else:
        wire.close()


def watch_upload(seen: Callable[[], int], stalled: Callable[[], None]) -> None:
    """Call ``stalled`` when nothing has come for a while; ``seen`` tells the bytes so far, -1: it
    is over."""

    def look(before: int) -> None:
        now = seen()
        if now == before:
            stalled()
        elif now >= 0:
            loop.call_later(UPLOAD_PAUSE, look, now)

    loop = asyncio.get_running_loop()
    loop.call_later(UPLOAD_PAUSE, look, seen())


def rest_a_turn(wire: asyncio.Transport, reads: Callable[[], bool]) -> None:
    """Read no more from a client in this turn of the loop: libuv would go on with up to 32 reads
    of 256 KB before anybody else. ``reads``: whether it is read from at all, then."""

    def read_on() -> None:
        if reads() and not wire.is_closing():
            wire.resume_reading()

    wire.pause_reading()
    asyncio.get_running_loop().call_soon(read_on)
