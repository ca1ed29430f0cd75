"""Reading the words of a request, refused where and as Redis refuses them.

A command's ``parse`` calls; every mistake is BadInput, in Redis's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..errors import BadInput, WrongArity, shown
from ..resp.requests import integer_of
from .spec import Argument, CommandSpec, Expiry

SYNTAX: Final = "syntax error"
NOT_AN_INTEGER: Final = "value is not an integer or out of range"
MS_MAX: Final = 2**63 - 1
WAIT_MAX: Final = 2**42  # milliseconds: beyond all clocks, and exact as a float of seconds


def integer(word: bytes) -> int:
    """A whole number, as Redis reads it."""
    value = integer_of(word)
    if value is None:
        raise BadInput(NOT_AN_INTEGER)
    return value


def expiry(option: bytes, word: bytes, command: str) -> Expiry:
    """EX 60 and its kin, refused where and as Redis refuses them (SET)."""
    number = integer(word)
    unit = 1000 if option in (b"EX", b"EXAT") else 1
    # What counts from now must not pass the last time there is.
    most = MS_MAX if option in (b"EXAT", b"PXAT") else MS_MAX - WAIT_MAX
    if number <= 0 or number > most // unit:
        raise BadInput(f"invalid expire time in '{command}' command")
    return Expiry(option, number)


def milliseconds(option: bytes, word: bytes, command: str) -> int:
    """A length of time, out of EX s or PX ms."""
    return expiry(option, word, command).number * (1000 if option == b"EX" else 1)


def waiting(word: bytes) -> int:
    """Milliseconds to wait at most, from 0 up."""
    ms = integer(word)
    if ms < 0:
        raise BadInput("timeout is negative")
    return min(ms, WAIT_MAX)


def subcommand(spec: CommandSpec, words: Sequence[bytes]) -> str:
    """The subcommand's name, if it is one and has the right number of words."""
    name = words[1].decode("latin-1").upper()
    for sub in spec.subcommands:
        if sub.name == name:
            if len(words) == sub.arity or (sub.arity < 0 and len(words) >= -sub.arity):
                return name
            raise WrongArity(f"{spec.name.decode()}|{name}")
    raise BadInput(f"unknown subcommand {shown(words[1])}. Try {spec.name.decode()} HELP.")


@dataclass(slots=True)
class Options:
    """Reads options from left to right; each may stand once, in any case and order."""

    words: Sequence[bytes]
    at: int
    seen: set[bytes] = field(default_factory=set[bytes])

    def more(self) -> bool:
        return self.at < len(self.words)

    def name(self, *allowed: bytes, also: Mapping[bytes, bytes] | None = None) -> bytes:
        """The next word as one of the options; ``also`` maps those that exclude each other to one
        name. BadInput: unknown, or there before."""
        word = self.words[self.at].upper()
        if word not in allowed:
            raise BadInput(SYNTAX)
        kind = (also or {}).get(word, word)
        if kind in self.seen:
            raise BadInput(SYNTAX)
        self.seen.add(kind)
        self.at += 1
        return word

    def value(self) -> bytes:
        """The word behind the option just read."""
        if self.at >= len(self.words):
            raise BadInput(SYNTAX)
        self.at += 1
        return self.words[self.at - 1]

    def again(self) -> bytes:
        """The same for an option that may stand more than once."""
        self.seen.discard(self.words[self.at - 1].upper())
        return self.value()


# The facts of those options, for COMMAND DOCS.
TTLS: Final = (Argument("seconds", "integer", "EX"), Argument("milliseconds", "integer", "PX"))
TTL: Final = Argument("expiration", "oneof", flags=("optional",), arguments=TTLS)
EXPIRY: Final = Argument(
    "expiration",
    "oneof",
    flags=("optional",),
    arguments=(
        *TTLS,
        Argument("unix-time-seconds", "unix-time", "EXAT"),
        Argument("unix-time-milliseconds", "unix-time", "PXAT"),
    ),
)
TAG: Final = Argument("tag", "string", "TAG", ("optional", "multiple", "multiple_token"))
# EX, PX, EXAT and PXAT exclude each other.
EXPIRIES: Final = {b"EX": b"EX", b"PX": b"EX", b"EXAT": b"EX", b"PXAT": b"EX"}
