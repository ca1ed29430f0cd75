"""Which ``Host`` an HTTP request may name. A page that a browser shows may have its own name
resolve to this machine (DNS rebinding) and then read here what it likes; the name it asks under is
its own all the same, and is refused.

Owns that decision. An IP address cannot be rebound, so any is allowed; what is asked for through a
unix socket comes from no browser. api.py asks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

ANY: Final = "*"


class Hosts:
    """IP addresses, ``localhost``, and these names; ``*`` is any name."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(name.lower().rstrip(".") for name in names)

    def __repr__(self) -> str:
        return f"<Hosts {' '.join(sorted(self._names)) or 'no names'}>"

    def allow(self, host: str | None) -> bool:
        """Whether a ``Host`` header may be answered. Without one it is no browser that asks."""
        if host is None or ANY in self._names:
            return True
        name = _name_of(host)
        if name == "localhost" or name.endswith(".localhost") or name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _name_of(host: str) -> str:
    """What stands before the port, as names are compared."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")
