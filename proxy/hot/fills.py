# cython: annotation_typing=False, language_level=3
"""What goes into the near cache with the replies that pass, and what is forgotten with the writes.

    lane:   CLIENT CACHING YES, PTTL key ─▶ Fill       its slot: how long the value may be kept
            GET key ─────────────────────▶ FillSlot    hands the reply on, and has it kept

All three go to the tracked lane in one piece, so that what the server says of the key in between
comes in between. A fill is kept or given up, once; its ticket (near/cache.py) is void as soon as
anything may have changed the key."""

from __future__ import annotations

# Names with _ are C functions, which the other files of this room call too.
# pyright: reportPrivateUsage=false
from ..errors import ProxyError
from ..near.cache import NearCache, Space, Ticket
from ..resp.kernel import mix
from .answers import Answers, RunSlot

FILL = (
    b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$3\r\nYES\r\n"  # track what is read next:
    b"*2\r\n$4\r\nPTTL\r\n"  # it tracks the key, and the GET behind it is of no later time
)
NOT_TRACKED = -3  # no answer of PTTL: nothing is kept
NIL2, NIL3 = b"$-1\r\n", b"_\r\n"


class Fill:
    """One reply on its way into the near cache. As a slot it takes the two replies before it."""

    def __init__(self, space: Space, ticket: Ticket, now: float) -> None:
        self.want = 2
        self.space = space
        self.ticket = ticket
        self.asked = now  # a TTL counts from here: never longer than the server's own
        self.ttl_ms = NOT_TRACKED
        self.open = True  # neither kept nor given up yet
        self.got = b""  # of the two replies, then of the one to keep

    def feed(self, chunk: bytes) -> None:
        self.got += chunk
        if self.want:
            return
        caching, _, ttl = self.got.partition(b"\r\n")
        self.got = b""
        if caching == b"+OK" and ttl.startswith(b":"):
            self.ttl_ms = int(ttl[1:])

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0

    def gather(self, chunk: bytes) -> bool:
        """Hold a part of the reply to keep. False: it is too large, and given up; ``got`` is all
        of it that came."""
        self.got = self.got + chunk if self.got else chunk
        if len(self.got) > self.space.cache.value_max:
            self.give_up()
            return False
        return True

    def keep(self, reply: bytes | None) -> None:
        """The whole reply; None for nil."""
        self.open = False
        self.space.fill(self.ticket, reply, self.ttl_ms, self.asked)

    def give_up(self) -> None:
        if self.open:
            self.open = False
            self.space.give_up(self.ticket)


class FillSlot(RunSlot):
    """The reply to a GET that fills the near cache, in order with the invalidations around it."""

    def __init__(self, session: Answers, fill: Fill, flat: bool) -> None:
        super().__init__(session, 1)
        self.fill = fill
        self.flat = flat

    def feed(self, chunk: bytes) -> None:
        fill = self.fill
        if fill.open:
            if not self.want:
                chunk = self._keep(fill.got + chunk if fill.got else chunk)
            elif fill.gather(chunk):
                return
            else:
                chunk = fill.got  # too large to keep: passed on as it comes
        elif not self.want:
            self.session.turn.hits += 1
        RunSlot.feed(self, chunk)

    def _keep(self, reply: bytes) -> bytes:
        """Fill with a whole reply; what the client gets."""
        fill, turn = self.fill, self.session.turn
        if reply == NIL3:
            turn.misses += 1
            fill.keep(None)
            return NIL2 if self.flat else reply
        if reply.startswith(b"$"):
            turn.hits += 1
            fill.keep(reply)
        else:
            fill.give_up()
        return reply

    def fail(self, why: ProxyError, inside: bool) -> None:
        if not self.fill.open:  # a part has been passed on
            self.session.abort("the server went away in the middle of a reply")
        self.fill.give_up()
        self.want = 0
        RunSlot.feed(self, why.line)


class WriteSlot(RunSlot):
    """Replies to writes, whose keys the near cache forgets again before the client learns of
    them: what was filled since they were sent may be older."""

    def __init__(
        self, session: Answers, want: int, cache: NearCache, keys: list[bytes] | None, muted: bool
    ) -> None:
        super().__init__(session, want)
        self.cache = cache
        self.keys = keys  # None: all there are
        self.muted = muted

    def feed(self, chunk: bytes) -> None:
        forget(self.cache, self.keys)
        if self.reads:  # one GETDEL or GETEX: its first bytes tell
            self.reads = 0
            turn = self.session.turn
            if chunk.startswith((b"$-", b"_")):
                turn.misses += 1
            elif chunk.startswith(b"$"):
                turn.hits += 1
        if not self.muted:
            RunSlot.feed(self, chunk)
        elif not self.want and self.session.head is self:
            self.session._advance()


def forget(cache: NearCache, keys: list[bytes] | None) -> None:
    """Writes of these keys pass, None: of any: whatever was read before them must not be served
    any more. What else a write that passes does is session/writes.py's."""
    if keys is None:
        cache.flush("flushed")
        return
    for space in cache.spaces.values():
        if space.entries or space.tickets:
            for key in keys:
                space.written(key)
        if not space.worth.pays:
            for key in keys:
                space.worth.wrote(mix(key))
