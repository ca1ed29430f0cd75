"""The head of a request on the wire: where it ends, that it is one, and its parts. Pure.

Stricter than h11, which takes what follows: a lone line feed, a folded header and a control byte
are read in more than one way by more than one server, and so are both lengths in one head."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LINE_MAX: Final = 16380  # a request's target, and so a key in it
HEADER_MAX: Final = 8190  # the name of a header, or its value
HEADERS_MAX: Final = 128
HEAD_MAX: Final = 128 * 1024

_BREAKS: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
_ROOM: Final = 64  # for the method and the version beside the target, and a colon
_METHOD = re.compile(rb"[A-Z]{0,20}")
_LINE = re.compile(rb"([A-Z]{1,20}) ([!-~]+) HTTP/(1\.[01])\r\n")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)\r\n")
_LENGTHS: Final = (b"content-length", b"transfer-encoding")


class BadHead(Exception):
    """Bytes that are not answered as a request."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


NO_HTTP: Final = "not a request that HTTP allows"


@dataclass(frozen=True, slots=True)
class Head:
    """``rows`` are the headers, names in lower case. ``raw``: all of it, as it came."""

    method: str
    target: str
    version: str
    rows: list[tuple[bytes, bytes]]
    raw: bytes

    @property
    def has_body(self) -> bool:
        return any(name in _LENGTHS for name, _ in self.rows)


def take_head(buffer: bytearray) -> Head | None:
    """The head that the buffer begins with, taken from it with the line breaks before it. None: it
    is not whole. BadHead: it cannot become one."""
    if buffer.startswith((b"\r", b"\n")):
        blank = len(buffer) - len(buffer.lstrip(_BREAKS))
        del buffer[:blank]
    end = buffer.find(_END, 0, HEAD_MAX)
    if end < 0:
        _check_begun(buffer)
        return None
    raw = bytes(buffer[: end + len(_END)])
    head = _parse(raw)
    del buffer[: len(raw)]
    return head


def _parse(raw: bytes) -> Head:
    line = _LINE.match(raw)
    if line is None:
        raise BadHead(400, NO_HTTP)
    method, target, version = line.groups()
    if len(target) > LINE_MAX:
        raise _line_too_long()
    rows: list[tuple[bytes, bytes]] = []
    at, stop = line.end(), len(raw) - len(_BREAKS)
    while at < stop:
        header = _HEADER.match(raw, at)
        if header is None:
            raise BadHead(400, NO_HTTP)
        name, value = header.groups()
        if len(name) > HEADER_MAX or len(value) > HEADER_MAX:
            raise _header_too_long()
        rows.append((name.lower(), value.strip(b"\t ")))
        at = header.end()
    if len(rows) > HEADERS_MAX:
        raise BadHead(431, f"there are more than {HEADERS_MAX} headers")
    names = [name for name, _ in rows]
    hosts = names.count(b"host")
    if hosts > 1 or (hosts == 0 and version == b"1.1") or sum(map(names.count, _LENGTHS)) > 1:
        raise BadHead(400, NO_HTTP)
    return Head(method.decode(), target.decode(), version.decode(), rows, raw)


def _check_begun(buffer: bytearray) -> None:
    """What is no head already."""
    line_end = buffer.find(b"\n", 0, LINE_MAX + _ROOM)
    if line_end < 0:
        if len(buffer) >= LINE_MAX + _ROOM:
            raise _line_too_long()
        method = _METHOD.match(buffer)
        assert method is not None
        if buffer[method.end() : method.end() + 1].strip(b" ") or buffer.startswith(b" "):
            raise BadHead(400, NO_HTTP)
        return
    if not _LINE.match(buffer):
        raise BadHead(400, NO_HTTP)
    last = buffer.rfind(b"\n")
    if len(buffer) - last > 2 * HEADER_MAX + _ROOM:
        raise _header_too_long()
    if len(buffer) >= HEAD_MAX:
        raise BadHead(431, f"the head is longer than {HEAD_MAX} bytes")


def _line_too_long() -> BadHead:
    return BadHead(414, f"the path is longer than {LINE_MAX} bytes")


def _header_too_long() -> BadHead:
    return BadHead(431, f"the header is longer than {HEADER_MAX} bytes")
