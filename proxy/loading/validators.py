"""What answers of a url say of themselves, to ask later whether they still hold.

    200 + ETag or Last-Modified ─▶ keep(key, value)    the value's digest with it
    refresh(key, value)         ─▶ of(key, digest)  ─▶ If-None-Match, If-Modified-Since ─▶ 304

A 304 says that the value is right which the validator came with, and nothing of any other: it is
found by that value's digest alone. What others store at the key meanwhile, or another loader, is
another value, and asked for whole. Bounded in number and bytes; what was used longest ago goes
first. Pure; url.py has one for each loader."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

MOST: Final = 10_000
BYTES_MAX: Final = 8 << 20
OVERHEAD: Final = 400  # bytes of one, beside its texts
TEXT_MAX: Final = 512

_ETAG: Final = re.compile(r"(?:W/)?\"[!#-~]*\"")  # RFC 9110 8.8.3, of ASCII alone
# A change behind the answer may have the same second as the one before it (RFC 9110 8.8.2.2).
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Validator:
    """``headers`` ask whether it still holds; ``cache_control`` is that of the answer it is of."""

    digest: bytes
    header: str  # If-None-Match or If-Modified-Since
    text: str
    cache_control: str

    @property
    def headers(self) -> Mapping[str, str]:
        return {self.header: self.text}

    def confirmed_by(self, headers: Mapping[str, str]) -> bool:
        """Whether a 304 with these headers is about it: a strong ETag of its own names what it is
        about (RFC 9111 4.3.4)."""
        etag = headers.get("ETag", "")
        if self.header != "If-None-Match" or not etag or etag.startswith("W/"):
            return True
        return etag == self.text.removeprefix("W/")


def digest_of(value: bytes) -> bytes:
    """As take.lua has it."""
    return hashlib.sha1(value, usedforsecurity=False).hexdigest().encode()


class Validators:
    def __init__(self, most: int = MOST, bytes_max: int = BYTES_MAX) -> None:
        self._most = most
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: OrderedDict[bytes, Validator] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Validators {len(self._kept)} bytes={self._bytes}>"

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: bytes, value: bytes, headers: Mapping[str, str]) -> None:
        """The headers of the answer that brought the value: whatever was kept for the key is
        over."""
        self.drop(key)
        named = _named(headers)
        if named is None:
            return
        cache_control = headers.get("Cache-Control", "")
        one = Validator(digest_of(value), *named, cache_control[:TEXT_MAX])
        self._kept[key] = one
        self._bytes += _size(key, one)
        while len(self._kept) > self._most or self._bytes > self._bytes_max:
            self.drop(next(iter(self._kept)))

    def of(self, key: bytes, digest: bytes) -> Validator | None:
        """The validator of the value at the key that has this digest."""
        one = self._kept.get(key)
        if one is None or one.digest != digest:
            return None
        self._kept.move_to_end(key)
        return one

    def drop(self, key: bytes) -> None:
        one = self._kept.pop(key, None)
        if one is not None:
            self._bytes -= _size(key, one)


def _size(key: bytes, one: Validator) -> int:
    return len(key) + len(one.text) + len(one.cache_control) + OVERHEAD


def _named(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """The header to ask with, and its text. None: the answer has no validator to rely on."""
    if "*" in headers.get("Vary", ""):
        return None
    etag = headers.get("ETag", "")
    if etag:  # a server that has them is not asked by time beside them
        fits = _ETAG.fullmatch(etag) and len(etag) <= TEXT_MAX
        return ("If-None-Match", etag) if fits else None
    modified = headers.get("Last-Modified", "")
    written, answered = _time(modified), _time(headers.get("Date", ""))
    if written is None or answered is None or answered - written < _SECOND:
        return None
    return "If-Modified-Since", modified


def _time(text: str) -> datetime | None:
    if not text.endswith(" GMT") or len(text) > TEXT_MAX or not text.isascii():
        return None
    try:
        return parsedate_to_datetime(text).replace(tzinfo=None)
    except (ValueError, TypeError):
        return None
