"""WAIT: how many replicas have what a client has written, over whatever connections it wrote.

    WAIT 0 0 ─▶ a connection as the client's: may it?   } begin: both are answered
    ROLE ─────▶ the server: as far as it is, is the goal }
      ┌───▶ WAIT <all> ms: has replicas asked how far they are, and blocks as the client does
      │     ROLE, ms later and until WAIT is answered: how many of them are at the goal
      └──── too few, and time left: twice as long

A server counts from the last write of the connection that asks (Redis since 7.2, and Valkey; before
that from its last command). Ours may have written nothing, or long ago: to such a one the server
counts every replica at once, also one that was stopped an hour ago. All that a client was answered
for is below the offset that ROLE tells afterwards: no replica is counted that lacks any of it.

Owns one question. Whoever asks has seen to it that what was written before is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self

from ..errors import OddReply, ProxyError, ServerError, UpstreamLost
from ..resp.replies import integer, items, parsed
from ..resp.requests import integer_of
from .ask import Done, Reply

# More replicas than any server has: WAIT for so many lasts as long as it says, whatever they do.
MOST: Final = b"2147483647"
FIRST_MS: Final = 1  # of the rounds
LONGEST_MS: Final = 100
# A server looks whose time is over when anything comes, else every 100 ms: ROLE comes.
AGAIN_S: Final = 0.001
# Beyond this every server says that the timeout is out of range: to it the current time is added.
MS_MAX: Final = 2**63 - 1 - 1_600_000_000_000
# Servers round to milliseconds: a round that is shorter by more was ended by CLIENT UNBLOCK. Of the
# first ones nobody can tell.
TELLING_MS: Final = 16
ROUNDED_MS: Final = 2
_BEGUN_ANEW: Final = UpstreamLost("it has begun anew since WAIT was asked")
_DEMOTED: Final = ServerError(
    b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
)

Role = Callable[[Done], None]


class Ask(Protocol):
    def __call__(self, done: Done, *args: bytes) -> None: ...


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """An event loop."""

    def time(self) -> float: ...
    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What WAIT's words ask for; ``ms`` 0: for ever."""

    count: int
    ms: int

    @classmethod
    def of(cls, args: Sequence[bytes]) -> Self | None:
        """None: every server refuses it, in its own words."""
        if len(args) != 3:
            return None
        count, ms = integer_of(args[1]), integer_of(args[2])
        if count is None or ms is None or not 0 <= ms <= MS_MAX:
            return None
        return cls(count, ms)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a master is, and its replicas by their last word."""

    offset: int
    acks: tuple[int, ...]

    @classmethod
    def of(cls, reply: Reply) -> Self:
        """Of what ROLE was answered. ProxyError: nobody can tell."""
        if isinstance(reply, ProxyError):
            raise reply
        try:
            value = parsed(reply)
        except ValueError:
            raise OddReply("ROLE") from None
        if isinstance(value, ServerError):
            raise value
        if isinstance(value, list) and value[:1] == [b"slave"]:
            raise _DEMOTED
        name, offset, replicas = items(value, "ROLE", bytes, int, list)
        if name != b"master":
            raise OddReply("ROLE")
        rows = (items(row, "ROLE", bytes, bytes, bytes) for row in replicas)
        return cls(offset, tuple(_number(row[2]) for row in rows))


def _number(digits: bytes) -> int:
    found = integer_of(digits)
    if found is None:
        raise OddReply("ROLE")
    return found


class Heard:
    """``ask``: on a connection of the asker's own; ``roles``: ways to ask ROLE, each for where the
    one before is refused. ``done`` gets the number, or the error that the client is told."""

    def __init__(
        self, wanted: Wanted, ask: Ask, roles: Sequence[Role], clock: Clock, done: Done
    ) -> None:
        self._wanted = wanted
        self._ask = ask
        self._roles = list(roles)
        self._clock = clock
        self._done: Done | None = done
        self._until = clock.time() + wanted.ms / 1000 if wanted.ms else float("inf")
        self._goal = -1
        self._far = -1  # where the server was last
        self._ms = 0  # of this round
        self._asked = 0.0  # when it began
        self._told: Reply | None = None  # what WAIT was answered
        self._role: Reply | None = None
        self._unblocked = False
        self._timer: Timer | None = None

    def __repr__(self) -> str:
        state = "over" if self._done is None else f"round={self._ms}ms"
        return f"<Heard {state} goal={self._goal} of {self._wanted}>"

    def begin(self) -> None:
        self._ask(self._waited, b"WAIT", b"0", b"0")
        self._ask_role()

    def hurry(self) -> None:
        """Its time is over: at the end of this round."""
        self._until = self._clock.time()

    def end(self) -> None:
        """Nobody wants to know any more."""
        self._done = None
        if self._timer is not None:
            self._timer.cancel()

    def _round(self, ms: int) -> None:
        self._ms, self._told, self._role = ms, None, None
        self._asked = self._clock.time()
        self._timer = self._clock.call_later(ms / 1000, self._ask_role)
        self._ask(self._waited, b"WAIT", MOST, b"%d" % ms)

    def _ask_role(self) -> None:
        self._timer, self._role = None, None
        self._roles[0](self._heard)

    def _waited(self, reply: Reply) -> None:
        if self._done is None:
            return
        self._told = reply
        if isinstance(reply, ProxyError) or reply.startswith(b"-"):
            # It may not, or was unblocked; the server is gone, or was a master in the round before.
            replica = isinstance(reply, bytes) and reply.startswith(b"-ERR") and self._goal >= 0
            self._over(_DEMOTED if replica else reply)
            return
        early = (self._clock.time() - self._asked) * 1000 < self._ms - ROUNDED_MS
        self._unblocked = self._ms >= TELLING_MS and early
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            if self._role is None:
                self._ask_role()
        self._judge()

    def _heard(self, reply: Reply) -> None:
        if self._done is None:
            return
        told = isinstance(reply, bytes) and not reply.startswith(b"-")
        if isinstance(reply, bytes) and not told and len(self._roles) > 1:
            del self._roles[0]
            self._ask_role()
            return
        self._role = reply
        if told and self._told is None:
            self._timer = self._clock.call_later(AGAIN_S, self._ask_role)
        self._judge()

    def _judge(self) -> None:
        """Both are in: enough, too late, or once more."""
        if self._done is None or self._told is None or self._role is None:
            return
        try:
            now = Progress.of(self._role)
        except ProxyError as why:
            self._over(why)
            return
        if now.offset < self._far:
            self._over(_BEGUN_ANEW)
            return
        self._far = now.offset
        self._goal = self._goal if self._goal >= 0 else now.offset
        count = sum(ack >= self._goal for ack in now.acks)
        left = self._until - self._clock.time()
        if count >= self._wanted.count or left <= 0 or self._unblocked:
            self._over(integer(count))
            return
        ms = min(self._ms * 2 or FIRST_MS, LONGEST_MS)
        self._round(ms if left * 1000 >= ms else max(1, int(left * 1000)))

    def _over(self, reply: Reply) -> None:
        done = self._done
        self.end()
        if done is not None:
            done(reply)
