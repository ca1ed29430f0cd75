"""``python -m tests.bench.hit_ratio``: how many reads the near cache answers, beside LRU and
W-TinyLFU of as many entries on the same trace.

Zipf(0.99) over a million keys; of the operations one in twenty is a SET from elsewhere, which
invalidates its key. A miss fills at once where the cache wants it: ours at the second sight, or at
the first where that is better. All begin empty, so the first half of the trace is shown apart: what
counts is the second. No server, no network.

    --trace static    the same keys stay popular
    --trace moving    every --every operations the whole hot set is another one
    --trace scanning  behind every --every operations half as many keys are read once, in order

Bars: at most 2 points below the better of LRU and W-TinyLFU; static: 3 points above LRU too."""

from __future__ import annotations

import argparse
import itertools
import random
import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import Protocol

from nearhit.proxy.near.cache import NearCache

from . import report

SKEW = 0.99
WRITES = 0.05
OVER_LRU = 3.0
UNDER = 2.0  # the better of both
BATCH = 500_000


class Policy(Protocol):
    def read(self, key: int) -> bool:
        """Whether it was a hit; a miss fills."""

    def invalidate(self, key: int) -> None: ...


class Near:
    """Ours. Its reads are the proxy's calls: get, admit, fill."""

    def __init__(self, budget: int, size: int, keys: int) -> None:
        self.cache = NearCache(budget)
        self.space = self.cache.space(0, None)
        self.most = 0
        self._size = size
        self._names = [b"key:%012d" % number for number in range(keys)]

    def read(self, key: int) -> bool:
        name = self._names[key]
        if self.space.get(name, 0.0) is not None:
            return True
        ticket = self.space.admit(name)
        if ticket is not None:
            self.space.fill(ticket, b"$%d\r\n%b\r\n" % (self._size, bytes(self._size)), -1, 0.0)
            self.most = max(self.most, self.cache.entries)
        return False

    def invalidate(self, key: int) -> None:
        self.cache.invalidate(self._names[key])


class Lru:
    def __init__(self, entries: int) -> None:
        from cachetools import LRUCache

        self._cache: LRUCache[int, bool] = LRUCache(entries)

    def read(self, key: int) -> bool:
        if self._cache.get(key) is not None:
            return True
        self._cache[key] = True
        return False

    def invalidate(self, key: int) -> None:
        self._cache.pop(key, None)


class TinyLfu:
    def __init__(self, entries: int) -> None:
        from theine import Cache

        self._cache: Cache[int, bool] = Cache(entries)

    def read(self, key: int) -> bool:
        if self._cache.get(key)[1]:
            return True
        self._cache.set(key, True)
        return False

    def invalidate(self, key: int) -> None:
        self._cache.delete(key)


def trace(keys: int, operations: int, seed: int) -> Iterator[Sequence[int]]:
    """Batches of keys, 0 the most popular; a write of the key is its complement."""
    dice = random.Random(seed)
    weights = list(itertools.accumulate(rank**-SKEW for rank in range(1, keys + 1)))
    for at in range(0, operations, BATCH):
        batch = dice.choices(range(keys), cum_weights=weights, k=min(BATCH, operations - at))
        yield array("l", (~key if dice.random() < WRITES else key for key in batch))


def moving(batches: Iterator[Sequence[int]], keys: int, every: int) -> Iterator[Sequence[int]]:
    """The same popularities, of other keys each time."""
    at = 0
    for batch in batches:
        moved = array("l")
        for key in batch:
            step = at // every * (keys // 7 + 1)
            moved.append((key + step) % keys if key >= 0 else ~((~key + step) % keys))
            at += 1
        yield moved


def scanning(batches: Iterator[Sequence[int]], keys: int, every: int) -> Iterator[Sequence[int]]:
    """Between them ``every // 2`` keys that nobody else reads, from ``keys`` on."""
    at = scanned = 0
    for batch in batches:
        mixed = array("l")
        for key in batch:
            mixed.append(key)
            at += 1
            if not at % every:
                mixed.extend(keys + (scanned + n) % keys for n in range(every // 2))
                scanned += every // 2
        yield mixed


def ratios(policy: Policy, batches: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Percent of hits among the reads of the whole trace, and of its second half."""
    halves = []
    middle = len(batches) // 2
    for half in (batches[:middle], batches[middle:]):
        hits = reads = 0
        for key in itertools.chain.from_iterable(half):
            if key < 0:
                policy.invalidate(~key)
            else:
                reads += 1
                hits += policy.read(key)
        halves.append((hits, reads))
    (early, before), (late, after) = halves
    return 100 * (early + late) / (before + after), 100 * late / after


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.hit_ratio", description=__doc__)
    add = parser.add_argument
    add("--keys", type=int, default=1_000_000)
    add("--operations", type=int, default=20_000_000)
    add("--budget", type=int, default=64 * 1024 * 1024, metavar="BYTES")
    add("--size", type=int, default=64, metavar="BYTES", help="of a value")
    add("--seed", type=int, default=1)
    add("--trace", choices=["static", "moving", "scanning"], default="static")
    add("--every", type=int, default=100_000, metavar="OPERATIONS")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    steady = trace(options.keys, options.operations, options.seed)
    kinds = {"moving": moving, "scanning": scanning}
    change = kinds.get(options.trace)
    batches = list(change(steady, options.keys, options.every) if change else steady)
    near = Near(options.budget, options.size, 2 * options.keys)
    found = {"near cache": ratios(near, batches)}
    try:
        others: dict[str, Policy] = {"LRU": Lru(near.most), "W-TinyLFU": TinyLfu(near.most)}
    except ImportError as error:
        print(f"{error}: pip install cachetools theine (both are in the extra dev)")
        return 2
    found |= {name: ratios(policy, batches) for name, policy in others.items()}
    rows = [["cache", "hit % all", "hit % second half"]]
    rows += [[name, f"{whole:.2f}", f"{late:.2f}"] for name, (whole, late) in found.items()]
    print("\n".join(report.align(rows)))
    ours, lru, tiny = (late for _, late in found.values())
    over_lru = OVER_LRU if options.trace == "static" else -UNDER
    met = ours >= lru + over_lru and ours >= tiny - UNDER
    print(
        report.facts(
            [
                ("near cache", repr(near.cache)),
                ("over LRU", f"{ours - lru:+.2f} points (wanted: {over_lru:+.0f})"),
                ("over W-TinyLFU", f"{ours - tiny:+.2f} points (wanted: {-UNDER:+.0f})"),
                ("met", met),
            ]
        )
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
