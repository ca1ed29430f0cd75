# cython: annotation_typing=False, language_level=3, initializedcheck=False
# cython: boundscheck=False, wraparound=False
"""The near cache's store: replies to ``GET key`` by (db, upstream user) and key, within a budget.

Plain Python with its types in cache.pxd, compiled as hot/session.py is. It knows no connection and
no clock: ``now`` is passed in, and whoever reads the tracked lane calls ``fill`` and ``invalidate``
in the order of the wire. Whatever may change a key voids the ticket of its fill.

    miss -- first sight: remembered ------------> upstream only
      |
      +-- seen before: Ticket -> upstream -> fill --> small --read since--> main --+
                                               |        |                    ^  |   | read since
                                    read often +------> | -------------------+  |   |
                                                        +-> evicted  evicted <--+---+

Eviction is S3-FIFO (Yang et al., SOSP'23) by bytes: newcomers pass through a small queue, and a
scan never gets beyond it. Where the hot set moves they get more room, and at the first sight
(duel.py). A hit raises one counter. What is dropped leaves that counter among the
sights, so that a key that was invalidated comes back as what it was."""

from __future__ import annotations

# Names with _ are C functions: entries, spaces and the cache are one thing in three classes.
# pyright: reportPrivateUsage=false
from .duel import CALM_SHARE, EAGER_SHARE, Duel
from .index import FIXED, Entry, FreshMs, Index, Queue, Ticket, allocated, key_of, untrack
from .sketch import Sketch, slots_for
from .worth import Worth

FREQ_MAX = 7
# Second chances in a row that one fill hands out at most: then the next entry goes, read or not.
CHANCES_MAX = 256
SPACES_MAX = 64
# A space that nobody has read from for so many seconds makes room for another.
IDLE_TICKS = 10
# Fills in flight of one space.
TICKETS_MAX = 65536
VALUE_MAX = 1024 * 1024

# How large entries are held to be, and from how many on it is known.
ENTRY, KNOWN = 256, 100

FLUSHES = ("lost", "silent", "null", "flushed", "space")

_FREQ_MAX, _TICKETS_MAX, _CHANCES_MAX = FREQ_MAX, TICKETS_MAX, CHANCES_MAX
_OTHER_SALT = 0x0F0F0F0F0F0F0F0F
_REQUEST = 400  # bytes: a set of one, and its place in a dict
_FIXED, _ENTRY, _KNOWN = FIXED, ENTRY, KNOWN


