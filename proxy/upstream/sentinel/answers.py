"""What Sentinels say: their answers, their events, and which of several answers holds.

Pure. An answer is believed by its epoch, which grows with each failover and is the same for all who
know of it: a Sentinel that was cut off still names the old master, with the old epoch.
https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, cast

from ...settings.address import Tcp


@dataclass(frozen=True, slots=True)
class Naming:
    """Where a Sentinel says that the master is; ``epoch`` is of its configuration."""

    address: Tcp
    epoch: int

    def __str__(self) -> str:
        return str(self.address)


class Change(Enum):
    """What an event means for us."""

    MOVED = auto()  # the master is another, at the address that the event has
    LOOK = auto()  # it may be another: who sent the event knows
    BEGINS = auto()  # a failover begins
    ABORTED = auto()  # and has come to nothing


CHANGES: Final = {
    b"+switch-master": Change.MOVED,
    b"+promoted-slave": Change.LOOK,  # before +switch-master, which waits for the other replicas
    b"+config-update-from": Change.LOOK,
    b"+failover-end": Change.LOOK,
    b"+reboot": Change.LOOK,
    b"+sdown": Change.LOOK,
    b"-sdown": Change.LOOK,
    b"+odown": Change.LOOK,
    b"+slave": Change.LOOK,
    b"+sentinel": Change.LOOK,
    b"+try-failover": Change.BEGINS,
    b"+elected-leader": Change.BEGINS,
    b"-failover-abort-no-good-slave": Change.ABORTED,
    b"-failover-abort-not-elected": Change.ABORTED,
    b"-failover-abort-slave-timeout": Change.ABORTED,
    b"-failover-abort-master-is-down": Change.ABORTED,
}


@dataclass(frozen=True, slots=True)
class Event:
    change: Change
    name: str  # as Sentinel calls it
    address: Tcp | None = None  # of the master from now on


# --- Answers ----------------------------------------------------------------------------------


def pairs_of(reply: object) -> dict[bytes, bytes]:
    """A flat list of names and values as a map. ValueError: it is none."""
    if not isinstance(reply, list):
        raise ValueError("not a list")
    items = cast("list[object]", reply)
    if len(items) % 2 or not all(isinstance(item, bytes) for item in items):
        raise ValueError("not a list of names and values")
    words = cast("list[bytes]", items)
    return dict(zip(words[::2], words[1::2], strict=True))


def address_of(host: object, port: object) -> Tcp:
    """ValueError: they are no host and port."""
    if not (isinstance(host, bytes) and isinstance(port, bytes) and port.isdigit()):
        raise ValueError("no host and port")
    number = int(port[:6])
    text = host.decode("utf-8", "replace")
    if not (text and text.isprintable() and 0 < number <= 65535):
        raise ValueError("no host and port")
    return Tcp(text, number)


def naming_of(address: object, master: object) -> Naming | None:
    """The answers to SENTINEL GET-MASTER-ADDR-BY-NAME and SENTINEL MASTER. None: the Sentinel does
    not know that master. ValueError: they make no sense."""
    if address is None:
        return None
    if not isinstance(address, list):
        raise ValueError("no address")
    items = cast("list[object]", address)
    if len(items) != 2:
        raise ValueError("no address")
    epoch = pairs_of(master).get(b"config-epoch", b"")
    if not (epoch.isdigit() and len(epoch) < 20):
        raise ValueError("no epoch")
    return Naming(address_of(*items), int(epoch))


def others_of(reply: object) -> list[tuple[Tcp, bytes]]:
    """The other Sentinels of a master and their ids, as SENTINEL SENTINELS has them; those that
    make no sense are passed over."""
    found: list[tuple[Tcp, bytes]] = []
    for row in cast("list[object]", reply) if isinstance(reply, list) else []:
        try:
            about = pairs_of(row)
            address = address_of(about.get(b"ip"), about.get(b"port"))
        except ValueError:
            continue
        found.append((address, about.get(b"runid", b"")))
    return found


def decided(
    answers: Sequence[Naming], known: int, current: Naming | None, *, all_in: bool
) -> Naming | None:
    """Which of the answers holds, out of so many Sentinels; None: none does, yet. ``all_in``: no
    more will come.

    What more than half say holds at once, unless we know better: its epoch is older than ours. Of
    what fewer say the highest epoch holds, and of equal ones where we are already. An older epoch
    holds where all who answer agree, and they are more than half: Sentinel was set up anew."""
    epoch = -1 if current is None else current.epoch
    votes = Counter(answer.address for answer in answers)
    for address, count in votes.most_common(1):
        newest = max((a for a in answers if a.address == address), key=lambda a: a.epoch)
        agreed = count * 2 > known
        if agreed and (newest.epoch >= epoch or (all_in and len(votes) == 1)):
            return newest
    if not all_in:
        return None
    here = None if current is None else current.address
    best = max(
        answers,
        key=lambda one: (one.epoch, one.address == here, votes[one.address]),
        default=None,
    )
    return best if best is not None and best.epoch >= epoch else None


# --- Events -----------------------------------------------------------------------------------


def told_of(channel: bytes, payload: bytes) -> Event | None:
    """What a message of a Sentinel says. None: nothing that we know. By name, for a Sentinel may
    watch many masters.

        +switch-master    mymaster oldip oldport ip port
        others            master mymaster ip port
                          slave|sentinel name ip port @ mymaster ip port ..."""
    change = CHANGES.get(channel)
    words = payload.split(b" ")
    if change is Change.MOVED and len(words) == 5:
        try:
            return Event(change, _text(words[0]), address_of(*words[3:]))
        except ValueError:
            return None
    if change is None or change is Change.MOVED:
        return None
    if len(words) >= 8 and words[4] == b"@":
        return Event(change, _text(words[5]))
    if len(words) >= 4 and words[0] == b"master":
        return Event(change, _text(words[1]))
    return None


def _text(word: bytes) -> str:
    return word.decode("utf-8", "replace")
