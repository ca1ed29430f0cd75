"""Why a session does not parse on (stalls), and why it keeps a lane of its own (holds): bits.

Plain ints: enum flags cost 0.3 us an operation, and the hot path asks ``if self.stalls`` for every
read (tests.bench, P=1)."""

from __future__ import annotations

from typing import Final

from ..hot.answers import STALL_CLIENT, STALL_WINDOW

STALL_DRAIN: Final = 1  # until nothing is outstanding
# 2 is STALL_WINDOW: until half of the window is free
STALL_REPLY: Final = 4  # until one reply has told how to go on
STALL_LANE: Final = 8  # until the lane takes more
# 16 is STALL_CLIENT: until the client reads
STALL_END: Final = 32  # for ever: the session ends when all is answered
STALL_TURN: Final = 64  # until the next loop turn
STALL_PLACE: Final = 128  # until there is a lane to be borrowed
STALL_HELD: Final = 256  # until the master is another, or stays (holding.py)
# What holds for a tunnel's bytes as for requests.
STALLS_OF_BYTES: Final = STALL_CLIENT | STALL_LANE | STALL_END
# With one of these something is to be done when nothing is outstanding.
STALLS_TO_DRAIN: Final = STALL_DRAIN | STALL_WINDOW | STALL_END

HOLD_MULTI: Final = 1
HOLD_WATCH: Final = 2
HOLD_BLOCKED: Final = 4
HOLD_SUBSCRIBED: Final = 8
HOLD_TRACKING: Final = 16
HOLD_STICKY: Final = 32
HOLD_UPLOAD: Final = 64
HOLD_TUNNEL: Final = 128
HOLD_REDIRECTED: Final = 256  # another's invalidations come here
HOLD_MONITOR: Final = 512
HOLD_REPLICA: Final = 2048  # a tunnel, of SYNC or PSYNC
HOLD_GRANT: Final = 1024  # what it asked for would be nobody's if it went
# With one of these gone the client must learn that its state is gone: its connection ends.
HOLDS_STATE: Final = ~(HOLD_BLOCKED | HOLD_GRANT)
# For a client with one of these the future has something: its end must be seen, and ends it.
HOLDS_WAITING: Final = HOLD_BLOCKED | HOLD_SUBSCRIBED | HOLD_TUNNEL | HOLD_MONITOR
