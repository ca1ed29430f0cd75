"""The settings of loaders: the [loaders.<name>] tables of nearhit.toml.

A row is a field of ``LoaderSettings``, as config.py has it for the rest. Pure: says what a loader
is, imports and opens nothing (loading/loaders.py does). Every mistake is told with its place.
config.py calls ``loaders_of``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Final, cast

from ..keys.captures import Pattern, TagTemplate, UrlTemplate
from .file import SettingsFile
from .headers import Elsewhere, Headers, headers_of
from .rows import (
    SWITCH,
    UPSTREAM,
    Given,
    Kind,
    Row,
    as_text,
    default_of,
    described,
    duration,
    optional,
    row,
    suggestion,
    table_in,
    unfit,
    whole,
    wrong,
)

SOURCES: Final = ("url", "call", "redis", "demo")

BATCH: Final = 100  # of a batch_url
_LEASE_MARGIN: Final = 2.0  # for storing what was loaded, and for the way there
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CALL: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def _call(text: str) -> str:
    if not _CALL.fullmatch(text):
        raise ValueError
    return text


PATTERN: Final = Kind(Pattern.parse, "a text with captures, as user:{id}", "PATTERN")
URL: Final = Kind(UrlTemplate.parse, "an http:// or https:// URL", "URL")


def _tags(text: str) -> tuple[TagTemplate, ...]:
    tags = tuple(TagTemplate.parse(tag.strip()) for tag in text.split(",") if tag.strip())
    if len(tags) > 16:
        raise ValueError("a key has at most 16 tags")
    return tags


TAGS: Final = Kind(_tags, "tags, as user:{id}", "TAGS", many=True)
CALL: Final = Kind(_call, "package.module:function", "FUNCTION")
HEADERS: Final = Kind(str, "a table of headers' names and texts", "NAME=TEXT", table=True)
URL_ONLY: Final = ("batch_url", "headers", "honour_cache_control", "conditional")
TEXTS: Final = ("match", "url", "batch_url", "call", "redis")  # strings in TOML, never numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderSettings:
    """One loader: which keys it is for, the one source it has, and how its loads are run.
    Durations are seconds."""

    name: str
    match: Pattern = field(
        metadata={
            "row": Row(
                PATTERN,
                None,
                "The keys it is for; of several loaders that match, the most literal one loads.",
                unset="required",
            )
        }
    )
    url: UrlTemplate | None = field(
        default=None,
        repr=False,
        metadata={
            "row": Row(
                URL,
                None,
                "Where to GET the value: 200 has it in its body, 404 says that there is none.",
            )
        },
    )
    batch_url: UrlTemplate | None = field(
        default=None,
        repr=False,
        metadata={
            "row": Row(
                URL,
                None,
                "Where a url loader POSTs a JSON list of keys, for a JSON object of their values.",
            )
        },
    )
    headers: Headers = field(
        default=Headers(),
        repr=False,
        metadata={
            "row": Row(
                HEADERS,
                None,
                "What a url loader sends besides; ${NAME} is a variable, ${file:PATH} a file's "
                "text.",
            )
        },
    )
    call: str | None = optional(
        CALL, "A function that is called with the captures, sync or async; None: no value."
    )
    redis: str | None = optional(
        UPSTREAM, "Another server that has the value, and its TTL, at the same key."
    )
    demo: bool = row(SWITCH, "false", "A made-up value, for trying things out.")
    ttl: float = row(duration("1ms", "8760h"), "60s", "How long a value is kept.")
    negative_ttl: float = row(
        duration("1ms", "8760h"),
        "5s",
        "How long it is remembered that there is no value; the ttl, if that is shorter.",
    )
    timeout: float = row(duration("1ms", "1h"), "5s", "How long a load may take.")
    concurrency: int = row(whole(1, 1000), "16", "Loads at once in each worker; more wait.")
    batch: int = row(
        whole(1, 10_000),
        "1",
        "Keys that one load may be for: call is given lists, redis MGET, url its batch_url.",
    )
    lease: float = field(
        default=7.0,
        metadata={
            "row": Row(
                duration("1ms", "2h"),
                None,
                "How long other proxies wait for this one's load before they load themselves.",
                unset="timeout + 2s",
            )
        },
    )
    backoff: float = row(
        duration("1ms", "1h"), "1s", "How long a failure is the answer before the next attempt."
    )
    grace: float = row(
        duration("0s", "8760h"),
        "0s",
        "How long behind its ttl a value is still the answer, while one load refreshes it behind.",
    )
    read_through: bool = row(SWITCH, "false", "Plain GET and MGET load what is missing too.")
    tags: tuple[TagTemplate, ...] = field(
        default=(),
        metadata={
            "row": Row(
                TAGS,
                None,
                "What its keys belong to, for INVALIDATE TAG: a list of at most 16.",
                unset="none",
            )
        },
    )
    fail_open: bool = row(
        SWITCH,
        "true",
        "Where the server takes no writes, a loaded value is returned and not stored; false: its "
        "error is.",
    )
    honour_cache_control: bool = row(
        SWITCH, "false", "Cache-Control of the url's answer may shorten the ttl."
    )
    conditional: bool = row(
        SWITCH,
        "true",
        "A refresh asks a url whether the value has changed, by ETag or Last-Modified.",
    )

    # Where each option that is not left to its default comes from.
    given: Mapping[str, Given] = field(default_factory=dict[str, Given], repr=False, compare=False)

    @property
    def source(self) -> str:
        """The name of its source: one of ``SOURCES``."""
        return next(name for name in SOURCES if getattr(self, name))

    def describe(self) -> Iterator[str]:
        """A line for each setting that has a meaning here, no password in any."""
        absent = {*SOURCES} - {self.source}
        if self.source != "url":
            absent |= {*URL_ONLY}
        for option, about in LOADER_ROWS.items():
            if option not in absent:
                given = self.given.get(option) or default_of(about)
                yield described(f"loaders.{self.name}.{option}", about, given)


LOADER_ROWS: Final[Mapping[str, Row]] = {
    item.name: item.metadata["row"] for item in fields(LoaderSettings) if "row" in item.metadata
}

# What development has without any file.
DEMO: Final = LoaderSettings(name="demo", match=Pattern.parse("demo:{name}"), demo=True)


# --- Reading them -----------------------------------------------------------------------------


def loaders_of(
    file: SettingsFile, mistakes: list[str], elsewhere: Elsewhere
) -> tuple[LoaderSettings, ...]:
    """The loaders of the file, in its order; what is wrong with them is added to ``mistakes``."""
    tables = table_in(file.document.get("loaders", {}))
    if tables is None:
        mistakes.append(f"{file.origin('loaders')}: loaders: it is not a table [loaders.<name>]")
        return ()
    found: list[LoaderSettings] = []
    names: dict[tuple[bytes, ...], str] = {}
    for name, table in tables.items():
        reading = _Reading(file, name, mistakes, elsewhere)
        settings = reading.settings(table)
        reading.refuse_double(names)
        if settings is not None:
            found.append(settings)
    return tuple(found)


def _shown(name: str) -> str:
    return name if name.isprintable() else repr(name)


class _Reading:
    """One table on its way to be a LoaderSettings; its mistakes are added to those of the file."""

    def __init__(
        self, file: SettingsFile, name: str, mistakes: list[str], elsewhere: Elsewhere
    ) -> None:
        self.file = file
        self.name = name
        self.mistakes = mistakes
        self.elsewhere = elsewhere
        self.given: dict[str, Given] = {}
        self.values: dict[str, object] = {}

    def settings(self, value: object) -> LoaderSettings | None:
        """The settings of the table. None: there are mistakes, all of them told."""
        before = len(self.mistakes)
        if not _NAME.fullmatch(self.name):
            self._mistake("a loader's name is 1 to 64 letters, digits, _ . and -")
        table = table_in(value)
        if table is None:
            self._mistake("it is not a table")
            return None
        for option, value in table.items():
            self._read(option, value)
        if "match" not in table:
            self._mistake("match is missing: the keys it is for")
        self._check_source(table)
        self._check_captures()
        self._check_times()
        if len(self.mistakes) > before:
            return None
        # Each value was made by its own row's parser, which is of the field's type.
        return LoaderSettings(name=self.name, given=self.given, **self.values)  # type: ignore[arg-type]

    def refuse_double(self, names: dict[tuple[bytes, ...], str]) -> None:
        """A mistake where an earlier loader matches the same keys: none could reach this one.
        ``names`` has the earlier ones by what they match."""
        match = self.values.get("match")
        if isinstance(match, Pattern):
            first = names.setdefault(match.literals, self.name)
            if first != self.name:
                self._mistake(f"[loaders.{first}] matches the same keys", "match")

    def _place(self, *option: str) -> str:
        """Where the table stands, or an option of it, or what is in that."""
        origin = self.file.origin("loaders", self.name, *option)
        within = f" {'.'.join(map(_shown, option))}" if option else ""
        return f"{origin}: [loaders.{_shown(self.name)}]{within}"

    def _mistake(self, what: str, *option: str) -> None:
        self.mistakes.append(f"{self._place(*option)}: {what}")

    def _read(self, option: str, value: object) -> None:
        about = LOADER_ROWS.get(option)
        if about is None:
            self._mistake(f"no such option{suggestion(option, LOADER_ROWS)}", option)
            return
        if option == "headers":
            self._read_headers(value)
            return
        if reason := unfit(value, about.kind):
            self._mistake(reason, option)
            return
        place = self._place(option)
        given = Given(as_text(value), self.file.origin("loaders", self.name, option), place)
        try:
            if option in TEXTS and not isinstance(value, str):
                raise ValueError("it is not in quotes")
            self.values[option] = about.kind.parse(given.text or "")
        except ValueError as error:
            self.mistakes.append(wrong(given, about.kind, str(error)))
            return
        self.given[option] = given

    def _read_headers(self, value: object) -> None:
        table = table_in(value)
        if table is None:
            self._mistake(f"it is not {HEADERS.wants}", "headers")
            return
        pairs: list[tuple[str, str]] = []
        for name, text in headers_of(table, self.elsewhere):
            if isinstance(text, ValueError):
                self._mistake(str(text), "headers", name)
            else:
                pairs.append((name, text))
        headers = self.values["headers"] = Headers(tuple(pairs))
        origin = self.file.origin("loaders", self.name, "headers")
        # Of the values nothing is ever shown.
        self.given["headers"] = Given(str(headers) or None, origin, self._place("headers"))

    def _check_source(self, table: Mapping[str, object]) -> None:
        first, *more = [name for name in SOURCES if name in table] or [""]
        if not first:
            self._mistake(f"its source is missing: one of {', '.join(SOURCES)}")
        for other in more:
            self._mistake(f"it has a source already, {first}", other)
        if self.values.get("demo") is False and not more:
            self._mistake("false is no source: true, or another source", "demo")
        for option in URL_ONLY:
            if option in table and first and first != "url":
                self._mistake("only a url has one", option)
        self._check_authorization()
        self._check_batch(table, first)

    def _check_authorization(self) -> None:
        headers = self.values.get("headers")
        if not isinstance(headers, Headers) or "Authorization" not in headers:
            return
        for option in ("url", "batch_url"):
            url = self.values.get(option)
            if isinstance(url, UrlTemplate) and url.has_user:
                self._mistake(f"{option} has a user, who would be sent as that too", "headers")

    def _check_batch(self, table: Mapping[str, object], first: str) -> None:
        batch_url, batch = self.values.get("batch_url"), self.values.get("batch", 1)
        if isinstance(batch_url, UrlTemplate) and batch_url.names:
            self._mistake("it is for all keys: no captures", "batch_url")
        if "batch_url" in table and "batch" not in table:
            self._derive("batch", BATCH)
        if batch == 1:
            return
        if first == "url" and "batch_url" not in table:
            self._mistake("a url needs a batch_url for it", "batch")
        if first == "demo":
            self._mistake("demo makes its values one by one", "batch")

    def _check_captures(self) -> None:
        url, match = self.values.get("url"), self.values.get("match")
        if isinstance(url, UrlTemplate) and isinstance(match, Pattern):
            for name in dict.fromkeys(url.names):
                if name not in match.names:
                    self._mistake(f"{{{name}}} is no capture of match", "url")
        tags = cast("tuple[TagTemplate, ...]", self.values.get("tags", ()))
        if isinstance(match, Pattern):
            for name in dict.fromkeys(name for tag in tags for name in tag.names):
                if name not in match.names:
                    self._mistake(f"{{{name}}} is no capture of match", "tags")

    def _check_times(self) -> None:
        ttl, timeout = self._seconds("ttl"), self._seconds("timeout")
        if "negative_ttl" not in self.given:
            self._derive("negative_ttl", min(ttl, self._seconds("negative_ttl")))
        elif self._seconds("negative_ttl") > ttl:
            self._mistake(f"it is longer than the ttl, {ttl:g}s", "negative_ttl")
        if "lease" not in self.given:
            self._derive("lease", timeout + _LEASE_MARGIN)
        elif self._seconds("lease") < timeout:
            self._mistake(f"it is shorter than the timeout, {timeout:g}s", "lease")

    def _seconds(self, option: str) -> float:
        value = self.values.get(option, LoaderSettings.__dataclass_fields__[option].default)
        assert isinstance(value, float)
        return value

    def _derive(self, option: str, value: float) -> None:
        self.values[option] = value
        text = f"{value:g}s" if isinstance(value, float) else f"{value}"
        self.given[option] = Given(text, "default", "default")
