"""Scripts that clients have loaded through us: nodes that are new, or are started again, have none.

    SCRIPT LOAD body, to all nodes ─▶ saw ─▶ by SHA1 ─┬▶ load_for(EVALSHA ...), once a node lacks it
                                                      └▶ loads(MULTI ... EXEC), before each

Owns the bodies, which are bounded: the longest unused goes. What another proxy has loaded, or a
client with EVAL, is not here: NOSCRIPT is the answer then, as from a server that was started
again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha1
from typing import Final

from ..resp.kernel import split
from ..resp.requests import encode

COUNT_MAX: Final = 10_000
BYTES_MAX: Final = 32 * 1024 * 1024
_BY_SHA: Final = frozenset({b"EVALSHA", b"EVALSHA_RO"})


class Scripts:
    def __init__(self) -> None:
        self._bodies: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Scripts {len(self)} bytes={self._bytes}>"

    def __len__(self) -> int:
        return len(self._bodies)

    def saw(self, words: Sequence[bytes]) -> None:
        """A request goes to all nodes: it may load a script, or flush all."""
        if len(words) < 2 or words[0].upper() != b"SCRIPT":
            return
        sub = words[1].upper()
        if sub == b"FLUSH":
            self._bodies.clear()
            self._bytes = 0
        elif sub == b"LOAD" and len(words) == 3:
            self._keep(words[2])

    def _keep(self, body: bytes) -> None:
        sha = sha1(body, usedforsecurity=False).hexdigest().encode()
        if sha not in self._bodies:
            self._bytes += len(body)
        self._bodies[sha] = body
        self._bodies.move_to_end(sha)
        while self._bytes > BYTES_MAX or len(self._bodies) > COUNT_MAX:
            _, oldest = self._bodies.popitem(last=False)
            self._bytes -= len(oldest)

    def load_for(self, request: bytes) -> bytes | None:
        """The request that loads what this one calls by its SHA1; None: it is not known."""
        words, _ = split(request, 0)
        return None if words is None else self._load(words)

    def loads(self, transaction: bytes) -> list[bytes]:
        """The requests that load what these requests call by SHA1, as far as it is known: inside of
        a transaction it is too late to hear that a node lacks it."""
        if not self._bodies or b"EVALSHA" not in transaction.upper():
            return []
        found, pos = dict[bytes, None](), 0
        while pos < len(transaction):
            words, pos = split(transaction, pos)
            if words is None:
                break
            load = self._load(words)
            if load is not None:
                found[load] = None
        return list(found)

    def _load(self, words: Sequence[bytes]) -> bytes | None:
        if len(words) < 2 or words[0].upper() not in _BY_SHA:
            return None
        sha = words[1].lower()
        if sha not in self._bodies:
            return None
        self._bodies.move_to_end(sha)
        return encode([b"SCRIPT", b"LOAD", self._bodies[sha]])
