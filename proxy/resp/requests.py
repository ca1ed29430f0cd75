"""The Redis protocol, as bytes in and values out: requests the slow way, and small replies.

The hot path never comes here: the kernel walks requests and replies without decoding them. This is
for what the proxy itself must understand, and for bytes that only Redis's own leniency can read.
Wire format: https://redis.io/docs/latest/develop/reference/protocol-spec/ ; limits and wording:
Redis 7.0 networking.c (processMultibulkBuffer, processInlineBuffer) and sds.c (sdssplitargs)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, cast

import hiredis

from ..errors import ProtocolError, ProxyError
from .kernel import BROKEN, DONE, Cutter

INLINE_MAX: Final = 64 * 1024
BULK_MAX: Final = 512 * 1024 * 1024
ARGS_MAX: Final = 2**31 - 1
LONG: Final = 64 * 1024
QUICK: Final = 4096  # from here on a whole request is worth the quick way of reading it
LOCKED_ARGS_MAX: Final = 10
LOCKED_BULK_MAX: Final = 16384

OK: Final = b"+OK\r\n"

# What a reply stands for. A str is a simple string (+OK), bytes are a bulk.
Value = (
    None | bool | int | float | str | bytes | ProxyError | Sequence["Value"] | Mapping[str, "Value"]
)


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


class Dialect(Enum):
    """Where the servers read requests differently."""

    REDIS = auto()  # does not look at the two bytes behind a bulk; a closing quote ends its word
    VALKEY = auto()  # from 9.0: wants the line end; a word goes on behind a closing quote


def parse_request(
    data: bytes, pos: int, locked: bool = False, dialect: Dialect = Dialect.REDIS
) -> Request | Partial:
    """The request that starts at pos, read as leniently as the server reads it; locked: before
    AUTH.

    Raises ProtocolError with Redis's wording. A count is checked before anything is kept for it, so
    ``*2000000000`` costs nothing."""
    if data[pos : pos + 1] != b"*":
        return _inline(data, pos, dialect)
    line = _header(data, pos, "mbulk count")
    if line is None:
        return Partial(len(data) - pos + 1)
    count, at = line
    args = integer_of(count)
    if args is None or args > ARGS_MAX:
        raise ProtocolError("invalid multibulk length")
    if locked and args > LOCKED_ARGS_MAX:
        raise ProtocolError("unauthenticated multibulk length")
    if len(data) - pos > QUICK and not locked:
        long = _long(data, pos, args)
        if long is not None:
            return long
    values: list[bytes] = []
    for left in range(args, 0, -1):
        if at >= len(data):
            return Partial(_at_least(len(data) - pos + 1, left - 1))
        if data[at : at + 1] != b"$":
            # Redis prints the byte with %c into a C string: a NUL ends the quote there.
            raise ProtocolError(f"expected '$', got '{_printable(data[at])}'")
        line = _header(data, at, "bulk count")
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


def _long(data: bytes, pos: int, args: int) -> Request | Partial | None:
    """A long request the quick way: 0.1 us a word instead of 3 (tests.bench.warm). None: it is
    not canonical, and only the slow way reads it as the server does."""
    cutter = Cutter(True)
    end = cutter.cut(data, pos, 1)
    if cutter.stop == DONE:
        reader = hiredis.Reader()
        reader.feed(data, pos, end - pos)
        return Request(cast("list[bytes]", reader.gets()), end)
    if cutter.stop == BROKEN or len(data) - pos <= LONG:
        return None
    # Every word has two lines of its own, an empty one six bytes.
    words = (2 * args + 1 - data.count(b"\n", pos) - 1) // 2
    return Partial(len(data) - pos + max(1, cutter.skip, 6 * words))


def _at_least(need: int, words: int) -> int:
    """Bytes of a request that has so many words to come, of six bytes or more each.

    Only where it is long: a short one is read again for each byte, so that a wrong byte in it is
    answered when it comes, as Redis does; a long one would be read again a million times."""
    return need + 6 * words if need > LONG else need


def _header(data: bytes, pos: int, what: str) -> tuple[bytes, int] | None:
    """(digits, offset behind the line) of ``*N\\r\\n`` or ``$N\\r\\n``; None while the line is not
    whole."""
    stop = data.find(b"\r", pos)
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
    stop = data.find(b"\n", pos)
    if stop < 0:
        if len(data) - pos > INLINE_MAX:
            raise ProtocolError("too big inline request")
        return Partial(len(data) - pos + 1)
    line = data[pos : stop - 1 if stop > pos and data[stop - 1] == 0x0D else stop]
    return Request(split_inline(line, dialect), stop + 1)


_SPACES: Final = frozenset(b" \n\r\t\v\f")
# What ends a word: \v and \f stand between words, and in them.
_ENDS: Final = frozenset(b" \n\r\t")
_ESCAPES: Final = {0x6E: 0x0A, 0x72: 0x0D, 0x74: 0x09, 0x62: 0x08, 0x61: 0x07}
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")


def split_inline(line: bytes, dialect: Dialect = Dialect.REDIS) -> list[bytes]:
    """Split an inline request into arguments as sdssplitargs does: "..." with escapes, '...' with
    \\'."""
    args: list[bytes] = []
    # The C string ends at the first NUL.
    line = line.partition(b"\0")[0]
    at, end = 0, len(line)
    while True:
        while at < end and line[at] in _SPACES:
            at += 1
        if at == end:
            return args
        word = bytearray()
        while at < end and line[at] not in _ENDS:
            if line[at] in b"\"'":
                at = _quoted(line, at, word)
                if dialect is Dialect.VALKEY:
                    continue
                # A closing quote must end the word.
                if at < end and line[at] not in _SPACES:
                    raise ProtocolError("unbalanced quotes in request")
                break
            word.append(line[at])
            at += 1
        args.append(bytes(word))


