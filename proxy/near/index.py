# cython: annotation_typing=False, language_level=3, initializedcheck=False
# cython: boundscheck=False, wraparound=False
"""Entries of the near cache, and where a key finds its own: open addressing, in two arrays.

    tags    [ 0, or 31 bits of the hash ]    what a miss looks at, and nothing else
    slots   [ the entry ]                    of the same places

A dict of a few hundred thousand keys wants an object for each key that is asked, and three lines of
memory that are in no cache of the processor. Here the kernel asks with the bytes as they came
(resp/_kernel.pyx, RouteMap.near)."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator

# CPython's collector would walk all entries again and again: 38 % of the CPU while a cache of 64 MB
# is being filled, and pauses (perf, tests.bench.near, mget). It is not missed: who drops an entry
# cuts it off (Queue.remove), and a space that ends drops all that it has.
try:
    from ._collector import untrack as untrack
except ImportError:  # plain Python

    def untrack(one: object) -> None:
        pass


# Of a key that lasts so many milliseconds, for how many it may be kept.
FreshMs = Callable[[bytes, int], int]

# Places, a power of two. Full by half at most, so that a miss ends soon.
PLACES_MIN = 8


def _tag(mixed: int) -> int:
    return mixed >> 30 & 0x7FFFFFFF | 1  # never 0; the kernel has the same


class Entry:
    """A reply, and its place in a queue. ``freq`` is all that a hit touches."""

    __slots__ = (
        "alive", "deadline", "freq", "key", "mixed", "newer", "older", "queue", "reply", "size",
        "space",
    )  # fmt: skip

    key: bytes
    mixed: int  # the hash of the key, mixed with the salt of its space
    reply: bytes | None
    deadline: float  # not served from then on
    freq: int
    size: int
    space: object  # cache.py's Space
    alive: bool
    older: Entry
    newer: Entry
    queue: Queue

    def __repr__(self) -> str:
        state = "alive" if self.alive else "dropped"
        return f"<Entry {self.key!r} {state} size={self.size} freq={self.freq}>"


class Ticket:
    """The right to fill one key once. Void as soon as anything may have changed the key.

    ``freq`` is what its entry begins with."""

    __slots__ = ("freq", "key", "valid")

    key: bytes
    freq: int
    valid: bool

    def __repr__(self) -> str:
        return f"<Ticket {self.key!r} {'valid' if self.valid else 'void'}>"


class Queue:
    """Entries in the order they came. ``ring`` is no entry: its ``newer`` is the oldest one."""

    def __init__(self) -> None:
        ring = Entry.__new__(Entry)
        ring.newer = ring.older = ring
        self.ring = ring
        self.used = 0

    def __iter__(self) -> Iterator[Entry]:
        """From the oldest to the newest."""
        entry = self.ring.newer
        while entry is not self.ring:
            yield entry
            entry = entry.newer

    def push(self, entry: Entry) -> None:
        ring = self.ring
        last = ring.older
        entry.queue = self
        entry.older = last
        entry.newer = ring
        last.newer = entry
        ring.older = entry
        self.used += entry.size

    def remove(self, entry: Entry) -> None:
        older, newer = entry.older, entry.newer
        older.newer = newer
        newer.older = older
        # Cut, or whoever still has this entry holds its neighbours, and those theirs.
        entry.older = entry.newer = entry.queue = None  # type: ignore[assignment]  # it is dropped
        self.used -= entry.size


class Index:
    """The entries of one space by key; asks for the hash that the space mixes."""

    def __init__(self, salt: int = 0) -> None:
        self.salt = salt
        self.count = 0
        self._clear(PLACES_MIN)

    def __repr__(self) -> str:
        return f"<Index {self.count} of {self.mask + 1}>"

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[bytes]:
        return iter([entry.key for entry in self.values()])

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    def __getitem__(self, key: bytes) -> Entry:
        entry = self.get(key)
        if entry is None:
            raise KeyError(key)
        return entry

    def values(self) -> list[Entry]:
        return [entry for entry in self.slots if entry is not None]

    def get(self, key: bytes) -> Entry | None:
        return self.find(key, hash(key) ^ self.salt)

    def find(self, key: bytes, mixed: int) -> Entry | None:
        at = mixed & self.mask
        tag = _tag(mixed)
        while self.tags[at]:
            if self.tags[at] == tag:
                entry = self.slots[at]
                if entry is not None and entry.mixed == mixed and entry.key == key:
                    return entry
            at = at + 1 & self.mask
        return None

    def put(self, entry: Entry) -> None:
        """An entry whose key has none here."""
        self.count += 1
        if 2 * self.count > self.mask + 1:
            held = self.values()
            self._clear(2 * self.mask + 2)
            for one in held:
                self._place(one)
        self._place(entry)

    def _place(self, entry: Entry) -> None:
        at = entry.mixed & self.mask
        while self.tags[at]:
            at = at + 1 & self.mask
        self.tags[at] = _tag(entry.mixed)
        self.slots[at] = entry

    def remove(self, entry: Entry) -> None:
        """One that is here. Those behind it that could stand in its place move up, so that no walk
        ends too soon."""
        self.count -= 1
        if not self.count:
            self._clear(PLACES_MIN)
            return
        mask, tags, slots = self.mask, self.tags, self.slots
        hole = entry.mixed & mask
        while slots[hole] is not entry:
            hole = hole + 1 & mask
        at = hole
        while True:
            at = at + 1 & mask
            other = slots[at]
            if other is None:
                break
            if (at - (other.mixed & mask) & mask) >= (at - hole & mask):
                tags[hole] = tags[at]
                slots[hole] = other
                hole = at
        tags[hole] = 0
        slots[hole] = None

    def _clear(self, places: int) -> None:
        self.tags = array("I", bytes(4 * places))
        self.slots: list[Entry | None] = [None] * places
        untrack(self.slots)
        self.mask = places - 1


def request_name(request: bytes, flat: bool) -> bytes:
    """What cache.py's ``Space.other`` keeps the reply to a whole canonical request by: RESP2
    (``flat``) and RESP3 have replies of their own."""
    return (b"2" if flat else b"3") + request


def key_of(name: bytes) -> bytes:
    """The key that a request of that name reads: the word behind the command's."""
    words = name.split(b"\r\n", 4)
    return words[4][: int(words[3][1:])]


def allocated(length: int) -> int:
    """What a bytes object of that length takes: pymalloc up to 512 bytes, malloc beyond, both in
    steps of 16."""
    size = length + _BYTES
    if size <= 512:
        return size + 15 & ~15
    return size + 8 + 15 & ~15


_BYTES = sys.getsizeof(b"")
# An entry, and its places in the index: two to four, of 12 bytes each.
FIXED = sys.getsizeof(Entry.__new__(Entry)) + 36
