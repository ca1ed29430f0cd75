"""Scripts and functions that swap databases, known by their text as it passes.

The server tells nobody of SWAPDB, and what it changes is every key of two databases. A text that
names it is taken to do it. What was loaded past this process, or builds the name, is noticed by the
server's own count of SWAPDB, within a second (process/swaps.py). Asked by acts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha1
from typing import Final

# Scripts that are remembered; those beyond are noticed by the server's count.
SCRIPTS_MAX: Final = 1024
_NAMED: Final = re.compile(rb"swapdb", re.IGNORECASE)
_EVAL: Final = frozenset({b"EVAL", b"EVAL_RO"})
_EVALSHA: Final = frozenset({b"EVALSHA", b"EVALSHA_RO"})
_FCALL: Final = frozenset({b"FCALL", b"FCALL_RO"})


class Swapping:
    __slots__ = ("_functions", "_scripts")

    def __init__(self) -> None:
        self._scripts: dict[bytes, None] = {}  # by their hash, the oldest first
        self._functions = False  # of the libraries loaded here, any

    def __repr__(self) -> str:
        return f"<Swapping scripts={len(self._scripts)} functions={self._functions}>"

    def loaded(self, args: Sequence[bytes]) -> None:
        """A request that loads a script or a library passes."""
        if not any(map(_NAMED.search, args[2:])):
            return
        if args[0].upper() == b"FUNCTION":
            self._functions = True
        else:
            self._remember(args[2])

    def may_swap(self, args: Sequence[bytes]) -> bool:
        """Whether a request runs what names SWAPDB."""
        name, what = args[0].upper(), args[1] if len(args) > 1 else b""
        if name in _EVAL and _NAMED.search(what):
            self._remember(what)
            return True
        if name in _EVALSHA:
            return what.lower() in self._scripts
        return name in _FCALL and self._functions

    def _remember(self, text: bytes) -> None:
        if len(self._scripts) >= SCRIPTS_MAX:
            del self._scripts[next(iter(self._scripts))]
        # The server's own name for it, no matter of secrets.
        self._scripts[sha1(text, usedforsecurity=False).hexdigest().encode()] = None
