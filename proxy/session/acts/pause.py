"""CLIENT PAUSE and UNPAUSE: passed on, and noted from their sending on, for what is sent behind
them on a shared lane would wait there and hold up everybody."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from ...errors import ProxyError
from ...resp.requests import encode, integer_of
from ...upstream.pause import Pause
from ..conducted import Conducted
from ..context import Context
from .plain import forward

# The server looks at its clock now and then only.
LATE: Final = 0.5
FOR_EVER: Final = 1e7  # seconds; event loops take no more


class Pausing:
    """One CLIENT PAUSE: begun as it is sent, undone where the server refuses it."""

    def __init__(self, context: Context, ms: int, *, writes: bool) -> None:
        self._context = context
        self._seconds = min(ms / 1000, FOR_EVER) + LATE
        self._writes = writes
        self._before: Pause | None = None  # what was in force; None: it has not begun

    def __repr__(self) -> str:
        return f"<Pausing {self._seconds:g} s {'writes' if self._writes else 'all'}>"

    @staticmethod
    def of(context: Context, args: list[bytes]) -> Pausing | None:
        """None: it is none, and the server's to refuse."""
        ms = integer_of(args[2]) if len(args) in (3, 4) else None
        if ms is None or ms < 0:
            return None
        return Pausing(context, ms, writes=args[-1].upper() == b"WRITE")

    def begin(self) -> None:
        lanes = self._context.lanes
        self._before = replace(lanes.pause)
        now = asyncio.get_running_loop().time()
        lanes.pause.begin(now + self._seconds, writes=self._writes)
        _changed(self._context)

    def undo(self) -> None:
        if self._before is not None:
            self._context.lanes.pause, self._before = self._before, None
            _changed(self._context)

    def seen(self, reply: bytes) -> bytes:
        if reply.startswith(b"-"):
            self.undo()
        return reply

    def lost(self, why: ProxyError) -> bytes:
        self.undo()
        return why.line


def pause(session: Conducted, args: list[bytes]) -> bool:
    pausing = Pausing.of(session.context, args)
    if pausing is None:
        return forward(session, args)
    session.peek(encode(args), pausing.seen, lost=pausing.lost)
    pausing.begin()
    return True


def unpause(session: Conducted, args: list[bytes]) -> bool:
    session.peek(encode(args), lambda reply: unpaused(session.context, reply))
    return True


def unpaused(context: Context, reply: bytes) -> bytes:
    """The server has answered CLIENT UNPAUSE."""
    if reply.startswith(b"+"):
        context.lanes.pause.end()
        _changed(context)
    return reply


def _changed(context: Context) -> None:
    """At once, and again as it ends: one timer, however many pauses there were."""
    for client in context.clients:
        client.berth.take_pause()
    context.lanes.at_pause_end(lambda: _changed(context))
