"""Clients refused at ``max_clients``, or because they speak TLS where there is none: told to the
operator, a line when it begins and then one in so many seconds with how many there were since."""

from __future__ import annotations

import logging
from typing import Final

from ..errors import ProtocolError, TlsAtPlain
from ..log import event

log = logging.getLogger(__name__)

EVERY: Final = 10.0  # seconds between two lines


class Refusals:
    def __init__(self) -> None:
        self.count = 0  # since the process began
        self._told = 0
        self._quiet_until = 0.0
        self._with_tls = 0  # since it was told
        self._with_tls_until = 0.0

    def __repr__(self) -> str:
        return f"<Refusals {self.count}>"

    def refused(self, limit: int, now: float) -> None:
        """One more client was refused; ``now`` in seconds, monotonic."""
        self.count += 1
        if now < self._quiet_until:
            return
        refused, self._told = self.count - self._told, self.count
        event(log, logging.WARNING, "clients refused", refused=refused, max_clients=limit)
        self._quiet_until = now + EVERY

    def told(self, error: ProtocolError, peer: str, now: float) -> None:
        """A client is told that it is not understood."""
        if not isinstance(error, TlsAtPlain):
            return
        self._with_tls += 1
        if now >= self._with_tls_until:
            event(log, logging.WARNING, "TLS unexpected", peer=peer, count=self._with_tls)
            self._with_tls, self._with_tls_until = 0, now + EVERY
