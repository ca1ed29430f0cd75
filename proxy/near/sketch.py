# cython: annotation_typing=False, language_level=3, initializedcheck=False
# cython: boundscheck=False, wraparound=False
"""What the near cache knows of keys that it does not have: a table of counters by hash.

    sights   [ 12 bits of the hash | 4 bits: how often it was seen ]

Compiled as cache.py is. The kernel walks misses against it without an object for any of them
(resp/_kernel.pyx, RouteMap.near), the cache asks and tells it. A hash is that of the key, mixed
with the salt of its space."""

from __future__ import annotations

from array import array

# Slots for sights of two bytes each. No more: of reads spread evenly over 10 million keys, slots in
# 10,000,000 + slots are seen twice, and each of those costs the server two commands more.
SLOTS_MIN, SLOTS_MAX = 1024, 256 * 1024

_32_BITS = 0xFFFFFFFF  # a C integer in the compiled form (sketch.pxd)


class Sketch:
    def __init__(self, slots: int) -> None:
        """``slots``: a power of two."""
        self.sights = array("H", bytes(2 * slots))
        self.sights_mask = slots - 1
        self.dice = 0
        self.sampled = False  # a 64th of the keys is the cache's to look at (duel.py)
        self.eager = False  # what is seen for the first time is kept too

    def __repr__(self) -> str:
        return f"<Sketch slots={self.sights_mask + 1}>"

    def see(self, mixed: int) -> int:
        """How often a key of this hash was seen, now included; 1 is the first time. A slot belongs
        to who was there last or more often: so the window is as many misses as there are slots,
        about."""
        at = mixed & self.sights_mask
        mark = (mixed >> 40) & 0xFFF0
        held = self.sights[at]
        count = held ^ mark
        if count > 15 and held & 15 > 1:
            # Another's that was seen more often: it only loses one of its sights.
            self.sights[at] = held - 1
            return 1
        if 0 < count < 15:
            count += 1
        elif count != 15:
            # One time in eight the other stays, by chance (Numerical Recipes' generator): two keys
            # of one slot that are read in turns would never be seen twice.
            self.dice = self.dice * 1664525 + 1013904223 & _32_BITS
            if count > 15 and held & 15 and not self.dice >> 29:
                return 1
            count = 1
        self.sights[at] = mark | count
        return count

    def first_sight(self, mixed: int) -> bool:
        """Whether it was not seen lately: then it is seen now. Never of those that the cache must
        look at itself: in the sample, or all while it is eager."""
        if self.eager or (self.sampled and not mixed >> 20 & 63):
            return False
        seen = self.sights[mixed & self.sights_mask] ^ ((mixed >> 40) & 0xFFF0)
        if 0 < seen <= 15:
            return False
        self.see(mixed)
        return True

    def remember(self, mixed: int, count: int) -> None:
        """The next sight of this hash is at least the second, and tells of so many before."""
        at = mixed & self.sights_mask
        mark = (mixed >> 40) & 0xFFF0
        held = self.sights[at]
        if held ^ mark <= 15 or held & 15 <= count:
            self.sights[at] = mark | count


def slots_for(budget: int) -> int:
    """A power of two: some three for each entry of 64 bytes that fits. Their memory never changes,
    and is half a MiB at most."""
    return 1 << (min(max(budget // 128, SLOTS_MIN), SLOTS_MAX).bit_length() - 1)
