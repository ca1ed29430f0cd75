"""CLIENT PAUSE and UNPAUSE: passed on, and noted from their sending on, for what is sent behind
them on a shared lane would wait there and hold up everybody."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from ...errors import ProxyError
from ...resp.requests import encode, integer_of
from ..conducted import Conducted
from ..context import Context
from .plain import forward

# The server looks at its clock now and then only.
LATE: Final = 0.5
FOR_EVER: Final = 1e7  # seconds; event loops take no more


def pause(session: Conducted, args: list[bytes]) -> bool:
    ms = integer_of(args[2]) if len(args) in (3, 4) else None
    if ms is None or ms < 0:
        return forward(session, args)
    context = session.context
    lanes, before = context.lanes, replace(context.lanes.pause)

    def undo() -> None:
        lanes.pause = before
        _changed(context)

    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"-"):
            undo()
        return reply

    def lost(why: ProxyError) -> bytes:
        undo()
        return why.line

    session.peek(encode(args), seen, lost=lost)
    loop, lasts = asyncio.get_running_loop(), min(ms / 1000, FOR_EVER) + LATE
    lanes.pause.begin(loop.time() + lasts, writes=args[-1].upper() == b"WRITE")
    _changed(context)
    return True


def unpause(session: Conducted, args: list[bytes]) -> bool:
    def seen(reply: bytes) -> bytes:
        if reply.startswith(b"+"):
            session.context.lanes.pause.end()
            _changed(session.context)
        return reply

    session.peek(encode(args), seen)
    return True


def _changed(context: Context) -> None:
    """At once, and again as it ends: one timer, however many pauses there were."""
    for client in context.clients:
        client.berth.take_pause()
    context.lanes.at_pause_end(lambda: _changed(context))
