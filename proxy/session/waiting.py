"""What a blocked client waits in: what CLIENT LIST and INFO tell of it.

Facts out of the words of one request, which nobody acts on: the server blocks the client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..resp.requests import integer_of

# Their timeout stands at the front, their keys behind a count.
_COUNTED: Final = frozenset({b"BLMPOP", b"BZMPOP"})
_ONE_KEY: Final = frozenset({b"BLMOVE", b"BRPOPLPUSH"})
_NO_KEY: Final = frozenset({b"FUNCTION", b"SCRIPT", b"WAIT", b"WAITAOF"})


@dataclass(frozen=True, slots=True)
class Waiting:
    """One request that blocks."""

    begin: bytes = b""  # its first bytes
    keys: tuple[bytes, ...] = ()
    timed: bool = True  # it ends by itself
    sees_end: bool = False  # it ends also where its keys do


def waiting(begin: bytes, args: list[bytes]) -> Waiting:
    """Of a request whose first bytes are ``begin``."""
    name, words = args[0].upper(), [word.upper() for word in args]
    if b"STREAMS" in words:
        names = args[words.index(b"STREAMS") + 1 :]
        at = words.index(b"BLOCK") + 1 if b"BLOCK" in words else len(words)
        keys = tuple(names[: len(names) // 2])
        return Waiting(begin, keys, _timed(args[at : at + 1]), name == b"XREADGROUP")
    if name in _COUNTED:
        count = max(integer_of(b"".join(args[2:3])) or 0, 0)
        return Waiting(begin, tuple(args[3 : 3 + count]), _timed(args[1:2]))
    if name in _NO_KEY:
        return Waiting(begin, (), _timed(args[-1:]))
    return Waiting(begin, tuple(args[1 : 2 if name in _ONE_KEY else -1]), _timed(args[-1:]))


def _timed(timeout: list[bytes]) -> bool:
    """Whether a timeout is one: 0 is for ever."""
    return bool(b"".join(timeout).strip(b"0."))
