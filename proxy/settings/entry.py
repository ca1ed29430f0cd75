"""The settings of who may come in, and how: TLS on both sides, protected mode, HTTP's token.

A part of ``Config`` (config.py), which has all other rows. Opens no file."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .address import Listen, Tcp, Unix
from .rows import HOST, PATH, TLS_LISTENERS, TOKEN, Given, choice, optional, row
from .trusted import TRUSTED, Trusted

# What context_of (upstream/tls.py) reads beside a URL's own ssl_* options, which win.
UPSTREAM_TLS: Final = (
    "tls_ca", "tls_client_cert", "tls_client_key", "tls_server_name", "tls_verify",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class EntrySettings:
    """See config.py: each row is a flag, a variable and a key of the file."""

    tls_listen: tuple[Listen, ...] = row(
        TLS_LISTENERS, "off", "Where clients connect with TLS, beside listen; off: nowhere."
    )
    tls_http: tuple[Listen, ...] = row(
        TLS_LISTENERS, "off", "Where HTTP is served over TLS, with the same certificate."
    )
    tls_cert: str | None = optional(
        PATH,
        "The certificate for clients, with its chain, as PEM; read again when the file changes.",
    )
    tls_key: str | None = optional(
        PATH, "Its private key; read again when the file changes.", unset="in tls_cert"
    )
    tls_client_ca: str | None = optional(
        PATH, "The authorities whose certificates clients may show, as PEM; read again as well."
    )
    tls_client_auth: str = row(
        choice("off", "optional", "required"),
        "off",
        "Whether clients must show a certificate: optional checks those that are shown.",
    )
    tls_ca: str | None = optional(
        PATH,
        "The authorities that sign for the server of a rediss:// URL, as PEM; read again when the "
        "file changes.",
        unset="the system's",
    )
    tls_client_cert: str | None = optional(
        PATH,
        "The certificate that the proxy shows to the server, as PEM; read again when the file "
        "changes.",
    )
    tls_client_key: str | None = optional(
        PATH, "Its private key; read again when the file changes.", unset="in tls_client_cert"
    )
    tls_server_name: str | None = optional(
        HOST,
        "The name that the server's certificate must be for.",
        unset="the host of the URL",
    )
    tls_verify: str = row(
        choice("full", "ca", "none"),
        "full",
        "What is checked of the server's certificate: full: who signed it and its name, ca: who "
        "signed it, none: nothing.",
    )

    protected_mode: str = row(
        choice("on", "off"),
        "on",
        "Whether it refuses to listen beyond this machine where the upstream lets clients in "
        "unasked, and HTTP without http_token.",
    )
    http_token: str | None = optional(
        TOKEN,
        "What HTTP requests must show: Authorization: Bearer. Not asked for at /healthz and "
        "/readyz.",
    )
    http_metrics: str = row(
        choice("token", "open", "off"),
        "token",
        "Who may read /metrics: those with http_token where there is one, anybody, or nobody.",
    )

    proxy_protocol: str = row(
        choice("on", "off"),
        "off",
        "Whether clients come through load balancers that say whose connection it is, by the PROXY "
        "protocol, version 1 or 2; at listen and tls_listen, not HTTP.",
    )
    trusted_proxies: Trusted | None = optional(  # noqa: RUF009  # it is frozen
        TRUSTED,
        "The addresses and networks of these balancers, and unix for who connects to a unix "
        "socket; everybody else is refused there.",
    )

    @property
    def upstream_tls(self) -> dict[str, str]:
        """What is said of a server's TLS, by setting name."""
        said = {name: getattr(self, name) for name in UPSTREAM_TLS}
        return {name: text for name, text in said.items() if text is not None}

    @property
    def balancers(self) -> Trusted | None:
        """Whose word is taken for who a client is; None: clients connect themselves."""
        return self.trusted_proxies if self.proxy_protocol == "on" else None

    def prefaced(self, address: Listen) -> bool:
        """Whether connections there begin with the PROXY protocol's header."""
        balancers = self.balancers
        return balancers is not None and (balancers.unix or not isinstance(address, Unix))

    @property
    def serves_tls(self) -> bool:
        """Whether a certificate is needed."""
        return bool(self.tls_listen or self.tls_http)


def entry_mistakes(
    config: EntrySettings, http: Sequence[Listen], given: Mapping[str, Given]
) -> Iterator[str]:
    """A line for each setting that needs another one; ``http`` is the one of that name."""
    if config.serves_tls and config.tls_cert is None:
        name = "tls_listen" if config.tls_listen else "tls_http"
        yield f"{given[name].place}: {name} needs a certificate: name its file with tls_cert"
    if config.tls_key is not None and config.tls_cert is None:
        yield f"{given['tls_key'].place}: tls_key needs tls_cert beside it"
    if config.tls_client_auth != "off" and config.tls_client_ca is None:
        yield (
            f"{given['tls_client_auth'].place}: tls_client_auth = {config.tls_client_auth} needs "
            "the authorities that clients' certificates are checked by: name them with "
            "tls_client_ca"
        )
    if config.tls_client_ca is not None and config.tls_client_auth == "off":
        yield (
            f"{given['tls_client_ca'].place}: tls_client_ca has no effect without tls_client_auth "
            "= optional or required: choose one"
        )
    if config.tls_client_key is not None and config.tls_client_cert is None:
        yield f"{given['tls_client_key'].place}: tls_client_key needs tls_client_cert beside it"
    if config.proxy_protocol == "on" and config.trusted_proxies is None:
        yield (
            f"{given['proxy_protocol'].place}: proxy_protocol = on needs the balancers' addresses: "
            "name them with trusted_proxies"
        )
    if config.proxy_protocol == "off" and config.trusted_proxies is not None:
        yield (
            f"{given['trusted_proxies'].place}: trusted_proxies has no effect without "
            "proxy_protocol = on"
        )
    strangers = _beyond(config, http, config.tls_http)
    if strangers and config.http_token is None and config.protected_mode == "on":
        name = "http" if strangers[0] in http else "tls_http"
        yield (
            f"{given[name].place}: anybody who reaches {strangers[0]} could remove keys and take "
            "locks: set http_token, or listen on 127.0.0.1; or, where the network itself keeps "
            "strangers out, set protected_mode = off"
        )


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own alone."""
    if host.lower() == "localhost":
        return True
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def beyond_loopback(config: EntrySettings, listen: Sequence[Listen]) -> list[Listen]:
    """Where clients come in from other machines, without a certificate of theirs; ``listen`` is
    the setting of that name. Through a balancer they come from anywhere, wherever that is."""
    tls = () if config.tls_client_auth == "required" else config.tls_listen
    through = [one for one in (*listen, *tls) if config.prefaced(one)]
    beyond = _beyond(config, listen, config.tls_listen)
    return [*beyond, *(one for one in through if one not in beyond)]


def _beyond(config: EntrySettings, plain: Sequence[Listen], tls: Sequence[Listen]) -> list[Listen]:
    known = config.tls_client_auth == "required"
    every = plain if known else (*plain, *tls)
    return [one for one in every if isinstance(one, Tcp) and not is_loopback(one.host)]
