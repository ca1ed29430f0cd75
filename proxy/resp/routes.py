"""The numbers of the routes that a request can take: the one place where they are chosen.

table/ gives each command its route, the kernel stops at those it does not walk, hot/ and
session/ act on them. The compiled kernel needs the same numbers as C literals:
tests/unit/resp/test_routes.py holds them to these. Refuses to say which
command takes which route: that is table/."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

# What RouteMap.scan says below zero, where it stopped at no request.
MORE: Final = -1  # the bytes end inside a request
FULL: Final = -2  # the limit was reached

# What a command is counted as, by its flags in COMMAND: the groups of a RouteMap. 0: neither.
ASKING: Final = 1
WRITING: Final = 2


class Route(IntEnum):
    """How a request travels. The kernel forwards runs of PLAIN and stops at everything else."""

    ODD = 0  # unknown command, or bytes that are not a canonical request
    PLAIN = 1  # leaves no state on its connection: any lane of the session's key
    AUTH = 2
    BLOCK = 3  # may wait in the server: the session's own lane until it is answered
    BLOCK_OPTION = 4  # the same when its BLOCK option is given
    CLIENT = 5
    DEBUG = 23
    DISCARD = 6
    EXEC = 7
    HELLO = 8
    MONITOR = 9
    MULTI = 10
    QUIT = 11
    RESET = 12
    SCRIPT = 13
    SCRIPTED = 24  # may run for long: a lane apart, where only other scripts wait behind it
    SELECT = 14
    SHUTDOWN = 15
    STICKY = 16  # leaves state that only the connection's end undoes
    SUBSCRIBE = 17
    TUNNEL = 18  # turns the connection into something that is not request and reply
    UNSUBSCRIBE = 19
    UNWATCH = 20
    WAIT = 21  # counts from the connection's last write
    WATCH = 22
    READ = 25  # PLAIN, and its hits and misses are counted: GET and its kin
    WRITE = 26  # PLAIN, but its keys are looked at: loads of them are void, the near cache forgets
    GETORSET = 27  # a command of the proxy's own that may follow others of its kind unanswered
    CUSTOM = 28  # any other command of the proxy's own
    COMMAND = 29  # the server's answer and ours together
    INFO = 30
    READ_THROUGH = 31  # GET and MGET, where a loader may answer a miss
    NEAR = 32  # GET, where the near cache may have the answer
    WRITE_ONE = 33  # a write of the one key behind the name, which the near cache forgets
    NEAR_MANY = 34  # MGET, of which the near cache may have some answers
    NEAR_ANY = 37  # another read of one key, where the near cache may have the answer
    FAR_ANY = 38  # the same where it goes to the server: TELL, and whether it repeats is noted
    PERMIT = 36  # ACL, CONFIG: may change who may what
    TELL = 35  # PLAIN, and what it tells of strings may be newer than what the near cache has
