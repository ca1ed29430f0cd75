"""What makes two lanes alike: the db, the protocol, the upstream user, and what the lane is for.

Pure values. Sessions carry a LaneKey and change it (SELECT, HELLO, AUTH); lanes.py keeps its lanes
by it; handshake.py makes a new connection what its key says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto


@dataclass(frozen=True, slots=True)
class User:
    """An upstream user, with the password that a client authenticated with.

    Two users of one name are equal only with the same password: a client that came with another
    password, which is right too, gets other lanes. A User lives while sessions or lanes use it."""

    name: bytes
    password: bytes

    def __repr__(self) -> str:
        return f"<User {self.name!r}>"


class Use(Enum):
    """What a shared lane is for: requests wait only for those of the same use."""

    REQUESTS = auto()
    ASIDE = auto()  # the same, while large replies are on their way there
    SCRIPTS = auto()  # everything behind a long one waits for it
    TRACKED = auto()  # reads whose keys the server remembers, and tells us when they change
    PROBE = auto()  # whether a new connection is answered, where an old one is silent
    REPLICA = auto()  # reads that a replica may answer
    BULK = auto()  # work in quantity: scans, fills of many keys


@dataclass(frozen=True, slots=True)
class LaneKey:
    """What the commands of a session depend on. Sessions with equal keys share lanes.

    Without a user the lane is the proxy's own: the user in the upstream URL, if there is one."""

    db: int = 0
    resp: int = 2
    user: User | None = None
    use: Use = Use.REQUESTS
    era: int = 0  # newcomers.py; 0: whoever the server has let in

    def with_db(self, db: int) -> LaneKey:
        return replace(self, db=db)

    def with_resp(self, resp: int) -> LaneKey:
        return replace(self, resp=resp)

    def with_user(self, user: User | None) -> LaneKey:
        return replace(self, user=user, era=0 if user is not None else self.era)
