"""What of a session's requests is counted and timed, beyond what the hot path counts itself.

    a read that is to be timed ─▶ parsed ─▶ answered already ───────────────▶ observe: near, proxy
                                    └ the last of it has a place ─ filled ─▶ observe: server, load

The time is that of the last request in the read, from the read to its answer. Who blocks, is
subscribed or in MULTI is not timed: how long that takes is the client's own doing. Session derives
from this."""

from __future__ import annotations

from ..hot.session import SessionCore
from ..resp.routes import ASKING, WRITING
from ..stats.sampler import Class, Tier
from .berth import Berth
from .context import Context


def name_of(request: bytes) -> bytes:
    """How a request begins that may be cut off: its name, as it is written. An inline one's first
    word."""
    if not request.startswith(b"*"):
        return request.split(None, 1)[0] if request.strip() else b""
    words = request.split(b"\r\n", 3)
    return words[2] if len(words) > 2 else b""


class TimedSession(SessionCore):
    __slots__ = ("_class",)

    context: Context
    berth: Berth

    def time(self, began: float, near: bool) -> None:
        if self.rest or self.closed or self.berth.holds:
            return
        tail, kind = self.tail, self._class_of(name_of(self.last))
        if tail is None or not tail.want:
            tier = Tier.NEAR if near else Tier.PROXY
            self.context.sampler.observe(kind, tier, self.turn.stopwatch() - began)
        elif self.clocked is None:
            self.clocked, self.began = tail, began
            self._class, self.loading = kind, False

    def answered(self) -> None:
        self.clocked = None
        if self.berth.holds:
            return  # what was asked last waits for the future
        tier = Tier.LOAD if self.loading else Tier.SERVER
        self.context.sampler.observe(self._class, tier, self.turn.stopwatch() - self.began)

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
