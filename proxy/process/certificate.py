"""The certificate that clients are shown, and the authorities that theirs are checked by.

Says which files they are in and how they are read; when, that is upstream/tls_files.py. entrance.py
takes ``context`` for each handshake."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

from ..errors import ExitCode, StartError
from ..settings.entry import EntrySettings
from ..upstream.lanes import Lanes
from ..upstream.tls import load_chain, unusable
from ..upstream.tls_files import TlsFiles
from .lock_servers import LockServers

_ASKED: Final[Mapping[str, ssl.VerifyMode]] = {
    "off": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
TOLD: Final = ("certificate renewed", "certificate unusable")


class Certificate(TlsFiles):
    """StartError, when it is made: a file cannot be used."""

    def __init__(
        self, cert: str, key: str | None, client_ca: str | None = None, client_auth: str = "off"
    ) -> None:
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._client_auth = client_auth
        super().__init__((cert, key, client_ca), self._made, TOLD)

    @classmethod
    def of(cls, config: EntrySettings) -> Certificate | None:
        """What the settings name, None: nothing. StartError: a file cannot be used."""
        if config.tls_cert is None:
            return None
        return cls(config.tls_cert, config.tls_key, config.tls_client_ca, config.tls_client_auth)

    def __repr__(self) -> str:
        return f"<Certificate {self._cert} clients' {self._client_auth}>"

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


def all_files(ours: Certificate | None, lanes: Lanes, votes: LockServers | None) -> list[TlsFiles]:
    """What is read again when it changes: for clients, and for the servers of each kind."""
    servers = (lanes.dial.tls, *(() if votes is None else votes.tls))
    return [files for files in (ours, *servers) if files is not None]
