"""Who may say for whom it speaks: the setting ``trusted_proxies``.

Addresses and networks of load balancers, and the word ``unix`` for whoever may connect to a unix
socket. Pure; process/entrance.py asks."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from .rows import Kind

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
UNIX: Final = "unix"


@dataclass(frozen=True, slots=True)
class Trusted:
    """``unix``: also who comes by a unix socket."""

    networks: tuple[Network, ...] = ()
    unix: bool = False

    @classmethod
    def parse(cls, text: str) -> Trusted:
        """ValueError where a word is neither an address nor a network."""
        words = [word.strip() for word in text.split(",")]
        networks: list[Network] = []
        for word in words:
            if word.lower() != UNIX:
                try:
                    networks.append(ipaddress.ip_network(word))
                except ValueError as error:
                    raise ValueError(str(error)) from None
        return cls(tuple(networks), any(word.lower() == UNIX for word in words))

    def trusts(self, host: str) -> bool:
        """Whether an address is one of them; it may be no address at all."""
        try:
            found = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
        # Of another version than the network it is not in it, and no error.
        return any((mapped or found) in network for network in self.networks)


TRUSTED: Final = Kind(
    Trusted.parse, "addresses, networks such as 10.0.0.0/8, or unix", "NETWORK", many=True
)
