"""Many strings at once, as MGET has them: most pass on as the bytes that came.

    reply of the server ─▶ Strings.of ─▶ absent: which are nil ─▶ fill ─▶ encoded, in one piece

To read a thousand values and to write them again costs eight times what passing them on does
(tests.bench.mgetorset). Refuses whatever is no array of so many strings and nulls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Self, overload

from ..errors import OddReply
from .kernel import Cutter, fit

_NIL: Final = b"_\r\n"
_ALL: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Known:
    """Strings of which some are there already: an array in which the others are left out, and
    where in its bytes those belong."""

    told: bytes
    gaps: list[int] = field(default_factory=list[int])
    missing: list[bytes] = field(default_factory=list[bytes])  # their keys

    @property
    def count(self) -> int:
        return int(self.told[1 : self.told.index(b"\r")])


class Strings(Sequence[bytes | None]):
    """An array of strings and nulls. ``fill`` puts values where nulls came."""

    def __init__(
        self, pieces: list[bytes], absent: list[int], count: int, known: Known | None = None
    ) -> None:
        self._count = count
        self.absent = absent  # of those that were asked for, which are null
        self._pieces = pieces  # what stands around those: one piece more
        self._found: Sequence[bytes | None] = [None] * len(absent)
        self._known = known
        self._read: list[bytes | None] | None = None

    def __repr__(self) -> str:
        return f"<Strings absent={len(self.absent)}>"

    @classmethod
    def of(cls, reply: bytes, count: int, known: Known | None = None) -> Self:
        """The reply to an MGET of so many keys; ``known``: what it is a part of. OddReply."""
        head = b"*%d\r\n" % count
        cutter = Cutter()
        cutter.places = []
        begin = len(head)
        end = cutter.cut(reply, begin, count) if reply.startswith(head) else 0
        whole = end == len(reply) and cutter.done == count and not cutter.inside
        if not whole or cutter.bulks + cutter.nulls != count:
            raise OddReply("MGET")
        if len(cutter.places) == cutter.nulls:
            places = [(at, at + len(_NIL)) for at in cutter.places]
        else:
            places = _nulls_of_resp2(reply, begin, count)
        pieces: list[bytes] = []
        absent: list[int] = []
        at = 0
        for null, behind in places:
            pieces.append(reply[begin:null])
            cutter.cut(pieces[-1], 0, _ALL)
            at += cutter.done
            absent.append(at)
            at += 1
            begin = behind
        pieces.append(reply[begin:])
        return cls(pieces, absent, count if known is None else known.count, known)

    @classmethod
    def near(cls, known: Known) -> Self:
        """All of them are known."""
        assert not known.gaps
        return cls([b""], [], known.count, known)

    def fill(self, found: Sequence[bytes | None]) -> None:
        """A value for each that was absent, or None, in their order."""
        assert len(found) == len(self.absent)
        self._found, self._read = found, None

    def encoded(self, nil: bytes) -> bytes:
        """The array, its nulls as the client's protocol has them."""
        known = self._known
        null = nil if known is None else _NIL
        parts: list[bytes] = []
        for piece, value in zip(self._pieces, self._found, strict=False):
            parts.append(piece)
            parts.append(null if value is None else b"$%d\r\n%b\r\n" % (len(value), value))
        parts.append(self._pieces[-1])
        if known is None:
            return b"*%d\r\n%b" % (self._count, b"".join(parts))
        return fit(known.told, known.gaps, b"".join(parts), 0, nil, [])[0]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> bytes | None: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[bytes | None]: ...
    def __getitem__(self, at: int | slice) -> bytes | Sequence[bytes | None] | None:
        return self._values()[at]

    def __iter__(self) -> Iterator[bytes | None]:
        return iter(self._values())

    def _values(self) -> list[bytes | None]:
        """Read, for those who want them as values: HTTP."""
        if self._read is None:
            self._read = list(_strings_in(self.encoded(_NIL)))
        return self._read


def _nulls_of_resp2(reply: bytes, at: int, count: int) -> list[tuple[int, int]]:
    """Where each null begins and ends. One by one: only servers without RESP3 have these."""
    cutter, found = Cutter(), list[tuple[int, int]]()
    for _ in range(count):
        begin, at = at, cutter.cut(reply, at, 1)
        if cutter.nulls:
            found.append((begin, at))
    return found


def _strings_in(text: bytes) -> Iterator[bytes | None]:
    at = text.index(b"\n") + 1
    while at < len(text):
        end = text.index(b"\n", at) + 1
        if text.startswith(b"_", at):
            yield None
            at = end
        else:
            size = int(text[at + 1 : end - 2])
            yield text[end : end + size]
            at = end + size + 2
