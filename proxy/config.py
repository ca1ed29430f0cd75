"""The settings: one row each, and the frozen ``Config`` that they become.

A row is a field of ``Config``: its type, its default as a user would write it, its range and one
sentence. Flags beat environment beats file beats defaults; every source gives text, so one parser
reads them all. ``load`` is pure: the caller hands in flags, environment and a way to read the file,
and gets a Config or every mistake with its place."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Generic, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from .log import redacted

# Beside pyproject.toml's: asking the installed package costs 0.1 s at every start.
VERSION = "0.1.0"

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class ConfigError(Exception):
    """The settings cannot be used; ``mistakes`` has a line for each, place first."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


# --- Values -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tcp:
    """A host and port to listen on; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self}"


@dataclass(frozen=True, slots=True)
class Unix:
    """A unix socket to listen on."""

    path: str

    def __str__(self) -> str:
        return self.url

    @property
    def url(self) -> str:
        return f"unix://{self.path}"


Listen = Tcp | Unix

# What redis-py takes in a URL's query; the rest steers a client's own pool and is passed over.
_URL_OPTIONS = re.compile(
    r"db|username|password|ssl_(ca_certs|cert_reqs|certfile|check_hostname|keyfile|password)"
)
_URL_PASSED_OVER = re.compile(
    r"client_name|decode_responses|encoding(_errors)?|health_check_interval|max_connections|protocol"
    r"|retry_on_(error|timeout)|socket_\w+|timeout"
)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where an upstream URL leads, as redis-py reads it; ``path`` is set for a unix socket only."""

    host: str = "localhost"
    port: int = 6379
    path: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: bool = False
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> Upstream:
        """ValueError with what is wrong, the password never in it."""
        try:
            parts = urlsplit(url)
        except ValueError:  # its words quote the URL, password and all
            raise ValueError from None
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise ValueError
        options = dict(parse_qsl(parts.query))
        for name in options:
            if not (_URL_OPTIONS.fullmatch(name) or _URL_PASSED_OVER.fullmatch(name)):
                raise ValueError(f"it has an unknown option {name}")
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
            options={name: text for name, text in options.items() if name.startswith("ssl_")},
        )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ValueError("its port is not a number from 0 to 65535")
    return int(text)


def _db(text: str) -> int:
    if text and not (text.isascii() and text.isdigit()):
        raise ValueError("its database is not a number")
    return int(text or 0)


# --- Kinds of value: how text becomes one -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kind(Generic[T_co]):
    """A type of setting. ``parse`` raises ValueError, with a reason if ``wants`` is not enough."""

    parse: Callable[[str], T_co]
    wants: str
    metavar: str
    many: bool = False  # its flag may be repeated


SIZES = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1 << 10,
    "m": 1000**2,
    "mb": 1 << 20,
    "g": 1000**3,
    "gb": 1 << 30,
}
SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _amount(text: str, units: Mapping[str, T], number: str) -> tuple[str, T]:
    match = re.fullmatch(rf"({number})\s*([a-z]*)", text.strip().lower(), re.ASCII)
    if match is None or match[2] not in units:
        raise ValueError
    return match[1], units[match[2]]


def _within(value: T, inside: bool) -> T:
    if not inside:
        raise ValueError
    return value


def whole(low: int, high: int) -> Kind[int]:
    """A whole number."""

    def parse(text: str) -> int:
        value = int(_amount(text, {"": 1}, r"-?\d{1,18}")[0])
        return _within(value, low <= value <= high)

    return Kind(parse, f"a whole number from {low} to {high}", "N")


def size(low: str, high: str) -> Kind[int]:
    """Bytes, with Redis's units: 1k is 1000 bytes, 1kb is 1024."""

    def bytes_of(text: str) -> int:
        number, unit = _amount(text, SIZES, r"\d{1,18}")
        return int(number) * unit

    least, most = bytes_of(low), bytes_of(high)

    def parse(text: str) -> int:
        value = bytes_of(text)
        return _within(value, least <= value <= most)

    return Kind(parse, f"a size from {low} to {high} (such as 64mb)", "SIZE")


