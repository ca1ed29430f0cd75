"""Structured logs: one line for each event, on stderr, through stdlib logging.

    text  2026-11-22T18:18:23.123Z level=info event="lane lost" lane=3 error="connection reset"
    json  {"time": "2026-11-22T18:18:23.123Z", "level": "info", "event": "lane lost", ...}

Call sites use ``event``; cli/ sets the handler up once with ``start``. Nobody formats lines by
hand, and a URL goes through ``redacted`` before it is logged or shown."""

from __future__ import annotations

import json
import logging
import math
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

WORD_MOST = 64  # bytes of a client's word that are shown
_FIELDS = "nearhit_fields"
_PLAIN = re.compile(r"[^\s\"=\\\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ESCAPES = re.compile(r"[\"\\\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NEXT_URL = re.compile(r",(?=\s*[a-z]+(?:-[a-z]+)?://)", re.IGNORECASE)
_NAMED_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}

_SECRET_OPTION = re.compile(r"([?&]\w*password=)[^&]*", re.IGNORECASE)
# What an option of a URL is called and has. An "@" in front of the "=" belongs to a password.
_OPTION = re.compile(r"([?&])([^&=@]*)(?:=([^&]*)|(?=&|$))")
# Anything else may be a secret: a token, or a password under a misspelt name. Not so a capture.
_HARMLESS = re.compile(
    r"db|(sentinel_)?username|protocol|ssl_(ca_certs|cert_reqs|certfile|check_hostname|keyfile)"
    r"|timeout|\w+_(timeout|interval|connections|keepalive)"
)
_CAPTURE = re.compile(r"\{\w+\}")
# Greedy up to the last "@": a password with an unescaped "/" or "@" is hidden whole all the same.
_USERINFO = re.compile(r"^([\w-]+://)?(?:([^:@/?#]*:))?.*@", re.DOTALL)
# A URL whose host was forgotten has the password where a port would stand.
_NO_PORT = re.compile(r"^(\w+://[^:@/?#\[\]]*:)(?!\d{1,5}(?:[/?#]|$)).+", re.DOTALL)
# The same in one of many addresses.
_MANY = re.compile(r"^\w+-\w+://")


def event(log: logging.Logger, level: int, name: str, **fields: object) -> None:
    """Log one event with its fields in this order: ``event(log, INFO, "lane lost", lane=3)``."""
    if log.isEnabledFor(level):
        log.log(level, name, extra={_FIELDS: fields}, stacklevel=2)


def shortened(word: bytes) -> str:
    """A client's word, a key say, as it may be told of."""
    more = len(word) - WORD_MOST
    text = word[:WORD_MOST].decode("utf-8", "backslashreplace")
    return f"{text}... ({more} more bytes)" if more > 0 else text


def start(level: str, form: str = "text", **always: object) -> None:
    """Send records of that level (``debug`` ... ``error``) and above to stderr, a line each, with
    the fields that every line of this process has. ``form``: one of FORMS."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMS[form](always))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class _Line(logging.Formatter):
    """What both forms tell of a record: level, event, then its fields, and a traceback as the field
    ``trace``."""

    def __init__(self, always: Mapping[str, object]) -> None:
        super().__init__()
        self._always = always

    def _time(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return f"{time.removesuffix('+00:00')}Z"

    def _fields(self, record: logging.LogRecord) -> dict[str, object]:
        fields = {"level": record.levelname.lower(), "event": record.getMessage(), **self._always}
        fields |= getattr(record, _FIELDS, {})
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return fields


class Logfmt(_Line):
    """One logfmt line: the time, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields = self._fields(record).items()
        pairs = " ".join(f"{name}={_value(value)}" for name, value in fields)
        return f"{self._time(record)} {pairs}"


class Json(_Line):
    """One JSON object in ASCII: numbers and truths as such, nothing as null, all else as text."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": self._time(record), **self._fields(record)}
        return json.dumps({name: _plain(value) for name, value in fields.items()})


FORMS: Mapping[str, type[_Line]] = {"text": Logfmt, "json": Json}


def urls_in(text: str) -> list[str]:
    """URLs that commas join: those before a scheme, for passwords may have some too."""
    return _NEXT_URL.split(text)


def redacted(url: str) -> str:
    """The URL with ``***`` for its password and for options that may be secret; never fails, also
    on what is no URL at all. Of several, joined by commas, each."""
    if len(each := urls_in(url)) > 1:
        return ",".join(map(redacted, each))
    url = _OPTION.sub(_hidden, url) if "://" in url else _SECRET_OPTION.sub(r"\1***", url)
    if "@" in url:
        return _USERINFO.sub(lambda match: f"{match[1] or ''}{match[2] or ''}***@", url)
    many = _MANY.match(url)
    if many is not None:
        items = url[many.end() :].split(",")
        return many[0] + ",".join(_NO_PORT.sub(r"\1***", f"x://{one}")[4:] for one in items)
    return _NO_PORT.sub(r"\1***", url)


def _hidden(option: re.Match[str]) -> str:
    begin, name, value = option.groups()
    if value is None:
        return f"{begin}***" if name else begin
    shown = _HARMLESS.fullmatch(name) or _CAPTURE.fullmatch(value)
    return option[0] if shown else f"{begin}{name}=***"


def _plain(value: object) -> object:
    """A field's value as JSON has it; a float that JSON has not is a text."""
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else str(value)
    if value is None or isinstance(value, int):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode()


def _value(value: object) -> str:
    """A field's value as one word, quoted and escaped where it would not be one."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else f'"{_ESCAPES.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    return _NAMED_ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}"
