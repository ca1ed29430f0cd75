"""Reads of hashes, sets, sorted sets and lists on the tracked lane: the reply as the client's RESP
version has it, and what of it the near cache keeps.

    CLIENT CACHING YES, PTTL key ─▶ Fill (fills.py)
    HGETALL key ─────────────────▶ AnySlot   RESP3 ─▶ Flat, for RESP2 clients ─▶ client, and kept

Called by session.py for requests of route NEAR_ANY. What is kept is what was handed out. Refuses
errors, what is too large, and what says that a key is not there whose PTTL says that it is not."""

from __future__ import annotations

from typing import Final

from ..errors import ProxyError
from ..resp.kernel import split
from .answers import Answers, RunSlot
from .fills import NIL2, NIL3, Fill

# Of a field that expires the server may tell nobody until it looks for such fields itself (Valkey
# 9's HEXPIRE, Redis 7.4's), and PTTL says nothing of it: what hashes say is kept no longer.
FIELDS_MS: Final = 1000

_HEADS: Final = frozenset({b"HGETALL", b"SMEMBERS"})
_ITEMS: Final = frozenset({b"HGET", b"HMGET", b"ZSCORE"})
# What they say of a key that is not there.
_ABSENT: Final = frozenset({NIL3, b":0\r\n", b"%0\r\n", b"~0\r\n", b"+none\r\n"})


class Flat:
    """RESP3 as RESP2 has it, in any split."""

    __slots__ = ("_depth_one", "_only_head", "_pairs", "_rest", "_skip", "_through")

    def __init__(self, *, only_head: bool = False, pairs: bool = False) -> None:
        """``only_head``: behind the first line all is as it is. ``pairs``: an array of arrays of
        two is to be one array."""
        self._only_head = only_head
        self._pairs = pairs
        self._depth_one = True  # the next array is the outer one
        self._through = False
        self._skip = 0  # bytes of a bulk that are still to come
        self._rest = b""  # of a line that is not whole

    def feed(self, chunk: bytes) -> bytes:
        if self._through:
            return chunk
        data = self._rest + chunk if self._rest else chunk
        parts: list[bytes] = []
        pos = 0
        while pos < len(data):
            if self._skip:
                part = data[pos : pos + self._skip]
                self._skip -= len(part)
                pos += len(part)
                parts.append(part)
                continue
            end = data.find(b"\r\n", pos)
            if end < 0:
                break
            parts.append(self._line(data[pos:end]))
            pos = end + 2
            if self._only_head:
                self._through = True
                parts.append(data[pos:])
                pos = len(data)
        self._rest = data[pos:]
        return b"".join(parts)

    def _line(self, line: bytes) -> bytes:
        kind = line[:1]
        if kind == b"$":
            self._skip = int(line[1:]) + 2 if line[1:2] != b"-" else 0
        elif kind == b"%":
            return b"*%d\r\n" % (2 * int(line[1:]))
        elif kind == b"~":
            return b"*%b\r\n" % line[1:]
        elif kind == b",":
            return b"$%d\r\n%b\r\n" % (len(line) - 1, line[1:])
        elif kind == b"_":
            return NIL2
        elif kind == b"*" and self._pairs:
            outer, self._depth_one = self._depth_one, False
            return b"*%d\r\n" % (2 * int(line[1:])) if outer else b""
        return line + b"\r\n"


def flat_for(words: list[bytes]) -> Flat | None:
    """What makes RESP2 of the reply to these words, the name in capitals; None: it is the same."""
    name = words[0]
    if name in _HEADS:
        return Flat(only_head=True)
    if name in _ITEMS:
        return Flat()
    if name == b"ZRANGE" and b"WITHSCORES" in map(bytes.upper, words[4:]):
        return Flat(pairs=True)
    return None


def words_of(request: bytes) -> list[bytes]:
    """The words of a whole canonical request, the name in capitals."""
    words, _ = split(request, 0)
    assert words is not None
    words[0] = words[0].upper()
    return words


class AnySlot(RunSlot):
    """The reply to one such read; ``fill`` where it is to be kept."""

    __slots__ = ("_fill", "_flat", "_hash")

    def __init__(self, session: Answers, words: list[bytes], fill: Fill | None, flat: bool) -> None:
        super().__init__(session, 1)
        self._fill = fill
        self._flat = flat_for(words) if flat else None
        self._hash = words[0].startswith(b"H")

    def feed(self, chunk: bytes) -> None:
        fill = self._fill
        if fill is None or not fill.open:
            RunSlot.feed(self, self._told(chunk))
        elif not self.want:
            whole = fill.got + chunk
            told = self._told(whole)
            self._keep(fill, whole, told)
            RunSlot.feed(self, told)
        elif not fill.gather(chunk):
            RunSlot.feed(self, self._told(fill.got))  # too large: passed on as it comes

    def _told(self, chunk: bytes) -> bytes:
        return chunk if self._flat is None else self._flat.feed(chunk)

    def _keep(self, fill: Fill, whole: bytes, told: bytes) -> None:
        if whole.startswith((b"-", b"!")) or (fill.ttl_ms == -2 and not _absent(whole)):
            fill.give_up()
            return
        if fill.ttl_ms == -2:
            fill.ttl_ms = -1  # that it is not there holds until the server says otherwise
        elif self._hash and (fill.ttl_ms == -1 or fill.ttl_ms > FIELDS_MS):
            fill.ttl_ms = FIELDS_MS
        fill.keep(told)

    def fail(self, why: ProxyError, inside: bool) -> None:
        fill = self._fill
        gathered = fill is not None and fill.open
        if inside and not gathered:
            self.session.abort("the server went away in the middle of a reply")
        if fill is not None:
            fill.give_up()
        self.want = 0
        RunSlot.feed(self, why.line)


def _absent(whole: bytes) -> bool:
    """Whether a key that is not there is answered so; HMGET's nils are as many as its fields."""
    if whole in _ABSENT:
        return True
    head, _, items = whole.partition(b"\r\n")
    return head.startswith(b"*") and not items.replace(NIL3, b"")
