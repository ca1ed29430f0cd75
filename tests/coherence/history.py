"""What may be read: the versions of each key, who has acknowledged which, and who has seen which.

    writer ─ issue ─▶ send ─▶ reply ─ acknowledge            a write is one number, larger than all
    reader ─ floor ─▶ send ─▶ reply ─ look ─▶ Broken?        before it; nil has a number too

Writes of one key are serial (its lock), so their numbers are in the server's order. Odd numbers
are nils that nobody wrote: keys that ended, were evicted, or went with their server. Knows no
socket."""

from __future__ import annotations

import asyncio
import bisect
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

# Seconds by which a foreign write must show: pushes travel, on a noisy machine;
BOUND: Final = 1.5
# where the tracked lane may fall silent: two seconds, the one that noticed, and the same machine.
SILENT_BOUND: Final = 4.5
# Seconds that a value may be read longer than its key lived: the way of one reply.
LATE: Final = 0.25


class Broken(AssertionError):
    """A rule of coherence was broken."""


@dataclass
class Write:
    version: int
    issued: float
    acknowledged: float = 0.0  # 0: not, or nobody knows
    by: str = ""
    lives: float = 0.0  # seconds; 0: for ever


@dataclass
class Keyed:
    """One key's life."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    writes: list[Write] = field(default_factory=list)
    nils: list[int] = field(default_factory=lambda: [0])  # versions that are nil, in order
    values: dict[int, Write] = field(default_factory=dict)
    # By proxy: the newest version that it has acknowledged.
    known: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@dataclass
class Reader:
    """One connection of a client."""

    name: str
    proxy: str
    seen: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))


class History:
    def __init__(
        self, keys: Sequence[bytes], *, fleeting: bool = False, bound: float = BOUND
    ) -> None:
        self.bound = bound
        self.keys = {key: Keyed() for key in keys}
        self.fleeting = fleeting  # keys may end at any time
        self.began = time.monotonic()
        self.last = 0
        self.reads = 0
        self.lags: list[float] = []  # of reads that were older than an acknowledged foreign write
        self.grace = 0.0  # until then nothing is said about lags: the upstream was away

    @asynccontextmanager
    async def writing(self, *keys: bytes):  # type: ignore[no-untyped-def]
        """These keys are ours to write."""
        async with AsyncExitStack() as stack:
            for key in sorted(set(keys)):
                await stack.enter_async_context(self.keys[key].lock)
            yield

    def issue(self, key: bytes, *, nil: bool = False, lives: float = 0.0) -> Write:
        """A write is about to be sent, of a value that lives for so many seconds."""
        self.last += 2
        keyed = self.keys[key]
        write = Write(self.last, time.monotonic(), lives=lives)
        keyed.writes.append(write)
        if nil:
            keyed.nils.append(write.version)
        else:
            keyed.values[write.version] = write
            if lives or self.fleeting:
                keyed.nils.append(write.version + 1)
        return write

    def ended(self) -> None:
        """The server is gone, and all that it stored. Nil stands behind each write: what was on its
        way may have been done before the end, or in the next life."""
        for keyed in self.keys.values():
            ends = (write.version + 1 for write in keyed.writes)
            keyed.nils = sorted({*keyed.nils, *ends})

    def acknowledge(self, key: bytes, write: Write, by: str) -> None:
        write.acknowledged = time.monotonic()
        write.by = by
        known = self.keys[key].known
        known[by] = max(known[by], write.version)

    def floor(self, reader: Reader, key: bytes) -> int:
        """A read is about to be sent: what it may not be older than, by what its proxy has
        acknowledged."""
        return self.keys[key].known[reader.proxy]

    def look(
        self, reader: Reader, key: bytes, value: bytes | None, floor: int, sent: float, how: str
    ) -> None:
        """A read was answered."""
        keyed, self.reads = self.keys[key], self.reads + 1
        least = max(floor, reader.seen[key])
        version = self._version(keyed, value, least)
        if version is None or version < least:
            rule = (
                "a value that nobody wrote"
                if value is not None and version is None
                else "older than this reader has seen"
                if reader.seen[key] > floor
                else "older than a write that this proxy had acknowledged before the read was sent"
            )
            raise Broken(self._told(rule, reader, key, value, least, sent, how))
        reader.seen[key] = version
        if value is not None:
            write = keyed.values[version]
            over = sent - (write.acknowledged or sent) - write.lives
            if write.lives and over > LATE:
                rule = f"read {over * 1000:.0f} ms behind the end of its {write.lives * 1000:.0f}"
                raise Broken(self._told(rule, reader, key, value, least, sent, how))
        if value is None:  # of several nils the newest may be meant
            version = keyed.nils[-1]
        self._lag(reader, keyed, key, value, version, sent, how)

    def _version(self, keyed: Keyed, value: bytes | None, least: int) -> int | None:
        if value is None:
            at = bisect.bisect_left(keyed.nils, least)
            return keyed.nils[at] if at < len(keyed.nils) else None
        try:
            version = int(value.split()[-1])
        except (ValueError, IndexError):
            return None
        return version if version in keyed.values else None

    def _lag(
        self,
        reader: Reader,
        keyed: Keyed,
        key: bytes,
        value: bytes | None,
        version: int,
        sent: float,
        how: str,
    ) -> None:
        """How long before the read something newer had been acknowledged elsewhere."""
        lag = 0.0
        for write in reversed(keyed.writes):
            if write.version <= version:
                break
            if 0 < write.acknowledged < sent:
                lag = sent - write.acknowledged
        if lag:
            self.lags.append(lag)
        if lag > self.bound and sent > self.grace:
            rule = f"{lag * 1000:.0f} ms behind a foreign write, bound {self.bound * 1000:.0f} ms"
            raise Broken(self._told(rule, reader, key, value, version, sent, how))

    def _told(
        self,
        rule: str,
        reader: Reader,
        key: bytes,
        value: bytes | None,
        least: int,
        sent: float,
        how: str,
    ) -> str:
        def at(moment: float) -> str:
            return f"{(moment - self.began) * 1000:.1f}" if moment else "never"

        rows = [
            f"{how} of {key!r} by {reader.name} through {reader.proxy}: {rule}",
            f"  got {value!r}, least {least}, seen by this reader {reader.seen[key]}, "
            f"acknowledged {dict(self.keys[key].known)}",
            f"  sent at {at(sent)} ms, answered at {at(time.monotonic())} ms; nils "
            f"{self.keys[key].nils[-4:]}; the last writes:",
        ]
        rows += [
            f"    {write.version}: issued {at(write.issued)}, acknowledged {at(write.acknowledged)}"
            f" by {write.by or 'nobody'}"
            for write in self.keys[key].writes[-6:]
        ]
        return "\n".join(rows)


def percentile(values: list[float], share: float) -> float:
    """In milliseconds; 0 of none."""
    ordered = sorted(values)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
