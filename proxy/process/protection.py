"""Protected mode, as Redis has it: where anybody on the network could come in and be let in by the
server unasked, nobody from there does.

    start: is it so? ─ yes ─▶ StartError, with what to do
              └ the server does not say yet ─▶ strangers are DENIED ─ it says no ─▶ let in
                                                        └ it says yes ─▶ they stay denied, logged
    later: it has become so ─▶ strangers are DENIED, those without a login closed; until it asks

Asks the server nothing itself: newcomers.py does, and server.py hands its answer in. A stranger is
whose address is not this machine's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, cast

from ..errors import DENIED, ExitCode, StartError
from ..log import event
from ..settings.config import Config
from ..settings.entry import beyond_loopback, is_loopback

log = logging.getLogger(__name__)

REMEDY: Final = (
    "have the server ask for a password (requirepass, or ACL SETUSER default) and leave it out of "
    "--upstream, so that clients send AUTH themselves; or listen on 127.0.0.1 or a unix socket; or "
    "let clients show certificates (tls_client_auth = required); or, where the network itself "
    "keeps strangers out, set protected_mode = off"
)


class State(Enum):
    """Of the protection."""

    OPEN = auto()  # it is off, not needed, or the server asks
    UNKNOWN = auto()  # the server has not said yet
    CLOSED = auto()  # strangers would be let in unasked


class Protection:
    """What the settings and the server's word come to."""

    def __init__(self, config: Config) -> None:
        self.where = ", ".join(map(str, beyond_loopback(config, config.listen)))
        self._needed = bool(self.where) and config.protected_mode == "on"
        self._certified = config.tls_client_auth == "required"
        self.state = State.UNKNOWN if self._needed else State.OPEN

    def __repr__(self) -> str:
        return f"<Protection {self.state.name} {self.where}>"

    @property
    def unknown(self) -> bool:
        """Whether the server's word is wanted."""
        return self.state is State.UNKNOWN

    def learn(self, *, asks: bool) -> None:
        """The server asks newcomers for a login, or lets them in."""
        self.state = State.OPEN if asks else State.CLOSED

    def relearn(self, *, asks: bool) -> bool:
        """The same of a server that has been asked before; whether strangers are denied from now
        on."""
        if not self._needed or self.state is State.UNKNOWN:
            return False
        was, self.state = self.state, State.OPEN if asks else State.CLOSED
        return self.state is State.CLOSED and was is not State.CLOSED

    def keeps_out(self, peer: str, *, tls: bool) -> bool:
        """Whether a client is a stranger, by its address as CLIENT LIST has it; who has come by TLS
        has shown a certificate, where one is required."""
        host, _, port = peer.rpartition(":")
        unix = port == "0"
        return not (unix or is_loopback(host.strip("[]")) or (tls and self._certified))

    def tell(self) -> None:
        """Log that strangers are denied, where it is so."""
        if self.state is State.CLOSED:
            event(log, logging.ERROR, "protected mode", denied=self.where, remedy=REMEDY)

    def refuse(self) -> None:
        """StartError, where strangers would be let in."""
        if self.state is State.CLOSED:
            raise StartError(
                f"protected mode: anybody who reaches {self.where} would be let in, for the "
                f"upstream asks newcomers for no login: {REMEDY}",
                ExitCode.BAD_SETTINGS,
            )

    def let_in(self, made: Callable[[], asyncio.Protocol], peer: object = None) -> asyncio.Protocol:
        """The protocol of a client that has just connected; ``peer``: whose connection it is, as
        a balancer says."""
        return made() if self.state is State.OPEN else Doorkeeper(made, peer)


class Doorkeeper(asyncio.Protocol):
    """Turns strangers away, and hands everybody else on."""

    def __init__(self, made: Callable[[], asyncio.Protocol], peer: object = None) -> None:
        self._made = made
        self._peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wire = cast(asyncio.Transport, transport)
        peer = self._peer or wire.get_extra_info("peername")
        if isinstance(peer, tuple) and not is_loopback(str(cast("tuple[object, ...]", peer)[0])):
            wire.write(DENIED)
            wire.close()
            return
        client = self._made()
        wire.set_protocol(client)
        client.connection_made(wire)
