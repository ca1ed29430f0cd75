"""The keys that ``nearhit warm`` and ``nearhit invalidate`` are about: given as words, read from a
file, written as a pattern, or looked up in the server that has them.

Makes streams, never a list of all keys, and counts them where that costs little. Mistakes are
raised before the first key is given. Sends nothing but SCAN: what is done with the keys is
bulk.py, which calls ``keys_of``."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from ..keys.braces import expand
from ..keys.glob import literal_prefix
from ..settings.config import ConfigError, load
from ..settings.loaders import LoaderSettings
from .reach import linked

_WILD: Final = "*?["


class Mistake(Exception):
    """What was asked for cannot be done as it was put: a line for each reason."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys, once; ``count`` is None where only the end will tell."""

    count: int | None
    stream: Iterator[bytes]


def keys_of(
    given: Sequence[bytes],
    source: str | None,
    patterns: Sequence[str],
    loaders: Loaders,
    stack: contextlib.ExitStack,
) -> Keys:
    """All of them: the words, then the file's, then the patterns'. The stack closes what is opened.
    Mistake: there are none, or they cannot be had. StartError: their server cannot be reached."""
    if not given and source is None and not patterns:
        raise Mistake("no keys: name some, or use --from FILE or --pattern PATTERN")
    parts = [Keys(len(given), iter(given))]
    if source is not None:
        parts.append(_from_file(source))
    parts += [_from_pattern(pattern, loaders, stack) for pattern in patterns]
    counts = [part.count for part in parts]
    known = [count for count in counts if count is not None]
    return Keys(
        sum(known) if len(known) == len(counts) else None,
        itertools.chain.from_iterable(part.stream for part in parts),
    )


# --- Files ------------------------------------------------------------------------------------


def _from_file(source: str) -> Keys:
    if source == "-":
        return Keys(None, _lines(sys.stdin.buffer))
    path = Path(source)
    # A pipe can be read but once: how many there are shows at its end.
    count = None if path.is_fifo() else sum(1 for _ in _read(path))
    return Keys(count, _read(path))


def _read(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from _lines(file)
    except OSError as error:
        raise Mistake(f"--from: cannot read {path}: {error.strerror}") from None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """A key on each line, whatever its bytes but for the line's end; empty lines are none."""
    for line in file:
        key = line.removesuffix(b"\n").removesuffix(b"\r")
        if key:
            yield key


# --- Patterns ---------------------------------------------------------------------------------


class Loaders:
    """The loaders of a settings file, which is read only when a pattern asks for one; a ``name``
    chooses one of them, else the most literal match does."""

    def __init__(self, config: str | None, name: str | None) -> None:
        self._config = config
        self._name = name

    def server_of(self, pattern: str) -> str:
        """The URL of the server that has the keys of a pattern. Mistake: no loader names one."""
        loader = self._find(pattern)
        if loader.redis is None:
            raise Mistake(
                f"--pattern {pattern}: loader '{loader.name}' has its values from {loader.source}, "
                "which cannot be asked for its keys; write them out: {1..100}, or --from FILE"
            )
        return loader.redis

    def _find(self, pattern: str) -> LoaderSettings:
        if self._config is None:
            raise Mistake(
                f"--pattern {pattern}: to look up keys, --config FILE must tell "
                "which loader, one with redis = URL, has them"
            )
        loaders = self._read(self._config)
        if self._name is not None:
            fitting = [loader for loader in loaders if loader.name == self._name]
        else:
            prefix = literal_prefix(os.fsencode(pattern))
            fitting = [loader for loader in loaders if prefix.startswith(loader.match.head)]
        if not fitting:
            which = f"is called '{self._name}'" if self._name else "is for such keys"
            raise Mistake(f"--pattern {pattern}: no loader in {self._config} {which}")
        return max(fitting, key=lambda loader: len(loader.match.head))

    @staticmethod
    def _read(config: str) -> Sequence[LoaderSettings]:
        try:
            return load(
                {"config": config}, os.environ, lambda path: Path(path).read_text("utf-8")
            ).loaders
        except ConfigError as error:
            raise Mistake("\n".join(error.mistakes)) from None


def _from_pattern(pattern: str, loaders: Loaders, stack: contextlib.ExitStack) -> Keys:
    expanded = expand(pattern)
    if not any(sign in pattern for sign in _WILD):
        return Keys(expanded.count, map(os.fsencode, expanded))
    link = stack.enter_context(linked(loaders.server_of(pattern)))
    found = (link.scan(os.fsencode(glob)) for glob in expanded)
    return Keys(None, itertools.chain.from_iterable(found))
