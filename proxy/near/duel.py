"""Which of two ways of keeping suits the reads that come: both are played on a sample of the keys.

    calm    kept at the second sight, newcomers pass through a small queue: the popular stay
    eager   kept at the first sight, newcomers get half of the room: what is new stays for a while

Static popularity is better kept calmly, by up to three points; where the whole hot set moves,
eagerly, by twelve (tests.bench.hit_ratio). Each way is played with keys alone, in a 64th of the
room, for one key in 64. Called by cache.py; knows no entry."""

from __future__ import annotations

from collections import OrderedDict

# One hash in so many is of the sample, and a shadow has as much less room.
SAMPLE = 64
# Reads of the sample between two decisions, and what is left of the count of hits by then.
WINDOW = 1024
DECAY = 0.75
# Eager costs the server two questions for each key that is read once: it must be better by so much.
MARGIN = 0.01
# Of the room, what newcomers get.
CALM_SHARE, EAGER_SHARE = 2, 50
ROOM_MIN = 16


class Shadow:
    """S3-FIFO as cache.py has it, of keys that are all of one size."""

    def __init__(self, *, eager: bool, share: int) -> None:
        self.score = 0.0
        self._eager = eager
        self._share = share
        self._small: OrderedDict[int, int] = OrderedDict()  # how often each was read since
        self._main: OrderedDict[int, int] = OrderedDict()
        self._sights: OrderedDict[int, int] = OrderedDict()

    def read(self, key: int, room: int) -> None:
        for queue in (self._small, self._main):
            count = queue.get(key)
            if count is not None:
                queue[key] = min(count + 1, 7)
                self.score += 1
                return
        seen = self._sights.pop(key, 0) + 1
        self._sights[key] = seen
        while len(self._sights) > 3 * room:
            self._sights.popitem(last=False)
        if seen > 1 or self._eager:
            freq = max(0, min(seen - 2, 7))
            (self._main if freq else self._small)[key] = freq
            while len(self._small) + len(self._main) > room:
                self._make_room(room)

    def _make_room(self, room: int) -> None:
        small, main = self._small, self._main
        queue = small if len(small) * 100 > room * self._share or not main else main
        key, freq = queue.popitem(last=False)
        if not freq:
            self._sights[key] = max(self._sights.get(key, 0), 1)
        else:
            main[key] = freq - (queue is main)


class Duel:
    def __init__(self) -> None:
        self.eager = False
        self._calmly = Shadow(eager=False, share=CALM_SHARE)
        self._eagerly = Shadow(eager=True, share=EAGER_SHARE)
        self._reads = 0
        self._played = 0.0  # reads, as the scores count

    def __repr__(self) -> str:
        scores = f"calm={self._calmly.score:.0f} eager={self._eagerly.score:.0f}"
        return f"<Duel {'eager' if self.eager else 'calm'} {scores}>"

    def read(self, key: int, entries: int) -> bool:
        """A key of the sample is read, while so many entries fit. Whether it is time to look at
        ``eager``."""
        room = max(ROOM_MIN, entries // SAMPLE)
        self._calmly.read(key, room)
        self._eagerly.read(key, room)
        self._reads += 1
        if self._reads % WINDOW:
            return False
        self._played = self._played * DECAY + WINDOW
        ahead = (self._eagerly.score - self._calmly.score) / self._played
        self.eager = ahead > (0.0 if self.eager else MARGIN)
        self._calmly.score *= DECAY
        self._eagerly.score *= DECAY
        return True
