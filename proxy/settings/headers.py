"""The headers that a url loader sends, with what stands elsewhere put into them.

    headers = { Authorization = "Bearer ${TOKEN}", X-Key = "${file:/run/secrets/key}" }

``${NAME}`` is a variable of the environment, ``${file:PATH}`` what a file has, and ``$${`` is a
literal ``${``. They are looked up whenever the settings are read. Any value may be a secret: none
is in a mistake's words, and ``Headers`` shows its names alone. loaders.py calls ``headers_of``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

MOST: Final = 64
NAME_MAX: Final = 128
VALUE_MAX: Final = 8192  # what many servers take

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_VALUE: Final = re.compile(r"[!-~](?:[ -~\t]*[!-~])?")
_PIECE: Final = re.compile(r"(?P<literal>\$\$\{)|\$\{(?P<name>[^{}]*)\}|(?P<open>\$\{)")
_VARIABLE: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)

_CONNECTION: Final = "it is about one connection, and those are Nearhit's"
_BODY: Final = "Nearhit sends it itself"
_CONDITION: Final = "Nearhit asks conditionally by itself"
# By their names in small letters, why they are not to be given.
REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization",
            "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
        ),
        _CONNECTION,
    ),
    **dict.fromkeys(("content-encoding", "content-length", "content-type", "host"), _BODY),
    **dict.fromkeys(
        ("if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since"),
        _CONDITION,
    ),
    "range": "a part of a value is no value",
}  # fmt: skip


@dataclass(frozen=True, slots=True, repr=False)
class Headers:
    """Names and values, in the order of the file."""

    pairs: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"<Headers {self}>"

    def __str__(self) -> str:
        return ", ".join(name for name, _ in self.pairs)

    def __contains__(self, name: str) -> bool:
        return any(one.lower() == name.lower() for one, _ in self.pairs)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where values may stand beside the settings file. ``read`` gives a file's text, or OSError
    and UnicodeDecodeError."""

    environ: Mapping[str, str]
    read: Callable[[str], str]

    def __repr__(self) -> str:
        return f"<Elsewhere {len(self.environ)} variables>"

    def put_into(self, text: str) -> str:
        """The text with what its ``${...}`` stand for. ValueError, no value in its words."""

        def found(piece: re.Match[str]) -> str:
            if piece["literal"]:
                return "${"
            if piece["open"]:
                raise ValueError("a ${ is not closed ($${ is a literal one)")
            name: str = piece["name"]
            if name.startswith("file:"):
                return self._of_file(name.removeprefix("file:"))
            if not _VARIABLE.fullmatch(name):
                raise ValueError("${...} has the name of a variable in it, or file:/path")
            if not (value := self.environ.get(name)):
                raise ValueError(f"the variable {name} is not set, or empty")
            return value

        return _PIECE.sub(found, text)

    def _of_file(self, path: str) -> str:
        """What stands in a file, but for the end of its line."""
        try:
            text = self.read(path).rstrip("\r\n")
        except OSError as error:
            raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not UTF-8 text") from None
        if not text:
            raise ValueError(f"{path} is empty")
        return text


def headers_of(
    table: Mapping[str, object], elsewhere: Elsewhere
) -> Iterator[tuple[str, str | ValueError]]:
    """Each name with its value, or with what is wrong with it."""
    seen: set[str] = set()
    for at, (name, value) in enumerate(table.items()):
        try:
            _check_name(name, seen, at)
            if not isinstance(value, str):
                raise ValueError("it is not in quotes")
            yield name, _checked(elsewhere.put_into(value))
        except ValueError as error:
            yield name, error


def _check_name(name: str, seen: set[str], at: int) -> None:
    low = name.lower()
    if not _NAME.fullmatch(name) or len(name) > NAME_MAX:
        raise ValueError("it is no name of a header: letters, digits and -")
    if low in REFUSED:
        raise ValueError(f"it cannot be given: {REFUSED[low]}")
    if low in seen:
        raise ValueError("it is there twice")
    if at >= MOST:
        raise ValueError(f"more than {MOST} headers")
    seen.add(low)


def _checked(value: str) -> str:
    if not value:
        raise ValueError("it is empty")
    if not _VALUE.fullmatch(value):
        raise ValueError(
            "its value has a line break, a space at its begin or end, or what is not ASCII"
        )
    if len(value) > VALUE_MAX:
        raise ValueError(f"its value is longer than {VALUE_MAX} bytes")
    return value
