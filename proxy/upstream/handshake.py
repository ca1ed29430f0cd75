"""What is said on a new connection before any request, and what the answers mean.

    steps(key, upstream)   SELECT?  │ AUTH?  HELLO  SELECT? │ CLIENT TRACKING?      │ PING?
    judge(steps, replies)  may fail │ must succeed          │ may fail: no tracking │ facts
                              │           └─▶ Standing, or UpstreamNotReady, or UpstreamRefused
                              └─ failed ─▶ again: SELECT as the user

A user's lanes ask nothing that the ACL may have against the user (ACL LOG would show it), and get
a db as its clients got it: by SELECT before AUTH. AUTH and HELLO are everybody's; HELLO's reply has
the connection's id. Only the proxy's own lanes ask PING: whether the server can serve.

Where Sentinels name the server every lane asks ROLE, for an address that they name may be that of a
replica, for now. It is asked with the URL's login: a user's lane becomes the user's behind it.

Pure: connecting.py writes the requests in one piece and hands over the replies. Nothing here opens
a connection, waits or retries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from ..errors import NO_AUTH_COMMAND, UpstreamDown, UpstreamNotReady, UpstreamRefused
from ..settings.address import Kind, Upstream
from .lane_key import LaneKey, Use

_ROLE: Final = re.compile(rb"\*\d+\r\n\$\d+\r\n([a-z]+)\r\n")
_ID: Final = re.compile(rb"\$2\r\nid\r\n:(\d{1,19})\r\n")
_CLUSTER: Final = b"$4\r\nmode\r\n$7\r\ncluster\r\n"
MASTER: Final = "master"
# A server that says one of these in the handshake is not ready yet.
NOT_READY: Final = (b"-LOADING", b"-MASTERDOWN")


class Purpose(Enum):
    """What a step is for, which says what an error in its reply means."""

    LOGIN = auto()  # refused: the user or the password is wrong
    EARLY = auto()  # refused: it is asked again as the user
    STATE = auto()  # refused: the lane cannot become what its key says
    TRACKING = auto()  # failed: the lane serves, but hears of no changes
    IDENTITY = auto()  # failed: the connection's id stays unknown
    PROBE = auto()  # whether the server can serve
    ROLE = auto()  # whether it takes writes
    REPLICA = auto()  # failed: it redirects every read
    AS_US = auto()  # failed: nobody can tell its role


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the handshake."""

    words: tuple[bytes, ...]
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Standing:
    """What a connection is after a handshake that succeeded."""

    client_id: int = 0  # the server's number of this connection; 0: unknown
    locked: bool = False  # the server wants a login that we do not have
    tracking: bool = False  # the server tells us of changes to what we read
    cluster: bool = False  # the server is a node of a cluster


def steps(
    key: LaneKey, upstream: Upstream, *, bare: bool = False, tracks: bool = True
) -> list[Step]:
    """The requests that make a new connection what ``key`` says; ``bare``: without any login;
    ``tracks``: its user may track, if the key says that it shall."""
    asked = [] if bare else login(key, upstream)
    role = [] if bare or upstream.kind is not Kind.SENTINEL else _role(key, upstream)
    select = [Step((b"SELECT", b"%d" % key.db), Purpose.STATE)] if key.db else []
    if key.user is not None and asked:
        asked = [Step(step.words, Purpose.EARLY) for step in select] + asked
        select = []
    tracks = tracks and key.use is Use.TRACKED
    resp3 = tracks or key.resp == 3
    why = Purpose.TRACKING if tracks else Purpose.STATE if resp3 else Purpose.IDENTITY
    asked.append(Step((b"HELLO", b"3" if resp3 else b"2"), why))
    asked += select
    if tracks:
        asked.append(Step((b"CLIENT", b"TRACKING", b"ON", b"OPTIN"), Purpose.TRACKING))
    if key.use is Use.REPLICA:
        asked.append(Step((b"READONLY",), Purpose.REPLICA))
    if key.user is None and not bare:
        asked.append(Step((b"PING",), Purpose.PROBE))
    return asked + role if key.user is None else role + asked


def _role(key: LaneKey, upstream: Upstream) -> list[Step]:
    """ROLE, on a user's lane as ourselves."""
    ask = Step((b"ROLE",), Purpose.ROLE)
    if key.user is None:
        return [ask]
    return [*(Step(step.words, Purpose.AS_US) for step in login(LaneKey(), upstream)), ask]


def role_of(reply: bytes) -> str | None:
    """What an answer to ROLE says; None: nothing."""
    found = _ROLE.match(reply)
    return None if found is None else found[1].decode()


def again(asked: Sequence[Step], replies: Sequence[bytes]) -> list[Step]:
    """What the user has to be asked, since nobody could do it before AUTH."""
    return [
        Step(step.words, Purpose.STATE)
        for step, reply in zip(asked, replies, strict=True)
        if step.purpose is Purpose.EARLY and reply.startswith(b"-")
    ]


def login(key: LaneKey, upstream: Upstream) -> list[Step]:
    """AUTH as the key's user, or as the upstream URL says, or not at all."""
    if key.user is not None:
        words: tuple[bytes, ...] = (b"AUTH", key.user.name, key.user.password)
    elif upstream.password is None:
        return []
    elif upstream.username is not None:
        name = upstream.username or "default"
        words = (b"AUTH", name.encode(), upstream.password.encode())
    else:
        # The one-word AUTH also serves servers that only know requirepass.
        words = (b"AUTH", upstream.password.encode())
    return [Step(words, Purpose.LOGIN)]


def judge(asked: Sequence[Step], replies: Sequence[bytes]) -> Standing:
    """What the connection is now; ``replies`` has one for each step.

    UpstreamNotReady: the server cannot serve yet. UpstreamDown: it is a replica. UpstreamRefused:
    it will not serve us so."""
    for step, reply in zip(asked, replies, strict=True):
        if reply.startswith(NOT_READY):
            raise UpstreamNotReady(reply)
        role = role_of(reply) if step.purpose is Purpose.ROLE else None
        if role is not None and role != MASTER:
            raise UpstreamDown(f"Sentinel names it, and it is no master but a {role}")
    cluster = False
    client_id, locked, tracking = 0, False, any(s.purpose is Purpose.TRACKING for s in asked)
    for step, reply in zip(asked, replies, strict=True):
        failed = reply.startswith(b"-")
        if step.purpose is Purpose.LOGIN and failed:
            # The server's "unknown command" repeats the password.
            unknown = b"unknown command" in reply
            raise UpstreamRefused(NO_AUTH_COMMAND if unknown else reply, login=True)
        if step.purpose is Purpose.STATE and failed:
            raise UpstreamRefused(reply, login=False)
        if step.purpose is Purpose.REPLICA and failed:
            raise UpstreamDown(f"READONLY: {reply.decode('latin-1').strip()}")
        if step.purpose is Purpose.TRACKING and failed:
            tracking = False
        if step.words[0] == b"HELLO":
            found = None if failed else _ID.search(reply)
            client_id = int(found[1]) if found else 0
            cluster = _CLUSTER in reply
        if step.purpose in (Purpose.IDENTITY, Purpose.PROBE):
            locked |= reply.startswith(b"-NOAUTH")
    return Standing(client_id, locked, tracking, cluster)
