"""What of a session's requests is counted and timed, beyond what the hot path counts itself.

    a read that is to be timed ─▶ parsed ─▶ answered already ───────────────▶ observe: near, proxy
                                    └ the last of it has a place ─ filled ─▶ observe: server, load

The time is that of the last request in the read, from the read to its answer. Who blocks, is
subscribed or in MULTI is not timed: how long that takes is the client's own doing. Of one request
of the read, by chance, the keys are noted, and where it is alone its reply too (stats/keys.py).
Session derives from this."""

from __future__ import annotations

from ..hot.session import SessionCore
from ..resp.routes import ASKING, WRITING
from ..stats.sampler import Class, Tier
from .berth import Berth
from .context import Context
from .telling import keys_at, words_in

NIL = b"$-1\r\n"


def name_of(request: bytes) -> bytes:
    """How a request begins that may be cut off: its name, as it is written. An inline one's first
    word."""
    if not request.startswith(b"*"):
        return request.split(None, 1)[0] if request.strip() else b""
    words = request.split(b"\r\n", 3)
    return words[2] if len(words) > 2 else b""


# What reads or writes all that is at a key.
WHOLE = frozenset(
    b"GET GETEX GETDEL GETSET GETORSET HGETALL SMEMBERS DUMP SET SETEX PSETEX SETNX".split()
)
STORES = frozenset(b"GETSET SET SETEX PSETEX SETNX".split())
KEYS_MOST = 16  # of one request
# How a reply begins that says that there is nothing, or that tells nothing of it.
NOTHING = (b"$-1", b"*-1", b"_", b"*0", b"%0", b"~0")
NO_VALUE = (b"-", b":")


class TimedSession(SessionCore):
    __slots__ = ("_before", "_class", "_sampled")

    context: Context
    berth: Berth

    def time(self, began: float, near: bool, data: bytes, count: int) -> None:
        if self.rest or self.closed or self.berth.holds:
            return
        now = self.turn.stopwatch()  # what is noted below takes longer than a near hit
        sampled = self._sample(data, max(1, count))
        tail, kind = self.tail, self._class_of(name_of(self.last))
        if tail is None or not tail.want:
            tier = Tier.NEAR if near else Tier.PROXY
            self.context.sampler.observe(kind, tier, now - began)
            if sampled is not None:
                self._note_reply(sampled, len(self._last_reply()))
        elif self.clocked is None:
            self.clocked, self.began = tail, began
            self._class, self.loading = kind, False
            alone = self.head is tail and tail.count == 1
            self._sampled = sampled if alone else None
            self._before = self.bytes_before + self.reply_bytes

    def answered(self) -> None:
        self.clocked = None
        if self.berth.holds:
            return  # what was asked last waits for the future
        tier = Tier.LOAD if self.loading else Tier.SERVER
        self.context.sampler.observe(self._class, tier, self.turn.stopwatch() - self.began)
        if self._sampled is not None:
            size = self.bytes_before + self.reply_bytes - self._before
            self._note_reply(self._sampled, size)

    def _sample(self, data: bytes, count: int) -> tuple[bytes, bool] | None:
        """Note the keys of one of so many requests; the key, and whether all of it is read, where
        its reply will tell of it."""
        context, db = self.context, self.berth.lane_key.db
        sampler, keys = context.sampler, context.keys
        words = words_in(data, sampler.pick(count) if count > 1 else 0)
        if not words:
            return None
        name = words[0].upper()
        kind = self._class_of(name)
        if kind is not Class.READ and name != b"GETORSET":
            if name in STORES and len(words) > 2:
                keys.wrote(db, words[1], max(map(len, words[2:])))
            return None
        at = keys_at(words, context.table, context.customs)
        if not at:
            return None
        seen = at[:KEYS_MOST]
        for one in seen:
            keys.read(db, words[one], sampler.weight * count * len(at) / len(seen))
        return (words[at[0]], name in WHOLE) if len(at) == count == 1 else None

    def _last_reply(self) -> bytes:
        return (self.outs[-1] if self.outs else self.out) or b""

    def _note_reply(self, sampled: tuple[bytes, bool], size: int) -> None:
        reply, (key, whole) = self._last_reply(), sampled
        if reply and not reply.startswith(NO_VALUE):
            hit = size > len(NIL) or not reply.startswith(NOTHING)
            self.context.keys.got(self.berth.lane_key.db, key, size, hit=hit, whole=whole)

    def counted(self, args: list[bytes], done: bool) -> bool:
        """Count a request that took the slow way, where it is done."""
        if done:
            self._count(args[0], asked=self.tail is not None and self.tail.want > 0)
        return done

    def uploading(self, data: bytes, size: int) -> None:
        """A large request begins so, and is the client's last."""
        self.last = data[:size]
        self._count(name_of(self.last), asked=True)

    def _count(self, name: bytes, *, asked: bool) -> None:
        turn, kind = self.turn, self._class_of(name)
        if not asked:
            self.context.sampler.local[kind] += 1
        elif kind is Class.READ:
            turn.asking += 1
        elif kind is Class.WRITE:
            turn.writing += 1
        elif kind is Class.OWN:
            turn.owns += 1
        else:
            turn.others += 1

    def _class_of(self, name: bytes) -> Class:
        upper = name.upper()
        if upper in self.context.customs:
            return Class.OWN
        group = self.context.table.group(upper)
        return _CLASSES.get(group, Class.OTHER)


_CLASSES = {ASKING: Class.READ, WRITING: Class.WRITE}
