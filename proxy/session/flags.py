"""CLIENT LIST's flags, and what one of them stands for that no hold of ours does.

https://redis.io/docs/latest/commands/client-list/"""

from __future__ import annotations

from typing import Final

from .client_lines import head_of
from .moored import Moored
from .reasons import (
    HOLD_BLOCKED,
    HOLD_MONITOR,
    HOLD_MULTI,
    HOLD_REPLICA,
    HOLD_SUBSCRIBED,
    HOLD_TRACKING,
)

_FLAGS: Final = {
    "x": HOLD_MULTI,
    "b": HOLD_BLOCKED,
    "P": HOLD_SUBSCRIBED,
    "t": HOLD_TRACKING,
    "O": HOLD_MONITOR,
    "S": HOLD_REPLICA,
}
# What waits beside commands of the flag ``write``, where writes are paused: what may replicate, a
# flag that COMMAND of Redis does not show, and EXEC of any of them.
_WAIT: Final = frozenset(b"EVAL EVALSHA EXEC FCALL PFCOUNT PUBLISH SPUBLISH".split())


def flags_of(holds: int) -> str:
    """Those of why a session has a lane of its own."""
    return "".join(flag for flag, bit in _FLAGS.items() if holds & bit)


def postponed(session: Moored) -> bool:
    """Whether what a session asked last, and nobody has answered, waits for the end of CLIENT
    PAUSE WRITE: to the server its client is blocked then. Others' pauses are not known."""
    context = session.context
    words = head_of(session.last) if context.lanes.writes_paused else []
    if not words:
        return False
    name = words[0].upper()
    command = context.table.commands.get(name)
    return name in _WAIT or (command is not None and b"write" in command.flags)
