"""The TLS of connections to a server, as redis-py's ``ssl_*`` URL options describe it, and beside
them the settings tls_ca, tls_client_cert, tls_client_key, tls_server_name and tls_verify.

Reads the files that they name, and says in one line which of them cannot be used and why. Opens no
connection: dial.py does, with the context made here, and made again when the files change
(tls_files.py); loaders of other servers and ``nearhit check`` only want to know whether it can be
made."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

from ..errors import ExitCode, StartError
from ..settings.address import CERT_REQS, Upstream, is_yes
from .tls_files import TlsFiles

_MODES: Final[Mapping[str, ssl.VerifyMode]] = dict(
    zip(CERT_REQS, (ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL, ssl.CERT_NONE), strict=True)
)

# What names a file, and the file if there is one.
_Named = tuple[str, str | None]
_KEPT: Final = 1 << 20
TOLD: Final = ("upstream TLS renewed", "upstream TLS unusable")


def tls_of(upstream: Upstream) -> TlsFiles | None:
    """What connections to it need; None: they have no TLS. StartError: a file cannot be used."""
    if not upstream.tls:
        return None
    paths = (_authorities(upstream), *_certificate(upstream))
    return TlsFiles([path for _, path in paths], lambda: context_of(upstream), TOLD)


def context_of(upstream: Upstream) -> ssl.SSLContext:
    """The context for a ``rediss://`` URL. StartError: a file that it names cannot be used."""
    options = upstream.options
    name, authorities = _authorities(upstream)
    try:
        context = ssl.create_default_context(cafile=authorities)
    except OSError as error:
        raise unusable(name, authorities or "the system's", error) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever OpenSSL's own settings allow
    wanted = "full" if "ssl_cert_reqs" in options else options.get("tls_verify", "full")
    by_default = "none" if wanted == "none" else "required"
    verify = _MODES[options.get("ssl_cert_reqs", by_default).lower()]
    check = is_yes(options.get("ssl_check_hostname", "true" if wanted == "full" else "false"))
    context.check_hostname = check and verify is not ssl.CERT_NONE
    context.verify_mode = verify
    load_chain(context, *_certificate(upstream), options.get("ssl_password"))
    return context


def server_name(upstream: Upstream, host: str) -> str:
    """The name that the certificate of a server must be for, which is dialled at this host."""
    return upstream.options.get("tls_server_name", host)


def _either(options: Mapping[str, str], option: str, setting: str) -> _Named:
    """What is given: the URL's option, else the setting."""
    name = setting if option not in options and setting in options else option
    return name, options.get(name)


def _authorities(upstream: Upstream) -> _Named:
    return _either(upstream.options, "ssl_ca_certs", "tls_ca")


def _certificate(upstream: Upstream) -> tuple[_Named, _Named]:
    """The one that we show, and its key."""
    options = upstream.options
    cert_name, certificate = _either(options, "ssl_certfile", "tls_client_cert")
    # Of one pair: a key of the settings does not belong to a certificate of the URL.
    key_name = "tls_client_key" if cert_name == "tls_client_cert" else "ssl_keyfile"
    return (cert_name, certificate), (key_name, options.get(key_name))


def keep_blocks() -> None:
    """Have the blocks kept that TLS is read into, rather than got from the system for each read:
    uvloop reads into an object of 256 KB and then cuts it to what has come, which glibc does with
    mmap, mremap and munmap until a larger one has been freed whole. That was 1.0 of 2.4 us for a
    request (tests.bench --tls, P=16, near cache off)."""
    bytes(_KEPT)


def load_chain(
    context: ssl.SSLContext,
    cert: _Named,
    key: _Named,
    secret: str | None,
) -> None:
    """Have the context show a certificate, if there is one; both files come with the names of what
    names them. StartError: one cannot be used."""
    (cert_name, certificate), (key_name, key_file) = cert, key
    if certificate is None:
        if key_file is not None:
            raise StartError(f"{key_name}: it needs {cert_name} beside it", ExitCode.BAD_SETTINGS)
        return
    asked = False

    def password() -> str:
        # Without this OpenSSL would ask at the terminal, and wait.
        nonlocal asked
        asked = True
        return secret or ""

    try:
        context.load_cert_chain(certificate, key_file, password)
    except (OSError, ValueError) as error:
        name, path = cert_name, certificate
        if key_file is not None and _is_readable(certificate):
            name, path = key_name, key_file
        if asked and name.startswith("ssl_"):
            wrong = secret is not None
            why = "ssl_password does not open it" if wrong else "it is encrypted: see ssl_password"
            raise unusable(name, path, why) from None
        if asked:
            raise unusable(name, path, "it is encrypted: give it without a password") from None
        raise unusable(name, path, error) from None


def _is_readable(path: str) -> bool:
    """Whether a file has a certificate in it."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except OSError:
        return False
    return True


def unusable(option: str, path: str, why: Exception | str) -> StartError:
    """The error that a file cannot be used; ``option`` is what names it."""
    if isinstance(why, ssl.SSLError):
        # "[X509: KEY_VALUES_MISMATCH] key values mismatch (_ssl.c:4149)"
        why = (why.reason or "not PEM").lower().replace("_", " ")
    elif isinstance(why, OSError):
        why = (why.strerror or str(why)).lower()
    return StartError(f"{option}: cannot use {path}: {why}", ExitCode.BAD_SETTINGS)
