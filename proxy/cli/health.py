"""``nearhit ping``: whether the proxy of these settings answers, as health checks want to know.

Sends PING to the first address in ``listen``, TCP or unix, or else in ``tls_listen``, and looks at
the answer: the server's own, through the proxy. Imports no client library: it runs every few
seconds. main.py calls ``answer_of``."""

from __future__ import annotations

import socket
from typing import Final

from ..process.preface import SIGNATURE
from ..settings.address import Listen, Unix

TIMEOUT: Final = 2.0  # seconds
# The PROXY protocol's header of one that speaks for itself.
LOCAL: Final = SIGNATURE + b"\x20\x00\x00\x00"
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def answer_of(address: Listen, *, tls: bool = False, prefaced: bool = False) -> str:
    """The first line of the answer, ``+PONG`` where all is well; OSError: there is none. With
    ``tls`` the certificate is not checked: the host is this one, and nothing secret is said.
    ``prefaced``: balancers are expected there, and this one speaks for itself."""
    with _connected(address) as plain:
        if prefaced:
            plain.sendall(LOCAL)
        return _answer(_in_tls(plain) if tls else plain)


def _answer(link: socket.socket) -> str:
    with link:
        link.settimeout(TIMEOUT)
        link.sendall(b"PING\r\n")
        answer = b""
        while b"\n" not in answer and len(answer) < 65536:
            piece = link.recv(4096)
            if not piece:
                raise ConnectionError("it closed the connection")
            answer += piece
    return answer.partition(b"\r\n")[0].decode("utf-8", "replace")


def _in_tls(plain: socket.socket) -> socket.socket:
    # Imported here: most proxies need none, and it takes 10 ms.
    import ssl

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain)


def _connected(address: Listen) -> socket.socket:
    if isinstance(address, Unix):
        link = socket.socket(socket.AF_UNIX)
        try:
            link.settimeout(TIMEOUT)
            link.connect(address.path)
        except OSError:
            link.close()
            raise
        return link
    # Who listens on every address listens on this machine's own.
    return socket.create_connection((_ANY.get(address.host, address.host), address.port), TIMEOUT)
