"""A request as handlers see it, and what they answer. Pure: connection.py reads and writes them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import unquote

from ..headers import Headers

# What a path that is spelled out is not: a slash that is escaped is no slash.
_KEPT = re.compile(r"%(2[Ff]|25)")


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """``raw_path`` and ``query`` are percent-encoded as they came. ``read`` gives the whole body
    where it has at most so many bytes, else BodyTooLarge; ConnectionError: it did not come whole.
    ``local``: it came by a unix socket."""

    method: str
    raw_path: str
    query: str
    headers: Headers
    read: Callable[[int], Awaitable[bytes]]
    local: bool = False
    captures: Mapping[str, str] = field(default_factory=dict[str, str])

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.raw_path}>"

    @property
    def path(self) -> str:
        """Without percent-encoding, but for that of a slash and of a percent sign."""
        return plain_path(self.raw_path)

    @property
    def content_type(self) -> str:
        """Without its parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def content_length(self) -> int | None:
        length = self.headers.get("Content-Length")
        return None if length is None else int(length)


class BodyTooLarge(Exception):
    """A body has more bytes than were asked for."""


@dataclass(slots=True)
class Response:
    """``headers`` are those beside Content-Type, Content-Length and Date."""

    status: int
    body: bytes
    content_type: str
    headers: dict[str, str] = field(default_factory=dict[str, str])

    def head(self, version: str, connection: str | None, now: int) -> bytes:
        """As it goes to the client, at a second since 1970."""
        rows = [
            f"HTTP/{version} {self.status} {_PHRASES.get(self.status, '')}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            f"Date: {_date(now)}",
        ]
        if connection is not None:
            rows.append(f"Connection: {connection}")
        return "\r\n".join([*rows, "", ""]).encode("latin-1")


_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@lru_cache(maxsize=2)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)


def split_target(target: str) -> tuple[str, str]:
    """(raw path, query) of a request's target: a path, or a URL as a proxy's clients send it."""
    if not target.startswith("/"):
        scheme, found, rest = target.partition("://")
        if found and scheme.lower() in ("http", "https"):
            at = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
            target = rest[at:] if rest[at : at + 1] == "/" else "/" + rest[at:]
    path, _, query = target.partition("#")[0].partition("?")
    return path, query


def plain_path(raw: str) -> str:
    if "%" not in raw:
        return raw
    return unquote(_KEPT.sub(r"%25\1", raw), errors="surrogateescape")
