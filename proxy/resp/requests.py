"""Requests, read the slow way: as leniently as the servers read them, and as strictly.

The hot path never comes here: the kernel walks requests without decoding them. This is for what the
proxy itself must understand, and for bytes that only Redis's own leniency can read. Refuses to
answer: replies.py words answers.
Wire format: https://redis.io/docs/latest/develop/reference/protocol-spec/ ; limits and wording:
Redis 7.0 networking.c (processMultibulkBuffer, processInlineBuffer)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import ProtocolError, TlsAtPlain
from .inline import Dialect, split_inline
from .kernel import split

INLINE_MAX: Final = 64 * 1024
BULK_MAX: Final = 512 * 1024 * 1024
ARGS_MAX: Final = 2**31 - 1
LONG: Final = 64 * 1024
LOCKED_ARGS_MAX: Final = 10
LOCKED_BULK_MAX: Final = 16384

# How a TLS handshake begins (RFC 8446, 5.1), and no command: its "line" would never be whole.
_TLS: Final = b"\x16\x03"


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request and the offset behind it; no args where Redis skips it (``*0``, an empty
    line)."""

    args: list[bytes]
    end: int


@dataclass(frozen=True, slots=True)
class Partial:
    """Not a whole request yet: at least ``need`` bytes from its first one on are wanted."""

    need: int


def parse_request(
    data: bytes, pos: int, locked: bool = False, dialect: Dialect = Dialect.REDIS
) -> Request | Partial:
    """The request that starts at pos, read as leniently as the server reads it; locked: before
    AUTH.

    Raises ProtocolError with Redis's wording. A count is checked before anything is kept for it, so
    ``*2000000000`` costs nothing."""
    if not locked:
        # The quick way, for what is canonical; only the slow one reads other bytes as the server
        # does. A short request that is not whole is read again for each byte, so that a wrong one
        # is answered when it comes.
        words, at = split(data, pos)
        if words is not None:
            return Request(words, at)
        if at and len(data) - pos > LONG:
            return Partial(at)
    if data[pos : pos + 1] != b"*":
        if data.startswith(_TLS, pos):
            raise TlsAtPlain
        return _inline(data, pos, dialect)
    line = _header(data, pos, "mbulk count", dialect)
    if line is None:
        return Partial(len(data) - pos + 1)
    count, at = line
    args = integer_of(count)
    if args is None or args > ARGS_MAX:
        raise ProtocolError("invalid multibulk length")
    if locked and args > LOCKED_ARGS_MAX:
        raise ProtocolError("unauthenticated multibulk length")
    values: list[bytes] = []
    for left in range(args, 0, -1):
        if at >= len(data):
            return Partial(_at_least(len(data) - pos + 1, left - 1))
        if data[at : at + 1] != b"$":
            # Redis prints the byte with %c into a C string: a NUL ends the quote there.
            raise ProtocolError(f"expected '$', got '{_printable(data[at])}'")
        line = _header(data, at, "bulk count", dialect)
        if line is None:
            return Partial(_at_least(len(data) - pos + 1, left - 1))
        size = integer_of(line[0])
        if size is None or not 0 <= size <= BULK_MAX:
            raise ProtocolError("invalid bulk length")
        if locked and size > LOCKED_BULK_MAX:
            raise ProtocolError("unauthenticated bulk length")
        at = line[1] + size + 2
        if at > len(data):
            return Partial(_at_least(at - pos, left - 1))
        if dialect is Dialect.VALKEY and data[at - 2 : at] != b"\r\n":
            raise ProtocolError("invalid CRLF in request")
        values.append(data[line[1] : line[1] + size])
    return Request(values, at)


def _at_least(need: int, words: int) -> int:
    """Bytes of a request that has so many words to come, of six bytes or more each.

    Only where it is long: a short one is read again for each byte, so that a wrong byte in it is
    answered when it comes, as Redis does; a long one would be read again a million times."""
    return need + 6 * words if need > LONG else need


def _end_of_line(data: bytes, pos: int, end: bytes) -> int:
    """Where the line ends, as strchr looks for it; -1: nowhere, as long as a NUL is before it."""
    stop = data.find(end, pos)
    return -1 if data.find(b"\0", pos, stop if stop >= 0 else pos) >= 0 else stop


def _header(data: bytes, pos: int, what: str, dialect: Dialect) -> tuple[bytes, int] | None:
    """(digits, offset behind the line) of ``*N\\r\\n`` or ``$N\\r\\n``; None while the line is not
    whole."""
    valkey = dialect is Dialect.VALKEY
    stop = data.find(b"\r", pos) if valkey else _end_of_line(data, pos, b"\r")
    if stop < 0:
        if len(data) - pos > INLINE_MAX:
            raise ProtocolError(f"too big {what} string")
        return None
    if stop + 2 > len(data):
        return None
    return data[pos + 1 : stop], stop + 2


def integer_of(digits: bytes) -> int | None:
    """A number as Redis reads it (string2ll): no plus sign, leading zeros or spaces; None: it
    refuses."""
    body = digits[1:] if digits[:1] == b"-" else digits
    if not body.isdigit() or len(body) > 19 or (body[:1] == b"0" and digits != b"0"):
        return None
    value = int(digits)
    return value if -(2**63) <= value < 2**63 else None


def _printable(byte: int) -> str:
    # Redis turns CR and LF of an error text into spaces (afterErrorReply / addReplyErrorLength).
    return " " if byte in b"\r\n" else "" if byte == 0 else chr(byte)


def _inline(data: bytes, pos: int, dialect: Dialect) -> Request | Partial:
    stop = _end_of_line(data, pos, b"\n")
    if stop < 0:
        if len(data) - pos > INLINE_MAX:
            raise ProtocolError("too big inline request")
        return Partial(len(data) - pos + 1)
    line = data[pos : stop - 1 if stop > pos and data[stop - 1] == 0x0D else stop]
    return Request(split_inline(line, dialect), stop + 1)


def encode(args: Iterable[bytes]) -> bytes:
    """A request in its one canonical form."""
    words = list(args)
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Hello:
    """The words of a HELLO that the server would accept."""

    resp: int
    login: tuple[bytes, bytes] | None
    name: bytes | None

    def without_name(self, command: bytes) -> list[bytes]:
        """The request for a lane: names are the proxy's own, the lane's stays. ``command`` is HELLO
        as its client writes it, which MONITOR shows."""
        return [command, b"%d" % self.resp, *((b"AUTH", *self.login) if self.login else ())]


def parse_hello(args: Sequence[bytes]) -> Hello | None:
    """HELLO's arguments as Redis reads them; None for those it refuses whatever the login."""
    resp = integer_of(args[1])
    if resp not in (2, 3):
        return None
    login = name = None
    at = 2
    while at < len(args):
        option, left = args[at].upper(), len(args) - at - 1
        if option == b"AUTH" and left >= 2:
            login = (args[at + 1], args[at + 2])
            at += 3
        elif option == b"SETNAME" and left >= 1 and is_name(args[at + 1]):
            name = args[at + 1]
            at += 2
        else:
            return None
    return Hello(resp, login, name)


def is_name(name: bytes) -> bool:
    """Whether Redis takes it as a client's name: printable ASCII without spaces."""
    return all(0x21 <= byte <= 0x7E for byte in name)
