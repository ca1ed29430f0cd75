"""Replies: values as bytes in the client's protocol, and whole replies of the server as values.

For answers that the proxy words itself and those that it must understand; what only passes is never
decoded. The one place that makes a hiredis.Reader. Refuses streams: a caller has whole replies.
Source: https://redis.io/docs/latest/develop/reference/protocol-spec/"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, Final, cast

import hiredis

from ..errors import OddReply, ProxyError, ServerError
from .strings import Strings

OK: Final = b"+OK\r\n"

# Kinds of an item: a bulk that may be null, for ``items``.
BULK: Final = (bytes, NoneType)

# What a reply stands for. A str is a simple string (+OK), bytes are a bulk.
Value = (
    None | bool | int | float | str | bytes | ProxyError | Sequence["Value"] | Mapping[str, "Value"]
)


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
    elif isinstance(value, Strings):
        parts.append(value.encoded(null(resp)))
    elif isinstance(value, Mapping):
        parts.append(b"%%%d\r\n" % len(value) if resp == 3 else b"*%d\r\n" % (2 * len(value)))
        for name, item in value.items():
            parts.append(bulk(name.encode(errors="surrogateescape")))  # LOCK LIST's: any bytes
            _reply(item, resp, parts)
    else:
        parts.append(b"*%d\r\n" % len(value))
        for item in value:
            _reply(item, resp, parts)


def verbatim(text: bytes, resp: int) -> bytes:
    """Plain text as Redis's addReplyVerbatim sends it."""
    return b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text) if resp == 3 else bulk(text)


_ID: Final = re.compile(rb"\$2\r\nid\r\n:\d+\r\n")


def patch_id(hello: bytes, number: int) -> bytes:
    """A HELLO reply with the proxy's own client id in place of the lane's."""
    return _ID.sub(b"$2\r\nid\r\n:%d\r\n" % number, hello, count=1)


def parsed(data: bytes, pos: int = 0, end: int | None = None) -> Value:
    """The one whole reply in data[pos:end] as a value; errors, also those inside, as
    ServerError (in UTF-8: hiredis puts a mark for any other byte).

    ValueError where it is no reply, or not a whole one."""
    reader = _reader()
    reader.feed(data, pos, (len(data) if end is None else end) - pos)
    return _whole(reader)


def parsed_many(replies: bytes, count: int) -> list[Value]:
    """So many whole replies as values. ValueError as with ``parsed``."""
    reader = _reader()
    # As one array: taken one by one they cost three times as much.
    reader.feed(b"*%d\r\n" % count)
    reader.feed(replies)
    return cast("list[Value]", _whole(reader))


def items(value: Value, what: str, *kinds: type | tuple[type, ...]) -> Sequence[Any]:
    """The items of an array, one of each kind. OddReply where it is anything else: what a server
    says is not to be trusted with the shape that its documentation gives it. ``what``: it was asked
    for."""
    if (
        not isinstance(value, list)
        or len(value) != len(kinds)
        or not all(map(isinstance, value, kinds))
    ):
        raise OddReply(what)
    return value


def number(value: Value, what: str) -> int:
    """An integer. OddReply where it is anything else."""
    if not isinstance(value, int):
        raise OddReply(what)
    return value


def _reader() -> hiredis.Reader:
    return hiredis.Reader(
        protocolError=ValueError,
        replyError=_server_error,
        notEnoughData=Ellipsis,
    )


def _whole(reader: hiredis.Reader) -> Value:
    value = reader.gets()
    if value is Ellipsis:
        raise ValueError("not a whole reply")
    return cast(Value, value)


def _server_error(text: str) -> ServerError:
    return ServerError(b"-" + text.encode())
