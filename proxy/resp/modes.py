"""What a session is in: which requests the kernel may forward unseen follows from it.

The map of routes of each mode is table/'s, the moves between them are hot/modes.py's."""

from __future__ import annotations

from enum import IntEnum


class Mode(IntEnum):
    """Those from TRACKED on last until all that is outstanding is answered, as SCRIPTING does;
    the others for as long as what a session holds says so."""

    LOCKED = 0  # before AUTH the server's limits on a request are narrow: each is looked at
    NEAR = 1  # reads of strings may be answered near
    FAR = 2  # the same requests, where GET and MGET are reads like others
    QUEUEING = 3  # inside MULTI
    SUBSCRIBED = 4  # with RESP2, where the server refuses all but a few
    SCRIPTING = 5  # on the lane for scripts, where more of them may follow
    TRACKED = 6  # reads are outstanding on the tracked lane: only reads may follow them
    OWN = 7  # commands of the proxy's own are outstanding: only their like may follow
    INSIDE = 8  # no session's: what a transaction that came whole may hold, from MULTI to EXEC