def _quoted(line: bytes, at: int, word: bytearray) -> int:
    """Append the quoted text that opens at ``at`` to word; the offset behind its closing quote."""
    quote = line[at]
    at += 1
    while at < len(line):
        byte = line[at]
        if byte == quote:
            return at + 1
        following = line[at + 1 : at + 4]
        if byte == 0x5C and quote == 0x22 and following:
            if following[:1] == b"x" and len(following) == 3 and set(following[1:]) <= _HEX:
                word.append(int(following[1:], 16))
                at += 4
                continue
            word.append(_ESCAPES.get(following[0], following[0]))
            at += 2
        elif byte == 0x5C and following[:1] == b"'":
            word.append(0x27)
            at += 2
        else:
            word.append(byte)
            at += 1
    raise ProtocolError("unbalanced quotes in request")


def encode(args: Iterable[bytes]) -> bytes:
    """A request in its one canonical form."""
    words = list(args)
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def null(resp: int) -> bytes:
    return b"_\r\n" if resp == 3 else b"$-1\r\n"


def integer(value: int) -> bytes:
    return b":%d\r\n" % value


def error(text: str) -> bytes:
    """An ``-ERR`` line; the text must be our own or already printable."""
    return b"-ERR %b\r\n" % text.encode("utf-8", "replace").replace(b"\r", b" ").replace(
        b"\n", b" "
    )


def reply(value: Value, resp: int) -> bytes:
    """A reply in the client's protocol; RESP2 has maps flat, booleans as 1 and 0, doubles as
    text."""
    parts: list[bytes] = []
    _reply(value, resp, parts)
    return b"".join(parts)


def _reply(value: Value, resp: int, parts: list[bytes]) -> None:
    if value is None:
        parts.append(null(resp))
    elif isinstance(value, bytes):
        parts.append(bulk(value))
    elif isinstance(value, bool) and resp == 3:
        parts.append(b"#t\r\n" if value else b"#f\r\n")
    elif isinstance(value, int):
        parts.append(integer(value))
    elif isinstance(value, float):
        text = b"%.17g" % value
        parts.append(b",%b\r\n" % text if resp == 3 else bulk(text))
    elif isinstance(value, str):
        parts.append(b"+%b\r\n" % value.encode())
    elif isinstance(value, ProxyError):
        parts.append(value.line)
    elif isinstance(value, Mapping):
        parts.append(b"%%%d\r\n" % len(value) if resp == 3 else b"*%d\r\n" % (2 * len(value)))
        for name, item in value.items():
            parts.append(bulk(name.encode()))
            _reply(item, resp, parts)
    else:
        parts.append(b"*%d\r\n" % len(value))
        for item in value:
            _reply(item, resp, parts)


def verbatim(text: bytes, resp: int) -> bytes:
    """Plain text as Redis's addReplyVerbatim sends it."""
    return b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text) if resp == 3 else bulk(text)


def arity_error(name: bytes) -> bytes:
    return b"-ERR wrong number of arguments for '%b' command\r\n" % name.lower()


@dataclass(frozen=True, slots=True)
class Hello:
    """The words of a HELLO that the server would accept."""

    resp: int
    login: tuple[bytes, bytes] | None
    name: bytes | None


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


_ID: Final = re.compile(rb"\$2\r\nid\r\n:\d+\r\n")


def patch_id(hello: bytes, number: int) -> bytes:
    """A HELLO reply with the proxy's own client id in place of the lane's."""
    return _ID.sub(b"$2\r\nid\r\n:%d\r\n" % number, hello, count=1)
