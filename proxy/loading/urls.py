"""URLs of ``url`` loaders, taken apart for a request, and where redirects lead. Pure.

Percent-encoding stays as it is: %2F of a capture is no slash."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote, unquote, urljoin, urlsplit

PORTS: Final = {"http": 80, "https": 443}
# All of ASCII that is to be seen: what is not in it is encoded, and the rest stays.
_SEEN: Final = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True, repr=False)
class Url:
    """``target`` is path and query. ``user``: Basic authorization, or None."""

    scheme: str
    host: str
    port: int
    target: str
    user: str | None = None

    @classmethod
    def parse(cls, text: str) -> Url:
        """ValueError: it is no http URL, in words that do not quote it."""
        try:
            parts = urlsplit(text)
            port = parts.port
            host = (parts.hostname or "").encode("idna" if not text.isascii() else "ascii").decode()
        except ValueError:
            raise ValueError("it is no URL") from None
        if parts.scheme not in PORTS or not host or ("%" in host and ":" not in host):
            raise ValueError("it is no http URL")
        target = quote(parts.path or "/", safe=_SEEN)
        if not target.startswith("/"):
            raise ValueError("it is no http URL")
        if parts.query:
            target += "?" + quote(parts.query, safe=_SEEN)
        return cls(parts.scheme, host, PORTS[parts.scheme] if port is None else port, target,
                   _basic(parts.username, parts.password))  # fmt: skip

    def __repr__(self) -> str:
        return f"<Url of {self.host}>"

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def join(self, location: str) -> Url | None:
        """Where a Location leads from here. The user goes along on the same origin alone: who asks
        is not for a server to say. None: to no http URL."""
        base = f"{self.scheme}://{self.host_header}{self.target}"
        try:
            there = Url.parse(urljoin(base, location.strip()))
        except ValueError:
            return None
        return replace(there, user=self.user if there.origin == self.origin else None)


def _basic(user: str | None, password: str | None) -> str | None:
    """ValueError: a part of it cannot be sent."""
    if user is None and password is None:
        return None
    name = unquote(user or "")
    if ":" in name:
        raise ValueError("a user's name has no colon")
    try:
        both = f"{name}:{unquote(password or '')}".encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("the user or the password is not in Latin-1") from None
    return "Basic " + base64.b64encode(both).decode()
