"""Addresses, as settings write them: where we listen, and where an upstream is.

``Tcp`` and ``Unix`` are what a socket is bound to; ``Upstream`` is where a URL leads: to a server,
to the master that Sentinels name, or to a cluster. Pure: opens nothing
and resolves nothing (process/listen.py binds, upstream/dial.py connects). Parsing raises
ValueError, with a reason where the kind of value alone does not say enough, and never with a
password."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

# Connections that may wait to be accepted at each listening socket: Redis's own tcp-backlog.
BACKLOG: Final = 511


@dataclass(frozen=True, slots=True)
class Tcp:
    """A host and port to listen on; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """For clients, as redis-py takes it."""
        return f"redis://{self}"

    @property
    def http_url(self) -> str:
        """For those who ask by HTTP."""
        return f"http://{self}"


@dataclass(frozen=True, slots=True)
class Unix:
    """A unix socket to listen on; the mode says who may connect."""

    path: str
    mode: int = field(default=0o700, compare=False)

    def __str__(self) -> str:
        return self.url

    @property
    def url(self) -> str:
        """For clients, as redis-py takes it."""
        return f"unix://{self.path}"

    @property
    def http_url(self) -> str:
        """For those who ask by HTTP."""
        return f"http+unix://{self.path}"


Listen = Tcp | Unix


@dataclass(frozen=True, slots=True)
class AddressMap:
    """Where servers are dialled that announce an address of their own network, inside of NAT: by
    host and port, else by host alone. Hosts are in lower case."""

    places: Mapping[Tcp, Tcp] = field(default_factory=dict[Tcp, Tcp])
    hosts: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def parse(cls, text: str) -> AddressMap:
        """``announced=dialled``, joined by commas. ValueError names the wrong entry."""
        places: dict[Tcp, Tcp] = {}
        hosts: dict[str, str] = {}
        for entry in filter(None, map(str.strip, text.split(","))):
            announced, _, dialled = (part.strip() for part in entry.partition("="))
            (host, port), (to, to_port) = _place(announced, entry), _place(dialled, entry)
            if (port is None) != (to_port is None):
                raise ValueError(f"{entry!r} has a port on one side only")
            host = host.lower()
            if (host in hosts) if port is None else (Tcp(host, port) in places):
                raise ValueError(f"{announced} is there twice")
            if port is None or to_port is None:
                hosts[host] = to
            else:
                places[Tcp(host, port)] = Tcp(to, to_port)
        return cls(places, hosts)

    def dialled(self, announced: Tcp) -> Tcp:
        """The address to connect to."""
        host = announced.host.lower()
        place = self.places.get(Tcp(host, announced.port))
        if place is not None:
            return place
        to = self.hosts.get(host)
        return announced if to is None else Tcp(to, announced.port)


def _place(text: str, entry: str) -> tuple[str, int | None]:
    """A host, and a port where the text has one. ValueError names the entry."""
    match = _SEED.fullmatch(text)
    if match is None:
        raise ValueError(f"{entry!r} is no announced=dialled, each host, host:port or [v6]:port")
    try:
        return match[1] or match[2], None if match[3] is None else _port(match[3])
    except ValueError as error:
        raise ValueError(f"{entry!r}: {error}") from None


# What redis-py takes in a URL's query; the rest steers a client's own pool and is passed over.
_URL_OPTIONS = re.compile(
    r"db|username|password|ssl_(ca_certs|cert_reqs|certfile|check_hostname|keyfile|password)"
)
_URL_PASSED_OVER = re.compile(
    r"client_name|decode_responses|encoding(_errors)?|health_check_interval|max_connections|protocol"
    r"|retry_on_(error|timeout)|socket_\w+|timeout"
)

CERT_REQS: Final = ("required", "optional", "none")
_YES: Final = ("true", "t", "yes", "y", "1")
_NO: Final = ("false", "f", "no", "n", "0")


def is_yes(text: str) -> bool:
    """A switch of a URL, in redis-py's words for it. ValueError: neither yes nor no."""
    word = text.lower()
    if word not in (*_YES, *_NO):
        raise ValueError
    return word in _YES


class Kind(Enum):
    """What stands behind an upstream; the value ends the scheme of its URL."""

    SERVER = ""
    SENTINEL = "-sentinel"  # the server is the master that Sentinels name
    CLUSTER = "-cluster"


