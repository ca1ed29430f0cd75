"""The settings: one row each, and the frozen ``Config`` that they become.

A row is a field of ``Config``: its type, its default as a user would write it, its range and one
sentence. Flags beat environment beats file beats defaults; every source gives text, so one parser
reads them all. ``load`` is pure: the caller (cli) hands in flags, environment and a way to read the
file, and gets a Config or every mistake with its place. What a kind of value is, rows.py says; the
tables of loaders are loaders.py's."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

from .address import AddressMap, Listen, Upstream, same_place
from .address import Kind as UpstreamKind
from .entry import entry_mistakes
from .file import SettingsFile
from .headers import Elsewhere
from .loaders import LoaderSettings, loaders_of
from .logs import LogSettings
from .rows import (
    ADDRESS_MAP,
    HOSTS,
    KEY,
    LISTENERS_OR_OFF,
    LOCK_SERVERS,
    MODE,
    OWN,
    PATH,
    SIZE_OR_OFF,
    UPSTREAM_OR_OWN,
    ZONE,
    Given,
    Row,
    as_text,
    choice,
    default_of,
    described,
    duration,
    duration_or_off,
    is_off,
    optional,
    row,
    size,
    suggestion,
    unfit,
    whole,
    wrong,
)

# Beside pyproject.toml's: asking the installed package costs 0.1 s at every start.
VERSION = "0.1.0"


class ConfigError(Exception):
    """The settings cannot be used; ``mistakes`` has a line for each, place first."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