def duration(low: str, high: str) -> Kind[float]:
    """Seconds; ms, s, m and h are understood."""

    def seconds_of(text: str) -> float:
        number, unit = _amount(text, SECONDS, r"\d{1,12}(?:\.\d{1,9})?")
        return float(number) * unit

    least, most = seconds_of(low), seconds_of(high)

    def parse(text: str) -> float:
        value = seconds_of(text)
        return _within(value, least <= value <= most)

    return Kind(parse, f"a duration from {low} to {high} (such as 30s or 500ms)", "TIME")


def choice(*names: str) -> Kind[str]:
    """One of a few words, in any case."""

    def parse(text: str) -> str:
        word = text.strip().lower()
        return _within(word, word in names)

    return Kind(parse, f"one of {', '.join(names)}", "|".join(names))


def _listen(text: str) -> Listen:
    if text.startswith("unix://"):
        path = text.removeprefix("unix://")
        return _within(Unix(path), path.startswith("/") and not path.endswith("/"))
    match = re.fullmatch(
        r"(?:\[([0-9a-f:.]+(?:%\w+)?)\]|([\w.-]+)):(.*)", text, re.ASCII | re.IGNORECASE
    )
    if match is None:
        raise ValueError
    return Tcp(match[1] or match[2], _port(match[3]))


def _listeners(text: str) -> tuple[Listen, ...]:
    found: list[Listen] = []
    for item in text.split(","):
        try:
            address = _listen(item.strip())
        except ValueError as error:
            raise ValueError(f"see {item.strip()!r}" if item != text else error) from None
        if address in found:
            raise ValueError(f"{address} is there twice")
        found.append(address)
    return tuple(found)


def _url(text: str) -> str:
    Upstream.parse(text)
    return text


def _some(text: str) -> str:
    return _within(text, bool(text))


LISTENERS = Kind(_listeners, "host:port, [v6]:port or unix:///path", "ADDRESS", many=True)
UPSTREAM = Kind(_url, "a redis://, rediss:// or unix:// URL", "URL")
PATH = Kind(_some, "the path of a file", "FILE")


# --- The rows ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """What ``Config`` knows of one setting beside its type."""

    kind: Kind[object]
    default: str | None
    meaning: str
    env: str | None = None  # a name that other programs share, beside NEARHIT_<NAME>
    port_env: str | None = None  # the same, for the port alone of the first TCP address
    unset: str = "none"
    in_file: bool = True


@dataclass(frozen=True, slots=True)
class Given:
    """A setting's text and where it stands."""

    text: str | None
    origin: str
    place: str
    shared: bool = False


def row(
    kind: Kind[T],
    default: str,
    meaning: str,
    *,
    env: str | None = None,
    port_env: str | None = None,
) -> T:
    """A field of ``Config`` that has a default."""
    about = Row(kind, default, meaning, env, port_env)
    return field(default=kind.parse(default), metadata={"row": about})


