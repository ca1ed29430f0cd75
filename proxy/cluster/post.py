"""A real lane on which one virtual connection is subscribed at one node.

    sync(wanted) ─▶ SUBSCRIBE what is new, UNSUBSCRIBE what is wanted no more
    the node ─▶ confirmed, refused ─▶ pubsub.py
             ─▶ messages, sunsubscribe of a slot that has left ─▶ pubsub.py

Speaks RESP3, where messages and confirmations are told from replies. Owns what is asked for and
held at its node; what has to be there is pubsub.py's."""

from __future__ import annotations

import re
from collections.abc import Set
from enum import IntEnum
from functools import partial
from typing import Final, Protocol

from ..errors import ProxyError
from ..resp.requests import encode
from ..upstream.ask import AskSlot, Done, Reply
from ..upstream.lane import Lane
from ..upstream.lane_key import LaneKey
from ..upstream.lanes import Lanes
from ..upstream.subscriptions import Channels
from .loan import Loan

# Names in one request.
NAMES_MAX: Final = 256
_FRAME: Final = re.compile(rb">\d+\r\n\$\d+\r\n([a-z]+)\r\n\$(\d+)\r\n")


class Kind(IntEnum):
    CHANNEL = 0
    PATTERN = 1
    SHARD = 2


Name = tuple[Kind, bytes]
WORDS: Final = (b"subscribe", b"psubscribe", b"ssubscribe")
_UNWORDS: Final = (b"unsubscribe", b"punsubscribe", b"sunsubscribe")


class Office(Protocol):
    """Who has the posts."""

    def confirmed(self, post: Post, names: Set[Name]) -> None: ...
    def refused(self, post: Post, names: Set[Name], line: bytes) -> None: ...
    def dropped(self, post: Post, name: Name) -> None:
        """The node has ended the subscription: the slot is elsewhere."""

    def message(self, post: Post, kind: Kind, name: bytes, frame: bytes) -> None: ...
    def gone(self, post: Post, why: ProxyError) -> None:
        """The connection is lost, or none could be had."""


class Confirmation(AskSlot):
    """What waits for the confirmations of one request (upstream.subscriptions.Confirmed)."""

    __slots__ = ("bare", "word")

    def __init__(self, done: Done, word: bytes, names: int) -> None:
        super().__init__(done, names)
        self.word = word
        self.bare = False


class Post:
    def __init__(self, office: Office, pool: Lanes, key: LaneKey) -> None:
        self.held = set[Name]()
        self._office = office
        self._asked = set[Name]()  # and neither confirmed nor refused
        self._loan = Loan(pool, key.with_resp(3), self._lost, self._pushed)
        self._wanted: Set[Name] = frozenset()

    def __repr__(self) -> str:
        return f"<Post held={len(self.held)} asked={len(self._asked)} {self._loan!r}>"

    def open(self) -> None:
        self._loan.take(self._taken, self._lost)

    def _taken(self, lane: Lane) -> None:
        lane.patient = True
        lane.subscribe(Channels(3))
        self.sync(self._wanted)

    def sync(self, wanted: Set[Name]) -> None:
        """Be subscribed to these, and to nothing else."""
        self._wanted = wanted
        lane = self._loan.lane
        if lane is None:
            return
        for kind in Kind:
            step = 1 if kind is Kind.SHARD else NAMES_MAX  # of one slot each
            new = sorted(one for one in wanted - self.held - self._asked if one[0] is kind)
            for at in range(0, len(new), step):
                self._subscribe(lane, kind, frozenset(new[at : at + step]))
            old = sorted(one for one in (self.held | self._asked) - wanted if one[0] is kind)
            for at in range(0, len(old), step):
                self._unsubscribe(lane, kind, frozenset(old[at : at + step]))

    def _subscribe(self, lane: Lane, kind: Kind, names: frozenset[Name]) -> None:
        self._asked |= names
        slot = Confirmation(partial(self._answered, names), WORDS[kind], len(names))
        lane.send(encode([WORDS[kind], *(name for _, name in names)]), slot)

    def _unsubscribe(self, lane: Lane, kind: Kind, names: frozenset[Name]) -> None:
        self.held -= names
        self._asked -= names
        slot = Confirmation(lambda _: None, _UNWORDS[kind], len(names))
        lane.send(encode([_UNWORDS[kind], *(name for _, name in names)]), slot)

    def _answered(self, names: frozenset[Name], reply: Reply) -> None:
        still = names & self._asked
        self._asked -= still
        if isinstance(reply, ProxyError):
            return  # _lost tells
        if reply.startswith(b"-"):
            self._office.refused(self, still, reply)
        else:
            self.held |= still
            self._office.confirmed(self, still)

    def _pushed(self, frame: bytes) -> None:
        found = _FRAME.match(frame)
        if found is None:
            return
        name = frame[found.end() : found.end() + int(found[2])]
        if found[1] == b"sunsubscribe":
            self.held.discard((Kind.SHARD, name))
            self._office.dropped(self, (Kind.SHARD, name))
        elif found[1] in _MESSAGES:
            self._office.message(self, _MESSAGES[found[1]], name, frame)

    def _lost(self, why: ProxyError) -> None:
        self._office.gone(self, why)

    def close(self) -> None:
        self._loan.give_back(clean=False)


_MESSAGES: Final = {
    b"message": Kind.CHANNEL,
    b"pmessage": Kind.PATTERN,
    b"smessage": Kind.SHARD,
}