# --- The rows ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(LogSettings):
    """The settings in force. A row is a flag, a variable NEARHIT_<NAME> and a key of the file at
    once. Durations are seconds, sizes bytes."""

    listen: tuple[Listen, ...] = row(
        LISTENERS_OR_OFF,
        "127.0.0.1:6380",
        "Where clients connect; several are joined by commas; off: with TLS alone.",
        port_env="PORT",
    )
    http: tuple[Listen, ...] = row(
        LISTENERS_OR_OFF,
        "127.0.0.1:3000",
        "Where the HTTP API listens; off: nowhere.",
        port_env="HTTP_PORT",
    )
    unix_mode: int = row(MODE, "0700", "The mode of unix sockets: who may connect.")
    http_hosts: tuple[str, ...] = row(
        HOSTS,
        "localhost",
        "Names that HTTP may be asked under, beside IP addresses and names in http; *: any.",
    )
    upstream: str | None = optional(
        UPSTREAM_OR_OWN,
        "The Redis or Valkey behind the proxy; embedded: a private Valkey, as where none is named.",
        env="REDIS_URL",
        unset="a private Valkey, started and stopped with the proxy",
    )
    cluster: str = row(
        choice("auto", "off"),
        "auto",
        "Whether one server that says it is a node of a cluster is served as that cluster; off: "
        "its redirections are handed on, for clients that know clusters.",
    )
    address_map: AddressMap = row(  # noqa: RUF009  # it is frozen
        ADDRESS_MAP,
        "off",
        "Where to dial nodes and Sentinels that announce addresses of their own network: "
        "announced=dialled, host:port each, or a host alone on both sides; a table in the file.",
    )
    embedded_cluster: int | None = optional(
        whole(1, 16),
        "So many private Valkeys behind the proxy, as one cluster, in place of an upstream.",
        unset="no cluster",
    )
    config: str | None = optional(PATH, "A TOML file with settings, by these names.", in_file=False)
    log_level: str = row(
        choice("debug", "info", "warning", "error", also={"log": "info", "warn": "warning"}),
        "info",
        "The least important event that is logged.",
        env="LOG_LEVEL",
    )
    env: str = row(
        choice("production", "development"),
        "development",
        "Production goes on trying longer to reach an upstream that is away, and wants one named.",
        env="NODE_ENV",
    )
    workers: int = row(whole(1, 64), "1", "Processes that share the listening addresses.")
    max_clients: int = row(
        whole(1, 1_000_000), "10000", "Clients served at once by a worker; more are refused."
    )
    max_pinned: int | None = optional(
        whole(1, 1_000_000),
        "Connections to the server that a worker lends to clients that block, watch, subscribe or "
        "are in MULTI.",
        unset="3/4 of the server's maxclients, else 512",
    )
    pinned_wait: float = row(
        duration("0s", "1h"),
        "5s",
        "How long a client waits for such a connection before it gets an error.",
    )
    upstream_timeout: float = row(
        duration("1s", "1h"),
        "30s",
        "How long a reply may take before a second connection is tried; if that is answered, or "
        "refused, the first is dead. Commands that block are exempt.",
    )
    command_timeout: float | None = optional(
        duration("1s", "24h"),
        "How long commands wait for a server that accepts connections and says nothing.",
        unset="as long as it takes",
    )
    slow_command_timeout: float | None = optional(
        duration("1s", "24h"),
        "The same for what may take long: scripts, transactions, KEYS, SORT, FLUSHALL and the "
        "like; blocking commands wait for as long as they say.",
        unset="command_timeout",
    )
    drain_delay: float = row(
        duration("0s", "1h"),
        "0s",
        "How long clients are still served, /readyz at 503, once the proxy is told to stop: until "
        "a load balancer sends no more.",
    )
    drain_timeout: float = row(
        duration("0s", "1h"), "10s", "How long running commands get when the proxy is stopped."
    )
    hold_writes_on_failover: float = row(
        duration_or_off("100ms", "5m"),
        "off",
        "How long requests wait while Sentinels change the master: what is written meanwhile would "
        "be lost; off: they do not.",
    )
    read_from: str = row(
        choice("primary", "prefer_replica", "nearest", "replica"),
        "primary",
        "Which nodes of a cluster answer reads: replicas may be behind, docs/cluster.md says how.",
    )
    replica_max_lag: float = row(
        duration("1s", "1h"),
        "5s",
        "How far a replica may be behind its primary to be read.",
    )
    availability_zone: str | None = optional(
        ZONE,
        "Where this proxy runs, as Valkey's availability-zone: read_from nearest prefers it.",
        unset="none",
    )
    offline_queue: int = row(
        size("0", "1gb"),
        "16mb",
        "Bytes of commands kept for each upstream connection while it reconnects.",
    )
    near_cache: int = row(
        SIZE_OR_OFF,
        "64mb",
        "Memory for the near cache, which answers hot reads in the proxy; off: none.",
    )
    near_reads: str = row(
        choice("strings", "all"),
        "strings",
        "What the near cache answers: GET and MGET, or also reads of hashes, sets, sorted sets "
        "and lists.",
    )
    near_ttl: float = row(
        duration("10ms", "24h"),
        "60s",
        "The longest time that the near cache serves a value without asking for it again.",
    )
    stale_if_down: float = row(
        duration_or_off("10ms", "24h"),
        "off",
        "How long the near cache goes on telling what it has while the server is away.",
    )
    max_waiters: int = row(
        whole(1, 1_000_000),
        "10000",
        "Callers that wait for loads, leases and locks at once; more are refused.",
    )
    lock_servers: tuple[Upstream, ...] = row(
        LOCK_SERVERS,
        "off",
        "Independent servers of which most must agree on each LOCK (Redlock), in place of the "
        "upstream: 3, 5 or more, an odd number.",
    )
    stats_key: str = row(
        KEY,
        "nearhit:stats",
        "The key in the upstream that keeps the hits and misses of all proxies; off: not kept.",
    )

    loaders: tuple[LoaderSettings, ...] = ()  # the file's [loaders.<name>] tables
    # Where each value in force comes from.
    given: Mapping[str, Given] = field(default_factory=dict[str, Given], repr=False, compare=False)

    def chosen(self, name: str) -> bool:
        """Whether somebody gave the setting, be it as its default is."""
        given = self.given.get(name)
        return given is not None and given.origin != "default"

    @property
    def url(self) -> str | None:
        """Of the upstream that is somebody else's; None: one of the proxy's own is wanted."""
        return None if self.upstream == OWN else self.upstream

    def behind(self, url: str) -> Upstream:
        """The upstream of a URL, with what the settings say of its addresses."""
        found = Upstream.parse(url)
        options = {**self.upstream_tls, **found.options} if found.tls else found.options
        return replace(found, address_map=self.address_map, options=options)

    @property
    def forgot_upstream(self) -> bool:
        """Whether a private and empty server would be a surprise: it is asked for by nobody."""
        asked = self.upstream is not None or self.embedded_cluster is not None
        return not asked and self.env == "production"

    def describe(self) -> Iterator[str]:
        """``name = value   # where it came from``, a line for each setting, no password in any."""
        for name, about in ROWS.items():
            yield described(name, about, self.given.get(name) or default_of(about))
        for loader in self.loaders:
            yield from loader.describe()


