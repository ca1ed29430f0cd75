"""The TLS of connections to a server, as redis-py's ``ssl_*`` URL options describe it.

Reads the files that they name, and says in one line which of them cannot be used and why. Opens no
connection: dial.py does, with the context made here; loaders of other servers and ``nearhit check``
only want to know whether it can be made."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

from ..errors import ExitCode, StartError
from ..settings.address import CERT_REQS, Upstream, is_yes

_MODES: Final[Mapping[str, ssl.VerifyMode]] = dict(
    zip(CERT_REQS, (ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL, ssl.CERT_NONE), strict=True)
)


def context_of(upstream: Upstream) -> ssl.SSLContext:
    """The context for a ``rediss://`` URL. StartError: a file that it names cannot be used."""
    options = upstream.options
    authorities = options.get("ssl_ca_certs")
    try:
        context = ssl.create_default_context(cafile=authorities)
    except OSError as error:
        raise _unusable("ssl_ca_certs", authorities or "the system's", error) from None
    verify = _MODES[options.get("ssl_cert_reqs", "required").lower()]
    check = is_yes(options.get("ssl_check_hostname", "true"))
    context.check_hostname = check and verify is not ssl.CERT_NONE
    context.verify_mode = verify
    _prove_ourselves(context, upstream)
    return context


def _prove_ourselves(context: ssl.SSLContext, upstream: Upstream) -> None:
    options = upstream.options
    certificate, key = options.get("ssl_certfile"), options.get("ssl_keyfile")
    if certificate is None:
        if key is not None:
            raise StartError("ssl_keyfile: it needs ssl_certfile beside it", ExitCode.BAD_SETTINGS)
        return
    asked = False

    def password() -> str:
        # Without this OpenSSL would ask at the terminal, and wait.
        nonlocal asked
        asked = True
        return options.get("ssl_password", "")

    try:
        context.load_cert_chain(certificate, key, password)
    except (OSError, ValueError) as error:
        name, path = "ssl_certfile", certificate
        if key is not None and _is_readable(certificate):
            name, path = "ssl_keyfile", key
        if asked:
            wrong = "ssl_password" in options
            why = "ssl_password does not open it" if wrong else "it is encrypted: see ssl_password"
            raise _unusable(name, path, why) from None
        raise _unusable(name, path, error) from None


def _is_readable(path: str) -> bool:
    """Whether a file has a certificate in it."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except OSError:
        return False
    return True


def _unusable(option: str, path: str, why: Exception | str) -> StartError:
    if isinstance(why, ssl.SSLError):
        # "[X509: KEY_VALUES_MISMATCH] key values mismatch (_ssl.c:4149)"
        why = (why.reason or "not PEM").lower().replace("_", " ")
    elif isinstance(why, OSError):
        why = (why.strerror or str(why)).lower()
    return StartError(f"{option}: cannot use {path}: {why}", ExitCode.BAD_SETTINGS)
