"""What a server says that will not answer here and now: redirections and their kin, as values.

Pure. Which of them to follow, and how often, is router.py's.
Source: https://valkey.io/topics/cluster-spec/ (redirection and resharding)"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

_WHERE: Final = re.compile(rb"-(MOVED|ASK) (\d{1,5}) (\S*):(\d{1,5})\r\n")


class Kind(Enum):
    MOVED = auto()  # the slot is at another node, from now on
    ASK = auto()  # this key is at another node, which is to be told ASKING first
    AGAIN = auto()  # keys of one request are at two nodes at the moment
    LATER = auto()  # nobody can answer now, or not this node any more


@dataclass(frozen=True, slots=True)
class Redirect:
    """One such reply. ``host`` is empty where it is the host of the node that answered."""

    kind: Kind
    slot: int = -1
    host: str = ""
    port: int = 0


# What a server says of a slot that nobody has.
NOT_SERVED: Final = b"-CLUSTERDOWN Hash slot not served\r\n"
# What it says of keys that are at two nodes, in both servers' words.
_REHASHING: Final = b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n"
AGAIN: Final = Redirect(Kind.AGAIN)
LATER: Final = Redirect(Kind.LATER)
_WORDS: Final = {
    b"-TRYAGAIN": AGAIN,
    b"-CLUSTERDOWN": LATER,
    b"-LOADING": LATER,
    b"-MASTERDOWN": LATER,
    b"-READONLY": LATER,
}


def redirect(reply: bytes) -> Redirect | None:
    """What a whole reply says of where to ask, or when; None: it is an answer."""
    if not reply.startswith(b"-"):
        return None
    found = _WHERE.fullmatch(reply)
    if found is not None:
        kind = Kind.MOVED if found[1] == b"MOVED" else Kind.ASK
        host = found[3].decode("utf-8", "backslashreplace").strip("[]")
        return Redirect(kind, int(found[2]), host, int(found[4]))
    return _WORDS.get(reply.partition(b" ")[0].rstrip(b"\r\n"))


def in_its_words(reply: bytes, slot: int) -> bool:
    """Whether it is word for word what a server says of keys of the slot that it does not have, or
    not all of them."""
    found = redirect(reply)
    return reply == _REHASHING or (found is not None and found.slot == slot >= 0)
