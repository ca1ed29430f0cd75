"""What the answers of several lock servers come to. Pure: quorum.py asks, and acts on it.

A vote is what one server said; an error, or that it has not answered yet, is one too. A lock is
whose token most of all servers have, be they there or not: any two majorities have a server in
common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import NoMajority, OddReply, ProxyError, ServerError
from ..resp.replies import BULK, Value, items
from ..resp.requests import integer_of
from .grants import Answer, Held, Taken, answer_of

Vote = Value | ProxyError
FREE = -2  # PTTL's number where nobody holds it


@dataclass(frozen=True, slots=True)
class Ballot:
    """The votes about a lock: for each server what it said, None where that is not known."""

    answers: Sequence[Answer | None]
    majority: int

    @property
    def taken(self) -> list[Taken]:
        return [answer for answer in self.answers if isinstance(answer, Taken)]

    @property
    def answered(self) -> int:
        return sum(answer is not None for answer in self.answers)

    @property
    def won(self) -> bool:
        return len(self.taken) >= self.majority

    @property
    def held(self) -> list[int]:
        """How long others hold it, at each server where they do: PTTL's numbers."""
        return [a.ms for a in self.answers if isinstance(a, Held) and a.ms != FREE]

    @property
    def over(self) -> bool:
        """Whether more answers would change nothing: it is won, or held by others at too many."""
        return self.won or len(self.held) > len(self.answers) - self.majority

    @property
    def missing(self) -> int:
        """How many more servers have to become free."""
        free = self.answered - len(self.held)
        return max(0, self.majority - free)

    def elsewhere(self) -> frozenset[int]:
        """The servers at which it is not known to be free, or the token's own."""
        return frozenset(
            at
            for at, answer in enumerate(self.answers)
            if answer is None or (isinstance(answer, Held) and answer.ms != FREE)
        )


def ballot(votes: Sequence[Vote], majority: int) -> Ballot:
    """What votes on lock_acquire.lua say."""
    return Ballot([_answer(vote) for vote in votes], majority)


def frees_in(held: Sequence[int], missing: int) -> int:
    """In how many milliseconds so many of those that hold it will not any more; -1: nobody
    knows."""
    ends = sorted(float("inf") if ms < 0 else ms for ms in held)
    if not missing:
        return FREE
    if missing > len(ends) or ends[missing - 1] == float("inf"):
        return -1
    return int(ends[missing - 1])


@dataclass(frozen=True, slots=True)
class Tally:
    """How many said yes (1) and no (0) to a script that says one of them."""

    yes: int
    no: int
    servers: int

    @property
    def answered(self) -> int:
        return self.yes + self.no

    @property
    def majority(self) -> int:
        return self.servers // 2 + 1

    @property
    def passed(self) -> bool:
        return self.yes >= self.majority

    @property
    def failed(self) -> bool:
        """Whether the rest cannot make it pass."""
        return self.no > self.servers - self.majority


def tally(votes: Sequence[Vote]) -> Tally:
    numbers = [vote for vote in votes if type(vote) is int]
    return Tally(sum(n > 0 for n in numbers), sum(n <= 0 for n in numbers), len(votes))


@dataclass(frozen=True, slots=True)
class Looks:
    """What votes on lock_info.lua say: (ms, or FREE; the last fence) of those that answered."""

    seen: Sequence[tuple[int, int]]
    servers: int

    @property
    def majority(self) -> int:
        return self.servers // 2 + 1

    @property
    def free(self) -> int:
        return sum(ms == FREE for ms, _ in self.seen)

    @property
    def over(self) -> bool:
        held = len(self.seen) - self.free
        return self.free >= self.majority or held >= self.majority

    def reply(self) -> Value:
        """As one server would say it."""
        fence = max((fence for _, fence in self.seen), default=0)
        last = b"%d" % fence if fence else None
        if self.free >= self.majority:
            return [0, FREE, last]
        held = [ms for ms, _ in self.seen if ms != FREE]
        return [1, frees_in(held, self.majority - self.free), last]


def looks(votes: Sequence[Vote]) -> Looks:
    seen: list[tuple[int, int]] = []
    for vote in votes:
        if not isinstance(vote, list):
            continue
        try:
            held, ms, digits = items(vote, "a script", int, int, BULK)
        except OddReply:
            continue
        fence = integer_of(digits) if digits is not None else None
        seen.append((ms if held else FREE, fence or 0))
    return Looks(seen, len(votes))


def complaint(votes: Sequence[Vote], answered: int, *, unknown: bool = False) -> ProxyError:
    """Why there is no majority: in a server's own words, where most refuse; ``unknown``: some may
    have done what was asked."""
    errors = [vote for vote in votes if isinstance(vote, ProxyError)]
    refused = [error for error in errors if isinstance(error, ServerError)]
    if len(refused) > len(votes) // 2:
        return refused[0]
    why = str(errors[0]) if errors else "they do not agree"
    return NoMajority(answered, len(votes), why, unknown=unknown)


def _answer(vote: Vote) -> Answer | None:
    if isinstance(vote, ProxyError):
        return None
    try:
        return answer_of(vote, 0.0)
    except OddReply:
        return None


Enough = Callable[[Sequence[Vote]], bool]
