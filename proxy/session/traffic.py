"""What a session has sent and been told, and what of both is still with it, out of its fields."""

from __future__ import annotations

import asyncio
from typing import Protocol

from .clients import Traffic


class Carrying(Protocol):
    """The session."""

    wire: asyncio.Transport | None
    rest: bytes
    pieces: list[bytes]
    out: bytes | None
    outs: list[bytes] | None
    received: int
    replies: int
    reply_bytes: int
    replies_before: int
    bytes_before: int


def traffic_of(session: Carrying, read_ahead: int) -> Traffic:
    """As CLIENT LIST shows it; ``read_ahead``: unparsed bytes beyond which nothing is read."""
    gathered = session.outs or ([session.out] if session.out is not None else [])
    unread = len(session.rest) + sum(map(len, session.pieces))
    return Traffic(
        received=session.received,
        sent=session.bytes_before + session.reply_bytes,
        answered=session.replies_before + session.replies,
        unread=unread,
        room=read_ahead - unread,
        gathered=(sum(map(len, gathered)), len(gathered)),
        unsent=session.wire.get_write_buffer_size() if session.wire is not None else 0,
    )
