"""Texts with captures: which keys a loader matches, and the URL that it asks for them.

    match  user:{id}:profile       url  http://host/users/{id}/profile
           literal  capture  literal

``{{`` and ``}}`` are literal braces. A capture holds one byte at least; it ends where the next
literal first occurs, and the last capture takes the rest. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

URL_MAX: Final = 8192  # what many servers take

_PIECE = re.compile(r"(?P<escaped>\{\{|\}\})|\{(?P<name>[^{}]*)\}|(?P<text>[^{}]+)|(?P<lone>.)")
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_DOTS = re.compile(r"[^?#]*/\.\.?(?:[/?#]|$)")


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a loader's keys look like. ``literals`` stand around the captures: one more than
    ``names``, empty where a capture begins or ends the text."""

    text: str
    literals: tuple[bytes, ...]
    names: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """ValueError with what is wrong."""
        literals, names = _pieces(text)
        if not text:
            raise ValueError("it is empty")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the capture {{{name}}} is there twice")
        for before, literal, after in zip(names, literals[1:-1], names[1:], strict=False):
            if not literal:
                raise ValueError(f"no text between {{{before}}} and {{{after}}} tells them apart")
        return cls(text, tuple(literal.encode() for literal in literals), tuple(names))

    def __str__(self) -> str:
        return self.text

    @property
    def head(self) -> bytes:
        """What every key that matches begins with."""
        return self.literals[0]

    @property
    def weight(self) -> int:
        """How much of it is literal: of two that match a key, the heavier says more about it."""
        return sum(map(len, self.literals))

    def match(self, key: bytes) -> dict[str, bytes] | None:
        """The captures, or None where the key is not one of these."""
        if not self.names:
            return {} if key == self.head else None
        tail = self.literals[-1]
        at, end = len(self.head), len(key) - len(tail)
        if not (key.startswith(self.head) and key.endswith(tail)):
            return None
        # Not a regular expression: clients choose the keys, and some keys make one backtrack for
        # ages. Taking each literal where it first occurs never misses a match: a later place for
        # it would leave less room for the rest.
        captures: dict[str, bytes] = {}
        for name, literal in zip(self.names, self.literals[1:-1], strict=False):
            found = key.find(literal, at + 1, max(end, 0))
            if found < 0:
                return None
            captures[name] = key[at:found]
            at = found + len(literal)
        if at >= end:
            return None
        captures[self.names[-1]] = key[at:end]
        return captures


@dataclass(frozen=True, slots=True)
class UrlTemplate:
    """An http URL with captures behind its host; they are percent-encoded when it is filled."""

    literals: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> UrlTemplate:
        """ValueError with what is wrong, the password never in it."""
        literals, names = _pieces(text)
        if not text.isascii() or re.search(r"[\s\x00-\x1f\x7f]", text):
            raise ValueError("what is not plain ASCII must be percent-encoded")
        # Whoever chooses the key would choose the host too.
        if names and not re.match(r"\w+://[^/?#]+[/?#]", literals[0]):
            raise ValueError("a capture may stand behind the host only")
        whole = cls(tuple(literals), tuple(names))
        _check(whole.fill(dict.fromkeys(names, b"x")))
        return whole

    @property
    def host(self) -> str:
        """The host, and its port if it names one: what errors may say of the URL."""
        return urlsplit(self.literals[0]).netloc.rpartition("@")[2]

    @property
    def has_user(self) -> bool:
        """Whether it names a user, with a password perhaps."""
        return "@" in urlsplit(self.literals[0]).netloc

    def fill(self, captures: Mapping[str, bytes]) -> str:
        """The URL. ValueError where a key would lead elsewhere on the host."""
        if sum(map(len, captures.values())) > URL_MAX:
            raise ValueError(f"its URL would be longer than {URL_MAX} bytes")
        url = self.literals[0] + "".join(
            quote(captures[name], safe="") + literal
            for name, literal in zip(self.names, self.literals[1:], strict=True)
        )
        # Dots are never percent-encoded (RFC 3986 2.3), so a capture could climb: users/../admin.
        if _DOTS.match(url):
            raise ValueError("a part of its path would be . or ..")
        return url


@dataclass(frozen=True, slots=True)
class TagTemplate:
    """A tag with captures of its loader's match."""

    text: str
    literals: tuple[bytes, ...]
    names: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> TagTemplate:
        """ValueError with what is wrong."""
        literals, names = _pieces(text)
        if not text or literals[0].startswith("}"):
            raise ValueError("a tag is not empty and does not begin with '}'")
        return cls(text, tuple(literal.encode() for literal in literals), tuple(names))

    def __str__(self) -> str:
        return self.text

    def fill(self, captures: Mapping[str, bytes]) -> bytes:
        return self.literals[0] + b"".join(
            captures[name] + literal
            for name, literal in zip(self.names, self.literals[1:], strict=True)
        )


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
    except ValueError:  # its words quote the URL, password and all
        raise ValueError from None
    if scheme not in ("http", "https") or not host:
        raise ValueError


def _pieces(text: str) -> tuple[list[str], list[str]]:
    """The literals and the names of the captures between them."""
    literals, names = [""], list[str]()
    for piece in _PIECE.finditer(text):
        if piece["lone"]:
            what = "opened and not closed" if piece[0] == "{" else "closed and not opened"
            brace = piece[0] * 2
            raise ValueError(
                f"a brace is {what} at character {piece.start() + 1} ({brace} is a literal one)"
            )
        if (name := piece["name"]) is None:
            literals[-1] += piece[0][0] if piece["escaped"] else piece[0]
        elif not name:
            raise ValueError("a capture has no name: {}")
        elif not _NAME.fullmatch(name):
            raise ValueError(f"{{{name}}} is no name: letters, digits and _")
        else:
            names.append(name)
            literals.append("")
    return literals, names
