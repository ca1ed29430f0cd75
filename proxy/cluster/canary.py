"""Who tells at once that a hash slot has left its node: a subscription to a channel in the slot.

    first fill of a slot ─ SSUBSCRIBE nh{tag} ─▶ tracked lane of its node
                           sunsubscribe, unasked ◀─ as the slot leaves: what stands of it is old

A nil that is kept is invalidated by nobody when its slot moves: the server invalidates the keys
that it deletes, and that of the nil is not there. Without permission for the channels (&nh{*) the
poll of the map is what tells, within a second or so."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from functools import cache
from typing import Final

from ..errors import ProxyError
from ..log import event
from ..resp.kernel import hash_slot
from ..resp.requests import encode
from ..upstream.lane import Lane
from .topology import SLOTS

log = logging.getLogger(__name__)

_COME: Final = b">3\r\n$10\r\nssubscribe\r\n"
_GONE: Final = b">3\r\n$12\r\nsunsubscribe\r\n"
# Not now: the slot has just moved, say. Anything else is said whenever it is asked.
_PASSING: Final = (b"-MOVED", b"-CLUSTERDOWN", b"-LOADING", b"-ASK", b"-TRYAGAIN")


@cache
def tags() -> tuple[bytes, ...]:
    """By slot, a short tag that hashes to it. Takes 30 ms, once."""
    found: dict[int, bytes] = {}
    for number in itertools.count():
        tag = b"%x" % number
        found.setdefault(hash_slot(tag), tag)
        if len(found) == SLOTS:
            break
    return tuple(found[slot] for slot in range(SLOTS))


def is_canary(channel: bytes) -> bool:
    """Whether a shard channel is one of those."""
    if not (channel.startswith(b"nh{") and channel.endswith(b"}")):
        return False
    return tags()[hash_slot(channel)] == channel[3:-1]


class Perch:
    """The place of a SSUBSCRIBE. What answers it is a push; only a refusal is a reply."""

    def __init__(self, refused: Callable[[bytes], None]) -> None:
        self.want = 1
        self._refused = refused
        self._got = b""

    def feed(self, chunk: bytes) -> None:
        self._got += chunk
        if not self.want:
            self._refused(self._got)

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0
        self._refused(b"")


class Canaries:
    """Of one virtual lane. ``sent``: by slot, whether there is one, or none is wanted."""

    def __init__(self, left: Callable[[int], None]) -> None:
        self.sent = bytearray(SLOTS)
        self.refused = False
        self._left = left

    def __repr__(self) -> str:
        return f"<Canaries {len(self)} refused={self.refused}>"

    def __len__(self) -> int:
        return 0 if self.refused else sum(self.sent)

    def send(self, slot: int, lane: Lane) -> None:
        """See that the lane tells when the slot leaves; before anything of it is read to keep."""

        def refused(reply: bytes) -> None:
            self.sent[slot] = 0
            if reply and not reply.startswith(_PASSING) and not self.refused:
                self.refused = True
                self.sent[:] = b"\1" * SLOTS  # not asked again on these connections
                event(log, logging.WARNING, "slot moves are polled for", reply=reply[:80])

        self.sent[slot] = 1
        lane.send(encode([b"SSUBSCRIBE", b"nh{%b}" % tags()[slot]]), Perch(refused))

    def heard(self, lane: Lane, frame: bytes) -> bool:
        """Take a push, if it is about a canary."""
        if frame.startswith(_COME):
            if lane.waiting and isinstance(lane.waiting[0], Perch):
                lane.waiting.popleft()
                lane.done += 1
            return True
        if not frame.startswith(_GONE):
            return False
        channel = frame[len(_GONE) :].split(b"\r\n", 2)[1]
        slot = hash_slot(channel)
        if not self.refused:
            self.sent[slot] = 0
        self._left(slot)
        return True

    def forget(self, slots: set[int] | None = None) -> None:
        """These have another node, None: or any may have. Who was refused asks again."""
        if slots is None:
            self.refused = False
            self.sent[:] = bytes(SLOTS)
        elif not self.refused:
            for slot in slots:
                self.sent[slot] = 0