class Space:
    """The entries of one db as one upstream user sees it. Ask the cache for a new one when it is no
    longer ``open``."""

    def __init__(self, cache: NearCache, db: int, user: object, salt: int) -> None:
        self.cache = cache
        self.db = db
        self.user = user
        self.salt = salt
        self.open = True
        self.until = 0.0  # the link is lost: what is kept may be told until then; 0: it stands
        self.entries = Index(salt)
        self.tickets: dict[bytes, Ticket] = {}
        self.hits = 0
        self.vain = 0  # of these, those that did not save the server the request
        self.misses = 0
        self.tried = 0  # fills, kept or not
        self.worth = Worth()
        # Replies to requests other than GET, by (RESP version, request); None: nobody asked yet.
        self.others: Space | None = None
        # Of such a space: what is kept or on its way, by the key that each request reads.
        self.requests: dict[bytes, set[bytes]] | None = None
        self.idle_ticks = 0  # since it was read
        self._read = 0  # hits and misses then

    def __repr__(self) -> str:
        state = "" if self.open else " dropped"
        return f"<Space db={self.db}{state} entries={len(self.entries)} fills={len(self.tickets)}>"

    def get(self, key: bytes, now: float) -> Entry | None:
        """The entry, if it may be served: its ``reply`` is None for nil."""
        cache = self.cache
        mixed = hash(key) ^ self.salt
        if not mixed >> 20 & 63:  # a 64th of the keys: duel.py's SAMPLE
            cache._sample(mixed)
        entry = self.entries.find(key, mixed)
        if entry is None:
            self.misses += 1
            return None
        if entry.deadline <= now:
            self.cache._drop(entry)
            self.misses += 1
            return None
        if entry.freq < _FREQ_MAX:
            entry.freq += 1
        self.hits += 1
        return entry

    def other(self) -> Space:
        """Where replies to requests other than GET are kept: by ``request_name``, with tickets and
        fills as here. It has no account of its own (``tally``), and ends with this one."""
        others = self.others
        if others is None:
            others = self.others = Space(self.cache, self.db, self.user, self.salt ^ _OTHER_SALT)
            others.requests = {}
            others.open = self.open
        return others

    def tally(self) -> None:
        """Put what the other requests have cost and saved on the one account."""
        others = self.others
        if others is not None:
            self.hits += others.hits
            self.misses += others.misses
            self.tried += others.tried
            others.hits = others.misses = others.tried = 0

    def holds(self) -> bool:
        """Whether anything is kept or on its way."""
        others = self.others
        return bool(self.entries.count or self.tickets) or (others is not None and others.holds())

    def _note_request(self, request: bytes) -> None:
        if self.requests is not None:
            self.requests.setdefault(key_of(request), set()).add(request)

    def _drop_request(self, request: bytes) -> None:
        """An entry or a ticket of it has ended."""
        requests = self.requests
        if requests is None or request in self.tickets or self.entries.get(request) is not None:
            return
        key = key_of(request)
        names = requests.get(key)
        if names is not None:
            names.discard(request)
            if not names:
                del requests[key]

    def _pays(self) -> bool:
        """Whether reads are to look here: where they seldom repeat it costs more than it saves."""
        worth = self.worth
        hits = self.hits - self.vain
        if worth.pays and hits + self.misses >= worth.next_look:
            cache = self.cache
            room = cache.budget // _ENTRY
            if cache.entries > _KNOWN:
                room = cache.budget // (cache.used // cache.entries)
            worth.look(hits, self.misses, self.tried, cache.entries, room)
            if not worth.pays:
                cache.turned[worth.why] += 1
        return worth.pays

    def admit(self, key: bytes) -> Ticket | None:
        """After a miss: a ticket, if the key was seen not long ago, or the cache is eager, and
        nobody fills it already."""
        sketch = self.cache.sketch
        count = sketch.see(hash(key) ^ self.salt)
        return self._ticket(key, max(count - 2, 0)) if count > 1 or sketch.eager else None

    def _seek(self, key: bytes, now: float) -> Ticket | None:
        """The same of a key that the kernel has counted as a miss: its entry, if it has one, is
        over."""
        entry = self.entries.get(key)
        if entry is not None:
            if entry.deadline > now:
                return None  # it was asked for twice at once, and is there by now
            self.cache._drop(entry)
        return self.admit(key)

    def reserve(self, key: bytes) -> Ticket | None:
        """A ticket at first sight. Take it before asking the server."""
        return self._ticket(key, 0)

    def _ticket(self, key: bytes, freq: int) -> Ticket | None:
        tickets = self.tickets
        if key in tickets or len(tickets) >= _TICKETS_MAX or not (self.open and self.cache.active):
            return None
        ticket = Ticket.__new__(Ticket)
        ticket.key = key
        ticket.freq = min(freq, _FREQ_MAX)
        ticket.valid = True
        tickets[key] = ticket
        self._note_request(key)
        self.tried += 1
        return ticket

    def fill(self, ticket: Ticket, reply: bytes | None, ttl_ms: int, now: float) -> bool:
        """Store what the server said: ``ttl_ms`` is its answer to PTTL, asked on the same lane just
        before. The ticket is over in any case. False when nothing was stored."""
        cache = self.cache
        if ticket.valid:
            self.give_up(ticket)
            # A nil for a key that has a TTL, or a value for one that is not there: it changed
            # between the two questions.
            if ttl_ms == -2 if reply is None else ttl_ms == -1 or ttl_ms > 0:
                deadline = now + cache.ttl_max
                if 0 < ttl_ms < cache.ttl_max * 1000:
                    deadline = now + ttl_ms / 1000
                if cache._store(self, ticket, reply, deadline, now):
                    cache.fills += 1
                    return True
        cache.fills_refused += 1
        return False

    def give_up(self, ticket: Ticket) -> None:
        """The ticket will not be used: somebody else may have one."""
        if ticket.valid:
            ticket.valid = False
            if self.tickets.get(ticket.key) is ticket:
                del self.tickets[ticket.key]
                self._drop_request(ticket.key)

    def tick(self) -> None:
        """Once a second."""
        read = self.hits + self.misses
        self.idle_ticks = self.idle_ticks + 1 if read == self._read else 0
        self._read = read

    def written(self, key: bytes) -> None:
        """The key is being changed, or has been: what we have, and what is on its way, is old."""
        self._forget(key)

    def _forget(self, key: bytes) -> bool:
        entry = self.entries.get(key)
        found = entry is not None
        if entry is not None:
            self.cache._drop(entry)
        if self.tickets:
            ticket = self.tickets.pop(key, None)
            if ticket is not None:
                ticket.valid = False
                found = True
        if self.others is not None and self.others._forget_requests(key):
            return True
        return found

    def _forget_requests(self, key: bytes) -> bool:
        requests = self.requests
        names = None if requests is None else requests.pop(key, None)
        if names is None:
            return False
        for request in names:
            self._forget(request)
        return True

    def flush(self) -> None:
        self.until = 0.0
        for ticket in self.tickets.values():
            ticket.valid = False
        self.tickets.clear()
        for entry in self.entries.values():
            self.cache._drop(entry)
        if self.requests is not None:
            self.requests.clear()
        if self.others is not None:
            self.others.flush()