_ENTRY = [item.name for item in fields(LogSettings)]
ROWS: Mapping[str, Row] = {  # where clients connect comes first
    item.name: item.metadata["row"]
    for item in sorted(fields(Config), key=lambda item: item.name in _ENTRY)
    if "row" in item.metadata
}


def retry_delay(attempt: int) -> float:
    """Seconds to wait before an attempt to get back what was lost; attempts count from 1."""
    return min(attempt * 0.05, 2.0)


def flag(name: str) -> str:
    """``--max-clients`` for ``max_clients``."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """``NEARHIT_MAX_CLIENTS`` for ``max_clients``."""
    return f"NEARHIT_{name.upper()}"


def image_variable(name: str) -> str:
    """``NEARHIT_DEFAULT_LISTEN`` for ``listen``: what an image sets instead of the default, and
    everything else beats, a settings file too."""
    return f"NEARHIT_DEFAULT_{name.upper()}"


# --- Reading them -----------------------------------------------------------------------------


def load(
    argv_flags: Mapping[str, str], environ: Mapping[str, str], read: Callable[[str], str]
) -> Config:
    """The settings in force, or ConfigError with every mistake. ``argv_flags`` goes by setting
    name; ``read`` gives a file's text or raises OSError."""
    mistakes: list[str] = []
    config = _found("config", {}, environ, argv_flags)[-1]
    document = SettingsFile()
    if config.text is not None:
        document = _opened(config.text, config.place, read, mistakes)
    file = _settings_of(document, mistakes)
    loaders = loaders_of(document, mistakes, Elsewhere(environ, read))

    values: dict[str, object] = {}
    in_force: dict[str, Given] = {}
    for name, about in ROWS.items():
        *overruled, in_force[name] = _found(name, file, environ, argv_flags)
        # What is overruled is checked too, unless its name belongs to other programs as well.
        for given in (*(given for given in overruled if not given.shared), in_force[name]):
            try:
                values[name] = None if given.text is None else about.kind.parse(given.text)
            except ValueError as error:
                mistakes.append(wrong(given, about.kind, str(error)))
    mistakes += _misspelt(environ)
    if not mistakes:
        mistakes += _at_odds(Config(**values), in_force)  # type: ignore[arg-type]  # as below
    if mistakes:
        raise ConfigError(mistakes)
    # Each value was made by its own row's parser, and `row` ties that parser's type to the field's.
    return Config(**values, loaders=loaders, given=in_force)  # type: ignore[arg-type]


def _at_odds(config: Config, given: Mapping[str, Given]) -> Iterator[str]:
    """A mistake for each address that two settings want, and for two upstreams."""
    if config.embedded_cluster is not None and config.url is not None:
        yield (
            f"{given['embedded_cluster'].place}: embedded_cluster takes the place of an upstream, "
            f"and {given['upstream'].origin} names one: leave one of them out"
        )
    kind = None if config.url is None else Upstream.parse(config.url).kind
    clustered = (
        config.embedded_cluster is not None
        or kind is UpstreamKind.CLUSTER
        or (kind is UpstreamKind.SERVER and config.cluster == "auto")  # it may be a node of one
    )
    if config.read_from != "primary" and not clustered:
        yield (
            f"{given['read_from'].place}: read_from needs a cluster (redis-cluster://...): "
            "elsewhere all reads go to the one server"
        )
    if not config.listen and not config.tls_listen:
        yield f"{given['listen'].place}: listen is off, and so is tls_listen: nobody could connect"
    yield from entry_mistakes(config, config.http, given)
    for name, another in itertools.combinations(("listen", "http", "tls_listen", "tls_http"), 2):
        for one, other in itertools.product(getattr(config, name), getattr(config, another)):
            if same_place(one, other):
                yield (
                    f"{given[name].place}: {name} and {another} both want {one}: give one of them "
                    f"another address ({name}: {given[name].origin}, "
                    f"{another}: {given[another].origin})"
                )