# The port of an address that names none.
_PORTS: Final = {Kind.SERVER: 6379, Kind.SENTINEL: 26379, Kind.CLUSTER: 6379}
_SCHEME: Final = re.compile(r"redis(s?)(-sentinel|-cluster)://")
_SEED: Final = re.compile(r"(?:\[([0-9a-f:.]+(?:%\w+)?)\]|([^][:@/%\s]+))(?::(.*))?", re.IGNORECASE)
_SENTINELS_OWN: Final = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where an upstream URL leads, as redis-py reads it; ``path`` is set for a unix socket only.
    Those of more than one address have them all in ``seeds``, as given, each once."""

    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: bool = False
    options: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)  # ssl_* ones
    kind: Kind = Kind.SERVER
    seeds: tuple[Tcp, ...] = ()  # Sentinels, or nodes of a cluster
    master: str = ""  # what the Sentinels call it
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    address_map: AddressMap = field(default_factory=AddressMap, repr=False)

    @classmethod
    def parse(cls, url: str) -> Upstream:
        """The upstream of a URL. ValueError with what is wrong, the password never in it."""
        many = _SCHEME.match(url)
        if many is not None:
            return cls._of_many(url[many.end() :], Kind(many[2]), tls=bool(many[1]))
        try:
            parts = urlsplit(url)
        except ValueError:  # its words quote the URL, password and all
            raise ValueError from None
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise ValueError
        options = _options(parts.query)
        unix = parts.scheme == "unix"
        if unix and not (parts.path.startswith("/") and parts.hostname is None):
            raise ValueError("the path must be absolute, as in unix:///run/redis.sock")
        return cls(
            host=unquote(parts.hostname or "localhost"),
            port=_port(re.sub(r".*@|\[.*\]", "", parts.netloc).partition(":")[2] or "6379"),
            path=unquote(parts.path) if unix else None,
            username=unquote(parts.username or "") or options.get("username"),
            password=unquote(parts.password or "") or options.get("password"),
            db=_db(options.get("db") or ("" if unix else unquote(parts.path).strip("/"))),
            tls=parts.scheme == "rediss",
            options=_of_tls(options),
        )

    @property
    def address(self) -> str:
        """The server's, or of several the first one's."""
        return self.path or f"{self.host}:{self.port}"

    @property
    def as_cluster(self) -> Upstream:
        """The same, of which the one server is a node of a cluster."""
        # No node has port 0: that one stands for the socket file (process/clustered.py).
        seed = Tcp(self.host, self.port if self.path is None else 0)
        return replace(self, kind=Kind.CLUSTER, seeds=(seed,))

    @classmethod
    def _of_many(cls, rest: str, kind: Kind, *, tls: bool) -> Upstream:
        """What stands behind the scheme of a URL with several addresses, which urlsplit refuses."""
        head, _, query = rest.partition("?")
        options = _options(query, *_SENTINELS_OWN * (kind is Kind.SENTINEL))
        place, _, path = head.partition("/")
        login, _, hosts = place.rpartition("@")
        user, _, password = login.partition(":")
        seeds = _seeds(hosts, _PORTS[kind])
        master, db = "", path
        if kind is Kind.SENTINEL:
            master, _, db = path.partition("/")
            if not master:
                raise ValueError("it names no master, as in redis-sentinel://host:26379/mymaster")
        return cls(
            host=seeds[0].host,
            port=seeds[0].port,
            username=unquote(user) or options.get("username"),
            password=unquote(password) or options.get("password"),
            db=_db(options.get("db") or unquote(db).strip("/")),
            tls=tls,
            options=_of_tls(options),
            kind=kind,
            seeds=seeds,
            master=unquote(master),
            sentinel_username=options.get("sentinel_username"),
            sentinel_password=options.get("sentinel_password"),
        )


def _options(query: str, *more: str) -> dict[str, str]:
    """A URL's options. ValueError: one has a name that is none of them, nor of these."""
    options = dict(parse_qsl(query))
    for name in options:
        known = _URL_OPTIONS.fullmatch(name) or _URL_PASSED_OVER.fullmatch(name)
        if not known and name not in more:
            raise ValueError(f"it has an unknown option {name}")
    _check_tls(options)
    return options


def _of_tls(options: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in options.items() if name.startswith("ssl_")}


def _seeds(text: str, port: int) -> tuple[Tcp, ...]:
    """The addresses, joined by commas; ``port`` is for those that name none."""
    found: dict[Tcp, None] = {}
    for count, item in enumerate(text.split(","), 1):
        match = _SEED.fullmatch(item)
        if match is None:
            raise ValueError(f"its address number {count} is no host:port or [v6]:port")
        try:
            found[Tcp(match[1] or match[2], port if match[3] is None else _port(match[3]))] = None
        except ValueError as error:
            raise ValueError(f"its address number {count}: {error}") from None
    return tuple(found)


def _check_tls(options: Mapping[str, str]) -> None:
    """ValueError: a word that nobody knows must neither open the door nor pass for a lock."""
    if options.get("ssl_cert_reqs", "none").lower() not in CERT_REQS:
        raise ValueError(f"its ssl_cert_reqs is none of {', '.join(CERT_REQS)}")
    try:
        is_yes(options.get("ssl_check_hostname", "true"))
    except ValueError:
        raise ValueError("its ssl_check_hostname is neither true nor false") from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ValueError("its port is not a number from 0 to 65535")
    return int(text)


def _db(text: str) -> int:
    if text and not (text.isascii() and text.isdigit()):
        raise ValueError("its database is not a number")
    return int(text or 0)


def _one(text: str) -> Listen:
    if text.startswith("unix://"):
        path = text.removeprefix("unix://")
        if not path.startswith("/") or path.endswith("/"):
            raise ValueError
        return Unix(path)
    match = re.fullmatch(
        r"(?:\[([0-9a-f:.]+(?:%\w+)?)\]|([\w.-]+)):(.*)", text, re.ASCII | re.IGNORECASE
    )
    if match is None:
        raise ValueError
    return Tcp(match[1] or match[2], _port(match[3]))


_ANY: Final = ("0.0.0.0", "::")


def same_place(one: Listen, other: Listen) -> bool:
    """Whether a socket at one of the two keeps another from the other one."""
    if isinstance(one, Unix) or isinstance(other, Unix):
        return one == other
    if one.port != other.port or not one.port:
        return False
    hosts = {one.host.lower(), other.host.lower()}
    loopback = "localhost" in hosts and hosts <= {"localhost", "127.0.0.1", "::1"}
    every = not hosts.isdisjoint(_ANY) and len({":" in host for host in hosts}) == 1
    return len(hosts) == 1 or loopback or every


def listeners(text: str) -> tuple[Listen, ...]:
    """The addresses to listen on that a text joins by commas. ValueError names the wrong one."""
    found: list[Listen] = []
    for item in text.split(","):
        try:
            address = _one(item.strip())
        except ValueError as error:
            raise ValueError(f"see {item.strip()!r}" if item != text else error) from None
        if address in found:
            raise ValueError(f"{address} is there twice")
        found.append(address)
    return tuple(found)
