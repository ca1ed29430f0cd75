"""Types of settings, and the rows that settings are: how text becomes a value, and how a mistake in
it is worded.

Every source of settings gives text (a TOML value is written out as a flag would have it), so one
parser serves them all. Knows no setting by name: config.py and loaders.py have the rows. cli reads
its own flags by the same kinds."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar, cast

from ..log import redacted, urls_in
from .address import AddressMap, Listen, Tcp, Upstream, listeners
from .address import Kind as UpstreamKind

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Kind(Generic[T_co]):
    """A type of setting. ``parse`` raises ValueError, with a reason if ``wants`` is not enough."""

    parse: Callable[[str], T_co]
    wants: str
    metavar: str
    many: bool = False  # its flag may be repeated
    table: bool = False  # may be a table in TOML
    quoted: bool = False  # a text in TOML, never a number, which would be read in another base
    secret: bool = False  # never shown


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


# Parsers raise ValueError without a reason where ``Kind.wants`` says it all.


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
    """A whole number in a range."""

    def parse(text: str) -> int:
        value = int(_amount(text, {"": 1}, r"-?\d{1,18}")[0])
        return _within(value, low <= value <= high)

    return Kind(parse, f"a whole number from {low} to {high}", "N")


def _bytes(text: str) -> int:
    number, unit = _amount(text, SIZES, r"\d{1,18}")
    return int(number) * unit


def _seconds(text: str) -> float:
    number, unit = _amount(text, SECONDS, r"\d{1,12}(?:\.\d{1,9})?")
    return float(number) * unit


def _between(read: Callable[[str], N], low: str, high: str) -> Callable[[str], N]:
    """A parser of amounts from ``low`` to ``high``, which are written as a user would."""
    least, most = read(low), read(high)

    def parse(text: str) -> N:
        value = read(text)
        return _within(value, least <= value <= most)

    return parse


def size(low: str, high: str) -> Kind[int]:
    """Bytes in a range, with Redis's units: 1k is 1000 bytes, 1kb is 1024."""
    return Kind(_between(_bytes, low, high), f"a size from {low} to {high} (such as 64mb)", "SIZE")


def duration(low: str, high: str) -> Kind[float]:
    """Seconds in a range; ms, s, m and h are understood."""
    wants = f"a duration from {low} to {high} (such as 30s or 500ms)"
    return Kind(_between(_seconds, low, high), wants, "TIME")


def choice(*names: str, also: Mapping[str, str] = MappingProxyType({})) -> Kind[str]:
    """One of a few words, in any case; ``also`` has other words for some of them."""

    def parse(text: str) -> str:
        word = text.strip().lower()
        word = also.get(word, word)
        return _within(word, word in names)

    return Kind(parse, f"one of {', '.join(names)}", "|".join(names))


def is_off(text: str) -> bool:
    """Whether a text turns off what its setting is about."""
    return text.strip().lower() == "off"


def _listeners_or_off(text: str) -> tuple[Listen, ...]:
    return () if is_off(text) else listeners(text)


def _tls_listeners_or_off(text: str) -> tuple[Listen, ...]:
    found = _listeners_or_off(text)
    if not all(isinstance(one, Tcp) for one in found):
        raise ValueError("a unix socket needs no TLS")
    return found


def _key(text: str) -> str:
    return "" if is_off(text) else _some(text)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    return _within(names, all(re.fullmatch(r"[\w.-]+|\*", name, re.ASCII) for name in names))


def _mode(text: str) -> int:
    if not re.fullmatch(r"(0o?)?[0-7]{3}", text, re.ASCII):
        raise ValueError
    return int(text[-3:], 8)


def _switch(text: str) -> bool:
    word = text.strip().lower()
    return _within(word == "true", word in ("true", "false"))


def _url(text: str) -> str:
    if Upstream.parse(text).kind is not UpstreamKind.SERVER:
        raise ValueError("it is for one server")
    return text


def _any_url(text: str) -> str:
    Upstream.parse(text)
    return text


def _token(text: str) -> str:
    # RFC 6750 has fewer; what is hidden must not be short enough to be guessed.
    return _within(text, re.fullmatch(r"[!-~]{16,1024}", text, re.ASCII) is not None)


def _lock_servers(text: str) -> tuple[Upstream, ...]:
    if is_off(text):
        return ()
    found: list[Upstream] = []
    for number, url in enumerate(map(str.strip, urls_in(text)), 1):
        try:
            server = Upstream.parse(_url(url))
        except ValueError as error:
            # Never its text, with a password in it.
            raise ValueError(f"see number {number}{f': {error}' if str(error) else ''}") from None
        if "," in server.host:
            raise ValueError(f"see number {number}: each begins with its scheme")
        if server.db:
            raise ValueError(f"number {number} names a database: each client's own is used there")
        places = [(one.host, one.port, one.path) for one in found]
        if (server.host, server.port, server.path) in places:
            raise ValueError(f"number {number} is there twice: each must be a server of its own")
        found.append(server)
    if len(found) % 2 == 0 or not 3 <= len(found) <= 15:
        raise ValueError(f"they are {len(found)}")
    return tuple(found)