def _found(
    name: str, file: Mapping[str, Given], environ: Mapping[str, str], flags: Mapping[str, str]
) -> list[Given]:
    """All that is said of a setting, the strongest last; an empty variable says nothing."""
    about = ROWS[name]
    found = [default_of(about)]
    if text := environ.get(image_variable(name)):
        found.append(Given(text, image_variable(name), image_variable(name)))
    if name in file:
        found.append(file[name])
    if about.env and (text := environ.get(about.env)):
        found.append(Given(text, about.env, about.env, shared=True))
    if text := environ.get(variable(name)):
        found.append(Given(text, variable(name), variable(name)))
    off = is_off(found[-1].text or "")
    if about.port_env and (text := environ.get(about.port_env)) and not off:
        # Above NEARHIT_LISTEN: an image sets that, and the platform it runs on sets PORT.
        text = _with_port(found[-1].text or "", text)
        found.append(Given(text, about.port_env, about.port_env, shared=True))
    if name in flags:
        found.append(Given(flags[name], flag(name), flag(name)))
    return found


def _with_port(listen: str, port: str) -> str:
    """The addresses with another port for the first that has one."""
    head, separator, tail = listen.partition(",")
    if head.strip().startswith("unix://"):
        return f"{head},{_with_port(tail, port) if tail else f'127.0.0.1:{port}'}"
    return f"{head.rpartition(':')[0]}:{port}{separator}{tail}"


def _opened(path: str, place: str, read: Callable[[str], str], mistakes: list[str]) -> SettingsFile:
    try:
        return SettingsFile.of(path, read)
    except OSError as error:
        mistakes.append(f"{place}: cannot read {path}: {error.strerror or error}")
    except UnicodeDecodeError:
        mistakes.append(f"{place}: {path} is not UTF-8 text")
    except ValueError as error:
        mistakes.append(str(error))
    return SettingsFile()


def _settings_of(file: SettingsFile, mistakes: list[str]) -> dict[str, Given]:
    """What the file says of each setting. A key that is no setting is added to the mistakes."""
    found: dict[str, Given] = {}
    for key, value in file.document.items():
        if key == "loaders":
            continue
        origin = file.origin(key)
        mistake = _wrong_in_file(key, value)
        if mistake is None:
            found[key] = Given(as_text(value), origin, f"{origin}: {key}")
        else:
            mistakes.append(f"{origin}: {mistake}")
    return found


def _wrong_in_file(key: str, value: object) -> str | None:
    """Why a key and its TOML value cannot be a setting, None where they can."""
    about = ROWS.get(key)
    if about is None and isinstance(value, dict):
        return f"[{key}]: no such table{suggestion(key, ['loaders'])}"
    if about is None:
        return f"{key}: no such setting{suggestion(key, ROWS)}"
    if not about.in_file:
        return f"{key}: not for the file itself: use {flag(key)} or {variable(key)}"
    return f"{key}: {reason}" if (reason := unfit(value, about.kind)) else None


def _misspelt(environ: Mapping[str, str]) -> Iterator[str]:
    """A mistake for each variable whose name comes close to a setting's. Others pass: beside a
    service called nearhit, Kubernetes gives every pod a NEARHIT_SERVICE_HOST and more."""
    for name in environ:
        if (
            name.startswith("NEARHIT_")
            and (setting := name.removeprefix("NEARHIT_").lower()) not in ROWS
            and (default := setting.removeprefix("default_")) not in ROWS
        ):
            as_given = image_variable if default != setting else variable
            for close in difflib.get_close_matches(default, ROWS, 1, cutoff=0.8):
                yield f"{name}: no such setting; did you mean {as_given(close)}?"