def optional(
    kind: Kind[T],
    meaning: str,
    *,
    env: str | None = None,
    unset: str = "none",
    in_file: bool = True,
) -> T | None:
    """A field of ``Config`` that may be left out; ``unset`` says what that means."""
    about = Row(kind, None, meaning, env, unset=unset, in_file=in_file)
    return field(default=None, repr=False, metadata={"row": about})


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings. A row is a flag, a variable NEARHIT_<NAME> and a key of the file at once."""

    listen: tuple[Listen, ...] = row(
        LISTENERS,
        "127.0.0.1:6380",
        "Where clients connect; several are joined by commas.",
        port_env="PORT",
    )
    upstream: str | None = optional(
        UPSTREAM,
        "The Redis or Valkey behind the proxy.",
        env="REDIS_URL",
        unset="a private Valkey, started and stopped with the proxy",
    )
    config: str | None = optional(PATH, "A TOML file with settings, by these names.", in_file=False)
    log_level: str = row(
        choice("debug", "info", "warning", "error"),
        "info",
        "The least important event that is logged.",
        env="LOG_LEVEL",
    )
    env: str = row(
        choice("production", "development"),
        "development",
        "Production goes on trying longer to reach an upstream that is away.",
    )
    workers: int = row(whole(1, 64), "1", "Processes that share the listening addresses.")
    max_clients: int = row(
        whole(1, 1_000_000), "10000", "Clients served at once by a worker; more are refused."
    )
    upstream_timeout: float = row(
        duration("1s", "1h"),
        "30s",
        "How long a reply may take before its upstream connection counts as dead; commands that "
        "block are exempt.",
    )
    drain_timeout: float = row(
        duration("0s", "1h"), "10s", "How long running commands get when the proxy is stopped."
    )
    offline_queue: int = row(
        size("0", "1gb"),
        "16mb",
        "Bytes of commands kept for each upstream connection while it reconnects.",
    )

    given: Mapping[str, Given] = field(default_factory=dict, repr=False, compare=False)

    def describe(self) -> Iterator[str]:
        """``name = value   # where it came from``, a line for each setting, no password in any."""
        for name, about in ROWS.items():
            given = self.given.get(name) or _default(about)
            text = about.unset if given.text is None else redacted(given.text)
            yield f"{name} = {text}".ljust(40) + f"  # {given.origin}"


ROWS: Mapping[str, Row] = {
    item.name: item.metadata["row"] for item in fields(Config) if "row" in item.metadata
}


def retry_delay(attempt: int) -> float:
    """Seconds before the attempt of that number, counted from 1, to get back what was lost."""
    return min(attempt * 0.05, 2.0)


def flag(name: str) -> str:
    """``--max-clients`` for ``max_clients``."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """``NEARHIT_MAX_CLIENTS`` for ``max_clients``."""
    return f"NEARHIT_{name.upper()}"


# --- Reading them -----------------------------------------------------------------------------


def load(
    argv_flags: Mapping[str, str], environ: Mapping[str, str], read: Callable[[str], str]
) -> Config:
    """The settings in force, or ConfigError with every mistake. ``argv_flags`` goes by setting
    name; ``read`` gives a file's text or raises OSError."""
    mistakes: list[str] = []
    file: Mapping[str, Given] = {}
    config = _found("config", file, environ, argv_flags)[-1]
    if config.text is not None:
        file = _from_file(config.text, config.place, read, mistakes)

    values: dict[str, object] = {}
    in_force: dict[str, Given] = {}
    for name, about in ROWS.items():
        *overruled, in_force[name] = _found(name, file, environ, argv_flags)
        # What is overruled is checked too, unless its name belongs to other programs as well.
        for given in (*(given for given in overruled if not given.shared), in_force[name]):
            try:
                values[name] = None if given.text is None else about.kind.parse(given.text)
            except ValueError as error:
                mistakes.append(_wrong(given, about.kind, str(error)))
    mistakes += _misspelt(environ)
    if mistakes:
        raise ConfigError(mistakes)
    # Each value was made by its own row's parser, and `row` ties that parser's type to the field's.
    return Config(**values, given=in_force)  # type: ignore[arg-type]


def _found(
    name: str, file: Mapping[str, Given], environ: Mapping[str, str], flags: Mapping[str, str]
) -> list[Given]:
    """All that is said of a setting, the strongest last; an empty variable says nothing."""
    about = ROWS[name]
    found = [_default(about)]
    if name in file:
        found.append(file[name])
    if about.env and (text := environ.get(about.env)):
        found.append(Given(text, about.env, about.env, shared=True))
    if text := environ.get(variable(name)):
        found.append(Given(text, variable(name), variable(name)))
    if about.port_env and (text := environ.get(about.port_env)):
        # Above NEARHIT_LISTEN: an image sets that, and the platform it runs on sets PORT.
        text = _with_port(found[-1].text or "", text)
        found.append(Given(text, about.port_env, about.port_env, shared=True))
    if name in flags:
        found.append(Given(flags[name], flag(name), flag(name)))
    return found