def _some(text: str) -> str:
    return _within(text, bool(text))


LISTENERS = Kind(listeners, "host:port, [v6]:port or unix:///path", "ADDRESS", many=True)
UPSTREAM = Kind(_url, "a redis://, rediss:// or unix:// URL", "URL")
OWN = "embedded"  # for the URL of a server: one of the proxy's own
UPSTREAM_OR_OWN = Kind(
    lambda text: OWN if text.strip().lower() == OWN else _any_url(text),
    f"{UPSTREAM.wants}, one of redis-sentinel:// or redis-cluster://, or {OWN}",
    UPSTREAM.metavar,
)
LISTENERS_OR_OFF = Kind(
    _listeners_or_off, f"{LISTENERS.wants}, or off", LISTENERS.metavar, many=True
)
TLS_LISTENERS = Kind(
    _tls_listeners_or_off, "host:port or [v6]:port, or off", LISTENERS.metavar, many=True
)
_SIZE = size("1mb", "64gb")
SIZE_OR_OFF = Kind(
    lambda text: 0 if is_off(text) else _SIZE.parse(text), f"{_SIZE.wants}, or off", _SIZE.metavar
)


def duration_or_off(low: str, high: str) -> Kind[float]:
    """The same, or off, which is 0."""
    some = duration(low, high)
    return Kind(
        lambda text: 0.0 if is_off(text) else some.parse(text),
        f"{some.wants}, or off",
        some.metavar,
    )


KEY = Kind(_key, "a key, or off", "KEY")
HOSTS = Kind(_names, "names of hosts, or * for any", "NAME", many=True)
MODE = Kind(_mode, 'a mode as of chmod, such as "0770"', "MODE", quoted=True)
ADDRESS_MAP = Kind(
    lambda text: AddressMap() if is_off(text) else AddressMap.parse(text),
    "a table of announced=dialled, each host:port, or a host alone on both sides, or off",
    "ANNOUNCED=DIALLED",
    many=True,
    table=True,
)
LOCK_SERVERS = Kind(
    _lock_servers,
    "an odd number of URLs, 3 to 15, each redis://, rediss:// or unix://, without a database, or "
    "off",
    "URL",
    many=True,
)
SWITCH = Kind(_switch, "true or false", "true|false")
PATH = Kind(_some, "the path of a file", "FILE")
ZONE = Kind(_some, "the name of a zone", "NAME")
TOKEN = Kind(
    _token,
    "16 to 1024 letters, digits and other visible characters",
    "TOKEN",
    quoted=True,
    secret=True,
)
HOST = Kind(_some, "the name of a host", "NAME")


# --- Rows -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of a setting (a field of Config or LoaderSettings) beside its type."""

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

    text: str | None  # None: not given at all
    origin: str  # as ``describe`` shows it: default, --workers, nearhit.toml:3
    place: str  # the same, with the setting's name wherever mistakes need it
    shared: bool = False  # a variable that other programs read too


def row(
    kind: Kind[T],
    default: str,
    meaning: str,
    *,
    env: str | None = None,
    port_env: str | None = None,
) -> T:
    """A field of a dataclass of settings that has a default, written as a user would."""
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
    """A field of a dataclass of settings that may be left out; ``unset`` says what that means."""
    about = Row(kind, None, meaning, env, unset=unset, in_file=in_file)
    return field(default=None, repr=False, metadata={"row": about})


def default_of(about: Row) -> Given:
    """What holds where nobody has given the setting."""
    return Given(about.default, "default", "default")


def described(name: str, about: Row, given: Given) -> str:
    """``name = value   # where it came from``, without a password."""
    shown = "***" if about.kind.secret else redacted(given.text or "")
    text = about.unset if given.text is None else shown
    return f"{name} = {text}".ljust(40) + f"  # {given.origin}"


def table_in(value: object) -> Mapping[str, object] | None:
    """A TOML value as the table that it is, None where it is none."""
    # The keys of TOML are always strings.
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def unfit(value: object, kind: Kind[object]) -> str | None:
    """Why a TOML value cannot be a setting's text, None where it can."""
    if isinstance(value, dict) and not kind.table:
        return f"a table is not {kind.wants}"
    if kind.quoted and not isinstance(value, str):
        return f"it is not in quotes: {kind.wants}"
    if isinstance(value, list) and not kind.many:
        return f"a list is not {kind.wants}"
    return None


def suggestion(name: str, known: Iterable[str]) -> str:
    """``; did you mean workers?``, or nothing where no known name is close."""
    close = difflib.get_close_matches(name.lower().replace("-", "_"), known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def as_text(value: object) -> str:
    """A TOML value, or the values of a repeated flag, as it would stand in one flag."""
    if isinstance(value, list):
        return ",".join(map(str, cast("list[object]", value)))
    if (table := table_in(value)) is not None:
        return ",".join(f"{key}={item}" for key, item in table.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def wrong(given: Given, kind: Kind[object], reason: str) -> str:
    """The mistake that a text is no value of the kind, its place first, no password in it."""
    text = "***" if kind.secret else redacted(given.text or "")
    line = f"{given.place}: {text!r} is not {kind.wants}"
    return f"{line}: {reason}" if reason else line
