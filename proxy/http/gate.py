"""Who may ask by HTTP: those with the token, where there is one.

    Authorization: Bearer <http_token>     compared in a time that tells nothing of it

Probes need none, for /healthz and /readyz tell nothing and change nothing; nor do the files of the
status page, which hold no data and ask for the token themselves. /metrics has a switch of its own.
Owns that decision; api.py asks. The token is never logged, shown or answered."""

from __future__ import annotations

import hmac
from typing import Final

from .body import Refusal
from .files import FILES

FREE: Final = frozenset({"/healthz", "/readyz", *FILES})


class Gate:
    """``metrics``: token, open or off."""

    def __init__(self, token: str | None = None, metrics: str = "token") -> None:
        self._token = None if token is None else token.encode()
        self._metrics = metrics

    def __repr__(self) -> str:
        return f"<Gate {'open' if self._token is None else 'by token'} metrics={self._metrics}>"

    def check(self, path: str, shown: str | None) -> None:
        """Refusal: this may not be asked, with what is shown; None: nothing."""
        if path in FREE:
            return
        if path == "/metrics" and self._metrics != "token":
            if self._metrics == "off":
                raise Refusal(404, "no such path")
            return
        if self._token is None:
            return
        if shown is None:
            raise Refusal(401, "show http_token: Authorization: Bearer TOKEN")
        scheme, _, token = shown.partition(" ")
        given = token.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, self._token):
            raise Refusal(401, "the token is not http_token's")
