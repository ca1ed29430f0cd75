"""``nearhit health``: whether the proxy of these settings is well, as health checks want to know.

    /readyz, at the first address of ``http`` or ``tls_http``
       └ there is none, or what nobody asked for is another program's
            └─▶ PING, at the first address of ``listen`` or ``tls_listen``

Well is a proxy whose server answers it. One that asks for a login answers: which user's is no
matter of health. Imports no client library: it runs every few seconds. main.py calls
``health_of``."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Final, cast

from ..process.preface import SIGNATURE
from ..settings.address import Listen, Unix
from ..settings.config import Config

TIMEOUT: Final = 2.0  # seconds, for each step
ANSWER_MAX: Final = 65536  # bytes
# The PROXY protocol's header of one that speaks for itself.
LOCAL: Final = SIGNATURE + b"\x20\x00\x00\x00"
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_READY: Final = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Health:
    """``told`` is a line for people: who was asked, and what is so."""

    well: bool
    told: str


class _Another(Exception):
    """What answers there is no Nearhit."""


def health_of(config: Config) -> Health:
    """Ask the proxy that has these settings."""
    asked = (*config.http, *config.tls_http)
    if not asked:
        return _by_ping(config)
    address, tls = asked[0], not config.http
    where = f"https://{address}" if tls else address.http_url
    try:
        return _by_http(address, f"{where}/readyz", tls=tls)
    except (OSError, _Another) as error:
        if config.given["http"].origin == "default" and not tls:
            # The proxy goes without HTTP where another program has the port.
            return _by_ping(config)
        return Health(False, f"{where}/readyz: {_why(error)}")


def _by_http(address: Listen, where: str, *, tls: bool) -> Health:
    with _connected(address) as plain:
        head, _, body = _said(_in_tls(plain) if tls else plain, _READY, b"").partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    if b"server: nearhit" not in map(bytes.lower, headers):
        raise _Another("no Nearhit answers there")
    if status.split(b" ")[1:2] == [b"200"]:
        return Health(True, f"{where}: ready")
    try:
        why = str(cast("dict[str, object]", json.loads(body))["error"])
    except (ValueError, KeyError, TypeError):
        why = status.decode("utf-8", "replace")
    return Health(False, f"{where}: {why}")


def _by_ping(config: Config) -> Health:
    tls = not config.listen
    address = (*config.listen, *config.tls_listen)[0]
    where = f"rediss://{address}" if tls else address.url
    try:
        with _connected(address) as plain:
            if config.prefaced(address):
                plain.sendall(LOCAL)
            said = _said(_in_tls(plain) if tls else plain, b"PING\r\n", b"\n")
    except OSError as error:
        return Health(False, f"{where}: {_why(error)}")
    answer = said.partition(b"\r\n")[0].decode("utf-8", "replace")
    if answer == "+PONG":
        return Health(True, f"{where}: PONG")
    if answer.startswith("-NOAUTH "):
        return Health(True, f"{where}: the server asks for a login")
    return Health(False, f"{where}: {answer.removeprefix('-')}")


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


# --- Connections ------------------------------------------------------------------------------


def _said(link: socket.socket, words: bytes, end: bytes) -> bytes:
    """What is answered until ``end`` stands in it; without one, until the connection ends."""
    with link:
        link.settimeout(TIMEOUT)
        link.sendall(words)
        answer = b""
        while (not end or end not in answer) and len(answer) < ANSWER_MAX:
            piece = link.recv(4096)
            if not piece:
                break
            answer += piece
    if end not in answer or not answer:
        raise ConnectionError("it closed the connection")
    return answer


def _in_tls(plain: socket.socket) -> socket.socket:
    """Whose certificate it is is not checked: the host is this one, and nothing secret is said."""
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
