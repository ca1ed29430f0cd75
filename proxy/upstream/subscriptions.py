"""The subscriptions of one lane, and which of its frames are messages.

On a subscribed connection replies and messages mix. RESP3 marks messages and confirmations as
pushes; in RESP2 they are plain arrays, and only their first word tells them apart. The server
confirms each channel by a frame of its own. UNSUBSCRIBE without names gets one for each
subscription, so that only the subscriptions at that moment tell how many will come.
https://redis.io/docs/latest/develop/interact/pubsub/

Pure: the lane hands every frame over (ports.Framing); sessions read the counts."""

from __future__ import annotations

import re
from typing import Final, Protocol, runtime_checkable

_FIRST_WORD: Final = re.compile(rb"[*>]\d+\r\n\$\d+\r\n([a-z]+)\r\n")
_NAME: Final = re.compile(rb"[*>]\d+\r\n\$\d+\r\n[a-z]+\r\n\$(\d+)\r\n")
_MESSAGES: Final = frozenset({b"message", b"pmessage", b"smessage"})
_KINDS: Final = {
    b"subscribe": 0,
    b"psubscribe": 1,
    b"ssubscribe": 2,
    b"unsubscribe": 0,
    b"punsubscribe": 1,
    b"sunsubscribe": 2,
}


@runtime_checkable
class Confirmed(Protocol):
    """A slot that waits for confirmations of ``word``. ``bare``: the request named no channels, so
    that it waits for as many as there are subscriptions."""

    want: int
    word: bytes
    bare: bool


class Channels:
    """The channels, patterns and shard channels that one lane is subscribed to."""

    def __init__(self, resp: int = 2) -> None:
        self.resp = resp
        self.names: tuple[set[bytes], set[bytes], set[bytes]] = (set(), set(), set())
        self.size = 0  # bytes of all names

    def __repr__(self) -> str:
        channels, patterns, shards = self.counts
        return f"<Channels {channels} patterns={patterns} shards={shards} resp={self.resp}>"

    @property
    def empty(self) -> bool:
        """Whether no subscription is left."""
        return not any(self.names)

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many channels, patterns and shard channels are subscribed."""
        return len(self.names[0]), len(self.names[1]), len(self.names[2])

    def unasked(self, frame: bytes, head: object) -> bool:
        """Whether no request waits for the frame (ports.Framing)."""
        pushed = frame[:1] == b">"
        asked = head if isinstance(head, Confirmed) else None
        found = _FIRST_WORD.match(frame)
        word = found[1] if found else b""
        if self.resp == 3 and not pushed:
            word = b""  # an array is a reply, whatever it reads like
        if word in _MESSAGES and (pushed or not self.empty):
            return True
        if word in _KINDS and (pushed or asked is not None):
            return self._confirmed(word, frame, asked)
        if asked is not None and frame[:1] == b"-":
            asked.want = 1  # refused as a whole: one error for all its channels
        return pushed

    def _confirmed(self, word: bytes, frame: bytes, asked: Confirmed | None) -> bool:
        """Keep the subscriptions by a confirmation; whether no request waits for it."""
        names = self.names[_KINDS[word]]
        mine = asked is not None and asked.word == word
        if asked is not None and mine and asked.bare:
            asked.bare = False
            asked.want = max(1, len(names))
        found = _NAME.match(frame)
        if found:
            name = frame[found.end() : found.end() + int(found[1])]
            if b"un" in word[:3]:
                self.size -= len(name) if name in names else 0
                names.discard(name)
            else:
                self.size += 0 if name in names else len(name)
                names.add(name)
        return not mine
