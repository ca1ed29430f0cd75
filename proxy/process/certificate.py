"""The certificate that clients are shown, and the authorities that theirs are checked by: read from
files, and read again when these change.

    look(), once a second ─▶ changed? ─▶ at rest since the last look? ─▶ read ─▶ in force
                                                                          └─▶ log why not, once
    renew(), at SIGHUP ─────────────────────────────────────────────────▶ read ─▶ in force
                                                                          └─▶ StartError

Who has a connection keeps it; handshakes that begin later see what is in force then. Files that
cannot be used change nothing. Owns no connection: entrance.py has them. server.py calls both."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Mapping
from typing import Final

from ..errors import ExitCode, StartError
from ..log import event
from ..settings.entry import EntrySettings
from ..upstream.tls import load_chain, unusable

log = logging.getLogger(__name__)

_ASKED: Final[Mapping[str, ssl.VerifyMode]] = {
    "off": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
# What tells one state of the files from another: of each its inode, size and time of change.
_State = tuple[tuple[int, int, int] | None, ...]


class Certificate:
    """StartError, when it is made: a file cannot be used."""

    def __init__(
        self, cert: str, key: str | None, client_ca: str | None = None, client_auth: str = "off"
    ) -> None:
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._client_auth = client_auth
        self._read = self._seen = self._state()
        self.context = self._made()

    @classmethod
    def of(cls, config: EntrySettings) -> Certificate | None:
        """What the settings name, None: nothing. StartError: a file cannot be used."""
        if config.tls_cert is None:
            return None
        return cls(config.tls_cert, config.tls_key, config.tls_client_ca, config.tls_client_auth)

    def __repr__(self) -> str:
        return f"<Certificate {self._cert} clients' {self._client_auth}>"

    def look(self) -> None:
        """Read the files if they have changed, and have not changed again since the last look: who
        renews them writes one after the other."""
        before, self._seen = self._seen, self._state()
        if self._seen != before or self._seen == self._read:
            return
        self._read = self._seen
        try:
            self.context = self._made()
        except StartError as error:
            event(log, logging.ERROR, "certificate unusable", error=error, in_use="the former")
        else:
            event(log, logging.INFO, "certificate renewed", cert=self._cert)

    def renew(self) -> None:
        """Read the files now. StartError: one cannot be used, and nothing has changed."""
        state = self._state()
        self.context = self._made()
        if state != self._read:
            event(log, logging.INFO, "certificate renewed", cert=self._cert)
        self._read = self._seen = state

    def _made(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        load_chain(context, ("tls_cert", self._cert), ("tls_key", self._key), None)
        if self._client_ca is not None:
            try:
                context.load_verify_locations(cafile=self._client_ca)
            except OSError as error:
                raise unusable("tls_client_ca", self._client_ca, error) from None
            if not context.get_ca_certs():
                why = "there is no certificate of an authority in it"
                raise StartError(
                    f"tls_client_ca: cannot use {self._client_ca}: {why}", ExitCode.BAD_SETTINGS
                )
        context.verify_mode = _ASKED[self._client_auth]
        return context

    def _state(self) -> _State:
        return tuple(map(_of_file, (self._cert, self._key, self._client_ca)))


def _of_file(path: str | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
