"""Structured logs: one logfmt line for each event, on stderr, through stdlib logging.

    2026-11-22T18:18:23.123Z level=info event="lane lost" lane=3 error="connection reset"

Call sites use ``event``; cli/ sets the handler up once with ``start``. Nobody formats lines by
hand, and a URL goes through ``redacted`` before it is logged or shown."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

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


def start(level: str, **always: object) -> None:
    """Send records of that level (``debug`` ... ``error``) and above to stderr, a line each, with
    the fields that every line of this process has."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Logfmt(always))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class Logfmt(logging.Formatter):
    """Formats a record as one logfmt line: time, level, event, then its fields, and a traceback as
    the field ``trace``."""

    def __init__(self, always: Mapping[str, object]) -> None:
        super().__init__()
        self._always = always

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {"level": record.levelname.lower(), "event": record.getMessage(), **self._always}
        fields |= getattr(record, _FIELDS, {})
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        pairs = " ".join(f"{name}={_value(value)}" for name, value in fields.items())
        return f"{time.removesuffix('+00:00')}Z {pairs}"


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


def _value(value: object) -> str:
    """A field's value as one word, quoted and escaped where it would not be one."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else f'"{_ESCAPES.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    return _NAMED_ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}"
