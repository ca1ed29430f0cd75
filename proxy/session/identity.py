"""Who a client is: what CLIENT shows of it, and what it says of itself. The proxy's own: the
server knows only lanes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import cast

from ..locking.tenure import Tenure
from .waiting import Waiting


@dataclass(slots=True)
class Identity:
    born: float  # seconds, monotonic
    id: int = 0
    name: bytes = b""
    library: tuple[bytes, bytes] = (b"", b"")  # CLIENT SETINFO lib-name, lib-ver
    peer: str = ""
    local: str = ""
    capa: str = ""  # CLIENT LIST's capa=: "r" for CLIENT CAPA REDIRECT
    marks: str = ""  # CLIENT LIST's flags for NO-EVICT and NO-TOUCH
    waits: Waiting = field(default_factory=Waiting)  # in what, while it is blocked
    redirect: int = -1  # whose client gets our invalidations
    asks: int = -1  # to whom it would redirect them: not answered yet
    redirected: set[int] = field(default_factory=set[int])  # whose invalidations we get, or may
    tenure: Tenure | None = None  # the locks that are renewed for it (tenures.py)

    def locate(self, wire: asyncio.BaseTransport) -> None:
        """Take the addresses of both ends."""
        local = wire.get_extra_info("sockname")
        self.peer = address(wire.get_extra_info("peername"), local)
        self.local = address(local, None)

    def reset(self) -> None:
        """As RESET does."""
        self.name = b""
        self.marks = ""
        self.capa = ""
        self.redirect = -1


def address(name: object, server: object) -> str:
    """An address as Redis writes it; a unix client has its server's path and port 0."""
    if isinstance(name, tuple):
        host, port = map(str, cast("tuple[object, ...]", name)[:2])
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    path = name or server
    return f"{path.decode() if isinstance(path, bytes) else path}:0"
