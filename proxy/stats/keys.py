"""Which keys are read most, which are the largest, and how it is by prefix: of what is sampled.

    a sampled request ─▶ read(db, key, weight) ─▶ hot keys, and the prefix of each
                  its reply ─▶ got(...) ────────▶ hits, misses, bytes
                                 write ─ wrote() ─▶ big keys

A sample stands for ``weight`` requests (stats/sampler.py). Numbers are of lately: each MINUTE they
weigh half of what they did. Pure, and bounded: MOST names of each kind; where there are more, the
half that matters least is forgotten, so that who comes anew is not the next to go. Names longer
than NAME_MOST are passed over. Who may see which of them is for others to say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

MOST: Final = 1024
NAME_MOST: Final = 512
MINUTE: Final = 60.0
BIG: Final = 1024  # bytes; what is smaller is no big key
SHOWN: Final = 128  # at most, of one process
HOT, LARGE, PREFIX = "hotkeys", "bigkeys", "prefixes"
VIEWS: Final = (HOT, LARGE, PREFIX)
_PREFIX: Final = re.compile(rb"(?:[^:0-9]*:)*")


@dataclass(slots=True)
class Seen:
    """A key, or a prefix, of one db. ``hits`` and ``misses``: samples whose reply was seen.
    ``size``: bytes of what was seen last, of a prefix on average."""

    db: int
    name: bytes
    example: bytes  # a key: who may read it, may know of the name
    reads: float = 0.0
    hits: float = 0.0
    misses: float = 0.0
    size: float = 0.0
    age: int = 0  # minutes for which nothing was seen

    @property
    def found(self) -> tuple[int | None, int | None]:
        """Of all reads, as of those whose reply was seen."""
        told, reads = self.hits + self.misses, round(self.reads)
        if not told:
            return None, None
        hits = round(reads * self.hits / told)
        return hits, reads - hits

    def add(self, other: Seen) -> None:
        """What another process has seen of it."""
        self.reads += other.reads
        self.hits += other.hits
        self.misses += other.misses
        self.size = max(self.size, other.size)

    def record(self) -> list[Any]:
        """As JSON can have it: latin-1 has a letter for each byte."""
        names = self.name.decode("latin-1"), self.example.decode("latin-1")
        return [self.db, *names, self.reads, self.hits, self.misses, self.size]


def seen_of(record: list[Any]) -> Seen:
    db, name, example, *numbers = record
    return Seen(db, name.encode("latin-1"), example.encode("latin-1"), *numbers)


def by_reads(one: Seen) -> float:
    return one.reads


def by_size(one: Seen) -> float:
    return one.size


RANKS: Final[Mapping[str, Callable[[Seen], float]]] = {
    HOT: by_reads,
    LARGE: by_size,
    PREFIX: by_reads,
}


def top(them: Iterable[Seen], view: str, most: int = SHOWN) -> list[Seen]:
    """The first of them; of equals in the order of their names."""
    rank = RANKS[view]
    return sorted(them, key=lambda one: (-rank(one), one.db, one.name))[:most]


@lru_cache(MOST)
def prefix_of(key: bytes) -> bytes:
    """``user:`` of ``user:42:name``: up to the colon before the first part with a digit in it, or
    before the last part. Empty: it has none."""
    found = _PREFIX.match(key)
    return found[0] if found is not None else b""


class Keys:
    """What one process has seen."""

    def __init__(self) -> None:
        self._views: dict[str, dict[tuple[int, bytes], Seen]] = {view: {} for view in VIEWS}
        self._halved: float | None = None  # when last

    def __repr__(self) -> str:
        return f"<Keys {' '.join(f'{view}={len(of)}' for view, of in self._views.items())}>"

    def read(self, db: int, key: bytes, weight: float) -> None:
        if len(key) <= NAME_MOST:
            self._find(HOT, db, key, key).reads += weight
            prefix = self._find(PREFIX, db, prefix_of(key), key)
            prefix.reads += weight
            prefix.example = key

    def got(self, db: int, key: bytes, size: int, *, hit: bool, whole: bool = True) -> None:
        """The reply to what was ``read`` just now, or lately; ``whole``: of all that is there."""
        if len(key) > NAME_MOST:
            return
        for view, name in ((HOT, key), (PREFIX, prefix_of(key))):
            one = self._find(view, db, name, key)
            if hit:
                one.hits += 1
                # Of a prefix the mean, in which the last one counts for an eighth at least.
                of = min(one.hits, 8.0) if view == PREFIX else 1.0
                one.size += (size - one.size) / of
            else:
                one.misses += 1
        if hit:
            self.wrote(db, key, size, whole=whole)

    def wrote(self, db: int, key: bytes, size: int, *, whole: bool = True) -> None:
        """A value of this size is there, or a part of one."""
        if len(key) > NAME_MOST:
            return
        if size >= BIG:
            one = self._find(LARGE, db, key, key)
            one.size = size if whole else max(size, one.size)
        elif whole:
            self._views[LARGE].pop((db, key), None)

    def tick(self, now: float) -> None:
        """Once a second, or as often as one likes."""
        if self._halved is None:
            self._halved = now
        if now - self._halved < MINUTE:
            return
        self._halved = now
        for view, of in self._views.items():
            for place, one in list(of.items()):
                one.age += 1
                one.reads, one.hits, one.misses = one.reads / 2, one.hits / 2, one.misses / 2
                if one.age > MINUTE or (view != LARGE and one.reads < 1):
                    del of[place]

    def top(self, view: str) -> list[Seen]:
        return top(self._views[view].values(), view)

    def reset(self) -> None:
        for of in self._views.values():
            of.clear()

    def _find(self, view: str, db: int, name: bytes, key: bytes) -> Seen:
        of, place = self._views[view], (db, name)
        found = of.get(place)
        if found is None:
            if len(of) >= MOST:
                kept = sorted(of.values(), key=RANKS[view], reverse=True)[: MOST // 2]
                of.clear()
                of.update(((one.db, one.name), one) for one in kept)
            found = of[place] = Seen(db, name, key)
        found.age = 0
        return found
