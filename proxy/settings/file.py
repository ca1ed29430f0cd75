"""The settings file: TOML text as values, and the line on which each stands.

Knows no setting: config.py and loaders.py read what is in it. Pure: the caller gives the text."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A well-formed file; an empty one stands for none."""

    path: str = ""
    document: Mapping[str, object] = field(default_factory=dict[str, object])
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict[tuple[str, ...], int])

    @classmethod
    def of(cls, path: str, read: Callable[[str], str]) -> SettingsFile:
        """The file at the path. ValueError with the line where it is no TOML; OSError and
        UnicodeDecodeError of ``read``."""
        text = read(path)
        try:
            return cls(path, tomllib.loads(text), _lines(text))
        except tomllib.TOMLDecodeError as error:
            raise ValueError(_syntax(path, text, str(error))) from None

    def origin(self, *key: str) -> str:
        """``nearhit.toml:7``: where the key stands, or the table around it."""
        while key not in self.lines:
            key = key[:-1]
        return f"{self.path}:{self.lines[key]}"


def _syntax(path: str, text: str, error: str) -> str:
    """A complaint of tomllib, with its place in front as all mistakes have it."""
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
            name, content = next(iter(cast("dict[str, object]", content).items()))
            path = (*path, name)
            found.setdefault(path, begin)
        table = path if is_table else table
        statement, begin = "", number + 1
    return found
