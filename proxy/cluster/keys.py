"""The keys of a request, and the slot that they are in.

Owns finding them: by COMMAND's range where it says all, by its key specifications, and by hand
where those say less than the server knows. Refuses to guess: None where only the server can tell.
Pure.
Source: https://redis.io/docs/latest/develop/reference/key-specs/"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final

from ..table.keyspecs import Counted, KeySpec, Range
from ..table.table import Command, snapshot


def keys_of(words: Sequence[bytes], command: Command) -> list[bytes] | None:
    """The keys (and sharded channels) that the request names, in its order; as many times as it
    names them. None where only the server can tell. A request that is malformed names those that
    could be found: it is the server that refuses it."""
    walk = _WALKS.get(command.name)
    if walk is not None:
        return walk(words)
    if b"movablekeys" not in command.flags:
        return _ranged(words, command.keys)
    specs = command.specs or shipped_specs(command.name)
    if not specs or any(spec.find is None for spec in specs):
        return None
    return [key for spec in specs for key in _found(words, spec)]


def _ranged(words: Sequence[bytes], keys: tuple[int, int, int]) -> list[bytes]:
    first, last, step = keys
    if first == 0:
        return []
    return list(words[first : last + 1 if last >= 0 else len(words) + last + 1 : max(step, 1)])


@cache
def _shipped() -> Mapping[bytes, Command]:
    return snapshot().commands


def shipped_specs(name: bytes) -> tuple[KeySpec, ...]:
    """What newer servers say of a command: before 7.0 COMMAND has no specifications."""
    command = _shipped().get(name)
    return command.specs if command is not None else ()


def _found(words: Sequence[bytes], spec: KeySpec) -> Sequence[bytes]:
    first = _begins(words, spec)
    if not 0 < first < len(words):
        return ()
    if isinstance(spec.find, Range):
        return words[first : _last(spec.find, first, len(words)) + 1 : max(spec.find.step, 1)]
    assert isinstance(spec.find, Counted)
    return _counted(words, first, spec.find)


def _begins(words: Sequence[bytes], spec: KeySpec) -> int:
    """The index at which the search begins; 0: the keyword is not there."""
    if not spec.keyword:
        return spec.start
    # As genericGetKeys does it: a keyword with nothing behind it is none.
    places = range(spec.start, len(words) - 1)
    if spec.start < 0:
        places = range(len(words) + spec.start, 1, -1)
    keyword = spec.keyword.upper()
    return next((at + 1 for at in places if words[at].upper() == keyword), 0)


def _last(find: Range, first: int, count: int) -> int:
    if find.last >= 0:
        return first + find.last
    if find.limit > 1:
        return first + (count - first) // find.limit + find.last
    return count + find.last


def _counted(words: Sequence[bytes], start: int, find: Counted) -> Sequence[bytes]:
    count = _number(words, start + find.at)
    first = start + find.first
    # More than there are: the server refuses it, wherever it goes.
    if count < 1 or first + (count - 1) * find.step >= len(words):
        return ()
    return words[first : first + count * find.step : find.step]


def _number(words: Sequence[bytes], at: int) -> int:
    """A count as the server reads it; 0 where it is none."""
    digits = words[at] if at < len(words) else b""
    return int(digits) if digits.isdigit() and len(digits) < 10 else 0


# --- By hand: options may stand anywhere, and values may be called as an option is -----------


def _sort(words: Sequence[bytes]) -> list[bytes]:
    """SORT key ... STORE destination: of several destinations the server takes the last."""
    stored: Sequence[bytes] = ()
    at = 2
    while at < len(words):
        option = words[at].upper()
        if option == b"STORE" and at + 1 < len(words):
            stored = words[at + 1 : at + 2]
        at += {b"LIMIT": 3, b"GET": 2, b"BY": 2, b"STORE": 2}.get(option, 1)
    return [*words[1:2], *stored]


def _geo(options: int) -> Callable[[Sequence[bytes]], list[bytes]]:
    """GEORADIUS: the options begin at a word; of several destinations the last is taken."""

    def walk(words: Sequence[bytes]) -> list[bytes]:
        stored: Sequence[bytes] = ()
        at = options
        while at + 1 < len(words):
            if words[at].upper() in (b"STORE", b"STOREDIST"):
                at += 1
                stored = words[at : at + 1]
            at += 1
        return [*words[1:2], *stored]

    return walk


def _migrate(words: Sequence[bytes]) -> list[bytes]:
    """MIGRATE host port key|"" db timeout [COPY] [REPLACE] [AUTH p | AUTH2 u p] [KEYS key ...]"""
    at = 6
    while at < len(words):
        option = words[at].upper()
        if option == b"KEYS" and words[3] == b"":
            return list(words[at + 1 :])
        at += {b"AUTH": 2, b"AUTH2": 3}.get(option, 1)
    return list(words[3:4])


def _read(words: Sequence[bytes]) -> list[bytes]:
    """XREAD, XREADGROUP: a group or a consumer may be called STREAMS."""
    at = 1
    while at < len(words):
        option = words[at].upper()
        if option == b"STREAMS":
            count = len(words) - at - 1
            return list(words[at + 1 : at + 1 + count // 2])
        at += {b"BLOCK": 2, b"COUNT": 2, b"GROUP": 3, b"CLAIM": 2}.get(option, 1)
    return []


_WALKS: Final[Mapping[bytes, Callable[[Sequence[bytes]], list[bytes]]]] = {
    b"GEORADIUS": _geo(6),
    b"GEORADIUSBYMEMBER": _geo(5),
    b"MIGRATE": _migrate,
    b"SORT": _sort,
    b"SORT_RO": lambda words: list(words[1:2]),
    b"XREAD": _read,
    b"XREADGROUP": _read,
}
