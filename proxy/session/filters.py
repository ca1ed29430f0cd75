"""Which clients the filters of CLIENT LIST and CLIENT KILL choose.

Whether a filter is one is the server's to say, which is asked with the same words: it knows those
of its version. Here all of Redis's and Valkey's are known, so that what it takes is understood.
https://valkey.io/commands/client-list/, https://redis.io/docs/latest/commands/client-kill/."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ..errors import BadFilter
from ..resp.requests import integer_of
from .clients import Client, Test
from .reasons import HOLD_REPLICA

# The types by their names; of MASTER, whom the server itself follows, a proxy has no client.
_TYPES: Final = {
    b"NORMAL": "normal",
    b"PUBSUB": "pubsub",
    b"MASTER": "master",
    b"PRIMARY": "master",
    b"REPLICA": "replica",
    b"SLAVE": "replica",
}


def filters(
    words: Sequence[bytes], by: Client, *, skip_me: bool = True, unite: bool = False
) -> list[Test]:
    """The tests that ``ID 5 ADDR a:1 ...`` stands for. BadFilter in Redis's words.

    Of a filter that is said twice the last one counts. ``unite``: but ID and NOT-ID add up, as in
    Valkey."""
    tests: dict[bytes, Test] = {}
    ids: dict[bytes, set[int]] = {}
    at = 0
    while at < len(words):
        option = words[at].upper()
        if at + 1 >= len(words):
            raise BadFilter("syntax error")
        value = words[at + 1]
        at += 2
        if option == b"SKIPME":
            if value.upper() not in (b"YES", b"NO"):
                raise BadFilter("syntax error")
            skip_me = value.upper() == b"YES"
        elif option in (b"ID", b"NOT-ID"):
            behind = ids_end(words, at)
            numbers = {integer_of(word) or 0 for word in words[at - 1 : behind]}
            at = behind
            if min(numbers) <= 0:
                raise BadFilter("client-id should be greater than 0")
            ids[option] = ids.get(option, set()) | numbers if unite else numbers
            tests[option] = _one_of(ids[option], wanted=option == b"ID")
        else:
            tests[option] = _test(option, value, by)
    if skip_me:
        tests[b"SKIPME"] = lambda client: client is not by
    return list(tests.values())


def ids_end(words: Sequence[bytes], at: int) -> int:
    """Where the numbers end that stand behind the first one of ID or NOT-ID."""
    while at < len(words) and words[at].isdigit():
        at += 1
    return at


def _one_of(ids: set[int], *, wanted: bool) -> Test:
    return lambda client: (client.identity.id in ids) is wanted


def _test(option: bytes, value: bytes, by: Client) -> Test:
    if option in (b"MAXAGE", b"IDLE"):
        return _since(option, value, by)
    made = _MADE.get(option.removeprefix(b"NOT-"))
    if made is None:
        raise BadFilter("syntax error")
    test = made(value)
    return (lambda client: not test(client)) if option.startswith(b"NOT-") else test


def _since(option: bytes, value: bytes, by: Client) -> Test:
    """Those that are so old, or have been idle for so long."""
    seconds = integer_of(value)
    if seconds is None:
        raise BadFilter(f"{option.decode().lower()} is not an integer or out of range")
    if option == b"MAXAGE":
        return lambda client: by.active - client.identity.born >= seconds
    return lambda client: by.active - client.active >= seconds


def _type(value: bytes) -> Test:
    if value.upper() not in _TYPES:
        raise BadFilter(f"Unknown client type '{_text(value)}'")
    wanted = _TYPES[value.upper()]
    return lambda client: _type_of(client) == wanted


def _type_of(client: Client) -> str:
    if client.berth.holds & HOLD_REPLICA:
        return "replica"
    return "pubsub" if any(client.berth.subscriptions) else "normal"


def _ip(value: bytes) -> Test:
    text = _text(value)
    return lambda client: client.identity.peer.rpartition(":")[0].strip("[]") == text


def _named(value: bytes, name: Callable[[Client], bytes]) -> Test:
    """A client without such a name is none whose name is empty."""
    return lambda client: name(client) == value != b""


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


_MADE: Final[Mapping[bytes, Callable[[bytes], Test]]] = {
    b"ADDR": lambda value: lambda client: client.identity.peer == _text(value),
    b"CAPA": lambda value: lambda client: set(_text(value)) <= set(client.identity.capa),
    b"DB": lambda value: lambda client: client.berth.lane_key.db == integer_of(value),
    b"FLAGS": lambda value: lambda client: set(_text(value)) <= set(client.berth.flags),
    b"IP": _ip,
    b"LADDR": lambda value: lambda client: client.identity.local == _text(value),
    b"LIB-NAME": lambda value: _named(value, lambda client: client.identity.library[0]),
    b"LIB-VER": lambda value: _named(value, lambda client: client.identity.library[1]),
    b"NAME": lambda value: _named(value, lambda client: client.identity.name),
    b"TYPE": _type,
    b"USER": lambda value: lambda client: client.berth.user == value,
}