class NearCache:
    """All spaces, and the budget that they share."""

    def __init__(self, budget: int, *, ttl_max: float = 60.0, value_max: int | None = None) -> None:
        self.budget = budget
        self.ttl_max = ttl_max
        self.value_max = min(budget // 64, VALUE_MAX) if value_max is None else value_max
        self.active = budget > 0
        self.fresh_ms: FreshMs | None = None  # what of a key's TTL it may be kept for
        self.stale_s, self.down_hits = 0.0, 0  # kept without a link for so long; and told then
        self.bypasses = 0  # who writes what nobody sees
        self.spaces: dict[tuple[int, object], Space] = {}
        self.used = 0
        self.entries = 0
        self.evictions = 0
        self.invalidations = 0
        self.fills = 0
        self.fills_refused = 0
        self.flushes = dict.fromkeys(map(str, FLUSHES), 0)
        self.turned = {"misses": 0, "fills": 0}  # how often a space began to be bypassed, and why
        self.small = Queue()
        self.main = Queue()
        self.small_max = budget * CALM_SHARE // 100
        self.sketch = Sketch(slots_for(budget))  # beside the budget: its memory never changes
        self.duel = Duel()
        self._salts = 0
        self._past_hits = 0  # of spaces that are no more
        self._past_misses = 0

    def __repr__(self) -> str:
        state = "" if self.active else " off"
        return (
            f"<NearCache{state} entries={self.entries} used={self.used}/{self.budget} "
            f"spaces={len(self.spaces)}>"
        )

    @property
    def hits(self) -> int:
        return self._past_hits + sum(space.hits for space in self.spaces.values())

    @property
    def misses(self) -> int:
        return self._past_misses + sum(space.misses for space in self.spaces.values())

    @property
    def unpaid(self) -> int:
        """Spaces whose reads pass, because it does not pay to keep them."""
        return sum(not space.worth.pays for space in self.spaces.values())

    # --- Spaces -------------------------------------------------------------------------------

    def has_room(self, db: int, user: object) -> bool:
        """Whether a space of that db and user costs none that is read from."""
        spaces = self.spaces
        if (db, user) in spaces or len(spaces) < SPACES_MAX:
            return True
        return any(space.idle_ticks >= IDLE_TICKS for space in spaces.values())

    def space(self, db: int, user: object) -> Space:
        """The one space of that db and user. Beyond SPACES_MAX that goes which was read longest
        ago, and of those asked for longest ago."""
        found = self.spaces.pop((db, user), None)
        if found is None:
            if len(self.spaces) >= SPACES_MAX:
                self._drop_space()
            self._salts += 1
            # Odd and of 61 bits: the same key has another slot in each space.
            found = Space(self, db, user, self._salts * 0x9E3779B97F4A7C15 & (1 << 61) - 1)
        self.spaces[db, user] = found
        return found

    def _drop_space(self) -> None:
        name = max(self.spaces, key=lambda name: self.spaces[name].idle_ticks)
        self._end(self.spaces.pop(name))
        self.flushes["space"] += 1

    def release(self, space: Space) -> None:
        """Nobody fills it any more."""
        if self.spaces.get((space.db, space.user)) is space:
            self._end(self.spaces.pop((space.db, space.user)))

    def _end(self, space: Space) -> None:
        space.open = False
        if space.others is not None:
            space.others.open = False
        space.tally()
        space.flush()
        self._past_hits += space.hits
        self._past_misses += space.misses

    @property
    def filling(self) -> bool:
        """Whether any fill is in flight."""
        return any(
            space.tickets or (space.others is not None and space.others.tickets)
            for space in self.spaces.values()
        )

    # --- What is no longer true ---------------------------------------------------------------

    def invalidate(self, key: bytes) -> None:
        """The server says that the key changed, in whatever db."""
        for space in self.spaces.values():
            if space._forget(key):
                self.invalidations += 1

    def flush(self, reason: str) -> None:
        """Drop everything and void every ticket. ``reason`` is one of FLUSHES."""
        self.flushes[reason] += 1
        for space in self.spaces.values():
            space.flush()

    def bypass(self, change: int) -> None:
        """+1: from now on somebody writes unseen, and nothing is kept; -1: no more."""
        self.bypasses += change
        self.active = self.budget > 0 and not self.bypasses
        if change > 0:
            self.flush("flushed")

    # --- Storing and evicting -----------------------------------------------------------------

    def _store(
        self, space: Space, ticket: Ticket, reply: bytes | None, deadline: float, now: float
    ) -> bool:
        key = ticket.key
        length = 0 if reply is None else len(reply)
        if not self.active or max(len(key), length) > self.value_max:
            return False
        size = _FIXED + allocated(len(key)) + (0 if reply is None else allocated(length))
        if space.requests is not None:
            size += _REQUEST + allocated(len(key))  # and its place by the key that it reads
        if size > self.budget:
            return False
        old = space.entries.get(key)
        if old is not None:
            self._drop(old)
        if self.used + size > self.budget:
            self._make_room(size, now)
        entry = Entry.__new__(Entry)
        untrack(entry)
        entry.space = space
        entry.key = key
        entry.mixed = hash(key) ^ space.salt
        entry.reply = reply
        entry.deadline = deadline
        entry.freq = ticket.freq
        entry.size = size
        entry.alive = True
        space.entries.put(entry)
        space._note_request(key)
        (self.main if entry.freq else self.small).push(entry)
        self.used += size
        self.entries += 1
        return True

    def _drop(self, entry: Entry) -> None:
        """The one place where an entry ends."""
        space: Space = entry.space  # type: ignore[assignment]  # it knows no Space
        entry.alive = False
        entry.queue.remove(entry)
        space.entries.remove(entry)
        if space.requests is not None:
            space._drop_request(entry.key)
        self.used -= entry.size
        self.entries -= 1
        self.sketch.remember(entry.mixed, entry.freq + 1)

    def _sample(self, mixed: int) -> None:
        """A key of the sample is read: by the like of it is decided how newcomers are treated."""
        if self.evictions and self.duel.read(mixed, self.entries):
            self.sketch.eager = self.duel.eager
            share = EAGER_SHARE if self.duel.eager else CALM_SHARE
            self.small_max = self.budget * share // 100

    def _make_room(self, size: int, now: float) -> None:
        chances = _CHANCES_MAX
        small, main = self.small, self.main
        while self.used + size > self.budget:
            queue = small if small.used > self.small_max or not main.used else main
            entry = queue.ring.newer
            if not entry.freq or not chances or entry.deadline <= now:
                self._drop(entry)
                self.evictions += 1
                # From now on it matters which way of keeping is the better one.
                self.sketch.sampled = True
                continue
            chances -= 1
            queue.remove(entry)
            if queue is main:
                entry.freq -= 1
            main.push(entry)