def _default(about: Row) -> Given:
    return Given(about.default, "default", "default")


def _with_port(listen: str, port: str) -> str:
    """The addresses with another port for the first that has one."""
    head, separator, tail = listen.partition(",")
    if head.strip().startswith("unix://"):
        return f"{head},{_with_port(tail, port) if tail else f'127.0.0.1:{port}'}"
    return f"{head.rpartition(':')[0]}:{port}{separator}{tail}"


def _from_file(
    path: str, place: str, read: Callable[[str], str], mistakes: list[str]
) -> dict[str, Given]:
    """What the file says of each setting; what is no setting is a mistake."""
    try:
        text = read(path)
        document = tomllib.loads(text)
    except OSError as error:
        mistakes.append(f"{place}: cannot read {path}: {error.strerror or error}")
        return {}
    except UnicodeDecodeError:
        mistakes.append(f"{place}: {path} is not UTF-8 text")
        return {}
    except tomllib.TOMLDecodeError as error:
        mistakes.append(_syntax(path, text, str(error)))
        return {}

    found: dict[str, Given] = {}
    lines = _lines(text)
    for key, value in document.items():
        origin = f"{path}:{lines[(key,)]}"
        wrong = _wrong_in_file(key, value)
        if wrong is None:
            found[key] = Given(_as_text(value), origin, f"{origin}: {key}")
        else:
            mistakes.append(f"{origin}: {wrong}")
    return found


def _wrong_in_file(key: str, value: object) -> str | None:
    about = ROWS.get(key)
    if about is None and isinstance(value, dict):
        return f"[{key}]: no such table"
    if about is None:
        close = difflib.get_close_matches(key.lower().replace("-", "_"), ROWS, 1)
        return f"{key}: no such setting{f'; did you mean {close[0]}?' if close else ''}"
    if not about.in_file:
        return f"{key}: not for the file itself: use {flag(key)} or {variable(key)}"
    if isinstance(value, dict) or (isinstance(value, list) and not about.kind.many):
        return (
            f"{key}: a {'table' if isinstance(value, dict) else 'list'} is not {about.kind.wants}"
        )
    return None


def _as_text(value: object) -> str:
    """A TOML value as it would stand in a flag."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _syntax(path: str, text: str, error: str) -> str:
    """tomllib's complaint with its line in front."""
    found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", error, re.DOTALL)
    if found is None:  # "(at end of document)"
        return f"{path}:{text.rstrip().count(chr(10)) + 1}: {error}"
    return f"{path}:{found[2]}: {found[1]} (column {found[3]})"


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """The line on which each key and table of a well-formed TOML text begins, by path."""
    # tomllib tells values but not where they stood. A TOML file is a sequence of statements, each a
    # document of its own: gather lines until they parse; what they hold began at the first of them.
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    statement, begin = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += f"{line}\n"
        try:
            content: object = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        is_table = statement.lstrip().startswith("[")
        path: tuple[str, ...] = () if is_table else table
        while isinstance(content, dict) and content:
            name, content = next(iter(content.items()))
            path = (*path, name)
            found.setdefault(path, begin)
        table = path if is_table else table
        statement, begin = "", number + 1
    return found


def _wrong(given: Given, kind: Kind[object], reason: str) -> str:
    line = f"{given.place}: {redacted(given.text or '')!r} is not {kind.wants}"
    return f"{line}: {reason}" if reason else line


def _misspelt(environ: Mapping[str, str]) -> Iterator[str]:
    """Variables that come close to a setting's. Others pass: beside a service called nearhit,
    Kubernetes gives every pod a NEARHIT_SERVICE_HOST and more."""
    for name in environ:
        if (
            name.startswith("NEARHIT_")
            and (setting := name.removeprefix("NEARHIT_").lower()) not in ROWS
        ):
            for close in difflib.get_close_matches(setting, ROWS, 1, cutoff=0.8):
                yield f"{name}: no such setting; did you mean {variable(close)}?"
