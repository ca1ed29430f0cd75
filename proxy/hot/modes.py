"""The modes of a session and the moves between them: nothing else says which may follow which.

    LOCKED ◀──▶ NEAR ◀──▶ FAR ◀──▶ QUEUEING ◀──▶ SUBSCRIBED      home: each may follow each, as
                 │ │       │ │                                   the login, RESP and holds say
       GET, MGET │ │ EVAL  │ │ GETORSET, LOCK ...    (LOCKED may too)
                 │ └──┬────┘ │
                 ▼    ▼      ▼
             TRACKED  SCRIPTING  OWN                             passing: back home when nothing
                 └── GETORSET ──▶┘                               is outstanding any more

In a passing mode a session remembers where home is, which may change meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..resp.modes import Mode

HOMES: Final = frozenset({Mode.LOCKED, Mode.NEAR, Mode.FAR, Mode.QUEUEING, Mode.SUBSCRIBED})
MOVES: Final[Mapping[Mode, frozenset[Mode]]] = {
    # The server has a word for strangers, whose reads of loaders' keys are asked all the same.
    Mode.LOCKED: HOMES | {Mode.OWN},
    Mode.NEAR: HOMES | {Mode.TRACKED, Mode.SCRIPTING, Mode.OWN},
    Mode.FAR: HOMES | {Mode.SCRIPTING, Mode.OWN},
    Mode.QUEUEING: HOMES,
    Mode.SUBSCRIBED: HOMES,
    Mode.SCRIPTING: HOMES,
    Mode.TRACKED: HOMES | {Mode.OWN},
    Mode.OWN: HOMES,
}
# The same as bits, for the compiled path: MOVE_BITS[from] >> to & 1.
MOVE_BITS: Final = [sum(1 << to for to in MOVES.get(mode, ())) for mode in Mode]
