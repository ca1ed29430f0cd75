# cython: annotation_typing=False, language_level=3
# cython: boundscheck=False, wraparound=False
"""Whether the near cache of a space pays: the reads that it saves against the fills that it buys.

    pays      each hit earns credit, each miss and each fill costs some ── none left ──▶ bypassed
    bypassed  reads pass as if there were no near cache; a sample of their keys shows what each
              would have been ── that would have earned a part of what it takes to fill ──▶ pays

The same as renting until the rent would have bought the skis (Karlin et al., 1988): who reads
everything once pays for no cache, who reads the same again gets one. Where a purchase turns out
bad, the next one must earn twice as much first. Called by cache.py and by the kernel's walk
(resp/_kernel.pyx, RouteMap.scan); knows no entry and no clock."""

from __future__ import annotations

from array import array

# What a read is worth, in CPU of proxy and server together: half of what passing one on costs.
# A fill asks the server two things more; a miss is looked up, and cuts a pipeline. A hit in an MGET
# some of whose keys are missing saves nothing: it goes to the server all the same, and costs the
# proxy more than one that is passed on (tests.bench.near, mget: 8 us, of which the server saves 4).
HIT, MISS, FILL = 2, 1, 7
# What a space may spend before it has earned anything: 30 ms of CPU, once.
START = 65536
# Of what the fills will cost, what must have been earned first, in eighths; it doubles up to this.
PART_MAX = 64
# Reads between two looks at the account.
LOOK = 1024

# Of the keys, one in so many is of the sample, by its hash; of all reads and of all writes, one in
# so many is looked at besides, for a hot set may be so small that no key of it is in the sample.
SAMPLE = 64
RECENT = 256  # keys of those reads that are remembered
ROOM_MIN, ROOM_MAX = 16, 65536
LATELY = 64  # reads that a shadow's ratio is of, about

_HIT, _MISS, _FILL, _START, _LOOK = HIT, MISS, FILL, START, LOOK
_SAMPLE, _LATELY = SAMPLE, LATELY


class Shadow:
    """Keys that a cache with so much room would hold: hashes, two places for each, the later one
    first. What it would have earned by now, with its own fills paid for."""

    def __init__(self, room: int, keys: int) -> None:
        """``room``: a power of two. ``keys``: how many each that it sees stands for. A read stands
        for SAMPLE of them."""
        self.keys = array("I", bytes(4 * room))
        self.mask = room - 1
        self.keys_each = keys
        self.earned = 0
        self.filled = 0  # keys that it would have bought
        self.ratio = 0.0  # of its reads of late, how many it would have answered

    def read(self, mixed: int, keys_read: int) -> None:
        """``keys_read``: of the request. It would be answered here if all of them were; of the
        others is known only how often one is."""
        # The lowest bit of a mark tells that the key was seen a second time: then it is filled.
        keys = self.keys
        at = mixed & self.mask & ~1
        mark = mixed >> 20 & 0x7FFFFFFE | 0x80000000
        if keys[at] & ~1 == mark:
            held = keys[at]
        elif keys[at ^ 1] & ~1 == mark:
            held = keys[at ^ 1]
            keys[at ^ 1] = keys[at]
        else:
            held = 0
            self.filled -= keys[at ^ 1] & 1
            keys[at ^ 1] = keys[at]
        if not held:
            keys[at] = mark
            self.earned -= _MISS * _SAMPLE
        elif held & 1:
            keys[at] = held
            if keys_read == 1:
                self.earned += _HIT * _SAMPLE
            else:
                self.earned += int(_HIT * _SAMPLE * self.ratio ** (keys_read - 1))
            self.ratio += (1.0 - self.ratio) / _LATELY
        else:
            keys[at] = held | 1
            self.filled += 1
            self.earned -= _FILL * self.keys_each + _MISS * _SAMPLE
        if not held & 1:
            self.ratio -= self.ratio / _LATELY
        if self.earned < 0:
            self.earned = 0

    def forget(self, mixed: int) -> None:
        """It is being written: the next read of it is a miss that must be filled, and stands, as
        each read does, for SAMPLE such fills, of whatever keys."""
        keys = self.keys
        at = mixed & self.mask & ~1
        mark = mixed >> 20 & 0x7FFFFFFE | 0x80000000
        if keys[at] == mark | 1:
            keys[at] = mark
        elif keys[at ^ 1] == mark | 1:
            keys[at ^ 1] = mark
        else:
            return
        self.filled -= 1
        self.earned -= _FILL * (_SAMPLE - self.keys_each)


class Worth:
    def __init__(self) -> None:
        self.pays = True
        self.credit = START
        self.next_look = LOOK  # reads
        self.switches = 0
        self.why = ""  # of a bypass: what has used the credit up
        self._part = 1
        self._price = 0  # what the fills of this purchase may cost
        self._hits = self._misses = self._fills = 0  # at the last look
        self._missed = self._filled = 0  # what both have cost since the account was full
        self.reads = 0  # that were bypassed
        self._writes = 0
        self._sampled: Shadow | None = None
        self._recent: Shadow | None = None

    def __repr__(self) -> str:
        return f"<Worth {'pays' if self.pays else 'bypassed'} credit={self.credit}>"

    def look(self, hits: int, misses: int, fills: int, entries: int, room: int) -> None:
        """While it pays: what the space has counted in all, hits that saved nothing left out, how
        many entries the cache has, and how many there would be room for."""
        missed = _MISS * (misses - self._misses)
        filled = _FILL * (fills - self._fills)
        self.credit += _HIT * (hits - self._hits) - missed - filled
        self._missed += missed
        self._filled += filled
        self._hits, self._misses, self._fills = hits, misses, fills
        self.next_look = hits + misses + _LOOK
        # Enough for a hot set that moves: it is filled anew, and pays again.
        full = _START + max(_FILL * entries, self._price)
        if self.credit >= full:
            self.credit = full
            self._part = 1
            self._price = 0
            self._missed = self._filled = 0
        elif self.credit < 0:
            self._bypass(room)

    def _bypass(self, room: int) -> None:
        self.pays = False
        self.switches += 1
        self.why = "fills" if self._filled > self._missed else "misses"
        places = ROOM_MIN
        while places * SAMPLE < room and places < ROOM_MAX:
            places *= 2
        self._sampled = Shadow(places, SAMPLE)
        self._recent = Shadow(RECENT, 1)

    def note(self, mixed: int, keys: int = 1) -> None:
        """A read that is bypassed, of a key with this hash, in a request that reads so many."""
        self._note(mixed, keys)

    def _note(self, mixed: int, keys: int) -> None:
        self.reads += 1
        if not mixed >> 58 & 63:
            self._ask(self._sampled, mixed, keys)
        if not self.reads & 63:
            self._ask(self._recent, mixed, keys)

    def _ask(self, shadow: Shadow | None, mixed: int, keys: int) -> None:
        """Come back if this shadow would have earned enough."""
        if shadow is None:
            return
        shadow.read(mixed, keys)
        price = _FILL * shadow.keys_each * shadow.filled
        if shadow.earned > (_LOOK + price // 8) * self._part:
            self.pays = True
            self.switches += 1
            self.credit = _START + price
            self._price = price
            self._part = min(2 * self._part, PART_MAX)
            self._missed = self._filled = 0
            self.why = ""
            self._sampled = self._recent = None

    def wrote(self, mixed: int) -> None:
        """While bypassed: a key with this hash is being written."""
        self._writes += 1
        if self._sampled is None or self._recent is None:
            return
        self._sampled.forget(mixed)
        if not self._writes & 63:
            self._recent.forget(mixed)
