"""The pure-Python twin of _kernel.pyx, for where no compiler was at hand: same names, same answers.

The semantics are described once, in the compiled kernel's docstrings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ..near.index import Index
from ..near.sketch import Sketch
from ..near.worth import Worth
from . import _hashes_py, _packing_py, _runs_py
from ._heads_py import COUNT_MAX, short, too_large
from ._words_py import ARGS_MAX, BULK_MAX, count_at, keys_read, name_of, words_at
from .routes import FULL, MORE, Route

# Plain integers: an enum's member costs a comparison more time.
ODD: Final = int(Route.ODD)
PLAIN: Final = int(Route.PLAIN)
READ: Final = int(Route.READ)
NEAR: Final = int(Route.NEAR)
NEAR_MANY: Final = int(Route.NEAR_MANY)
TELL: Final = int(Route.TELL)
FAR_ANY: Final = int(Route.FAR_ANY)
# What this form of the kernel takes for the routes, as the compiled one has it.
ROUTES: Final[Mapping[str, int]] = {
    "MORE": MORE,
    "FULL": FULL,
    "ODD": ODD,
    "PLAIN": PLAIN,
    "READ": READ,
    "NEAR": NEAR,
    "NEAR_MANY": NEAR_MANY,
    "TELL": TELL,
    "FAR_ANY": FAR_ANY,
}

hash_slot, mix = _hashes_py.hash_slot, _hashes_py.mix
pack_keys, pack_sets = _packing_py.pack_keys, _packing_py.pack_sets
fit, spread, weave = _runs_py.fit, _runs_py.spread, _runs_py.weave

DRY: Final = 0
DONE: Final = 1
PUSH: Final = 2
BROKEN: Final = 3

NAME_MAX: Final = 32
RUN_MAX: Final = 256
TOLD_MAX: Final = 64 * 1024
MANY_MAX: Final = 1024
MANY_TOLD_MAX: Final = 4 * 1024 * 1024
FREQ_MAX: Final = 7

_HEAD: Final = re.compile(rb"(-?)([0-9]+)\r")
_HEAD_START: Final = re.compile(rb"-?[0-9]*|-?[0-9]+\r")
_PLAIN_HEAD_START: Final = re.compile(rb"(?:(?:0|[1-9][0-9]*)\r?)?")  # of a request

_AT_TYPE, _AT_COUNT, _AT_LINE, _AT_BULK = range(4)

_COUNTED: Final = frozenset(b"$*%~>=!|")
_LINES: Final = frozenset(b"+-:_#,(")
_BULKS: Final = frozenset(b"$=!")


class RouteMap:
    def __init__(
        self, routes: Mapping[bytes, int], groups: Mapping[bytes, int] | None = None
    ) -> None:
        for name in routes:
            if not 0 < len(name) <= NAME_MAX or name != name.upper():
                raise ValueError(
                    f"not a command name of 1 to {NAME_MAX} upper-case bytes: {name!r}"
                )
        self._routes = dict(routes)
        self._groups = dict(groups or {})
        self.asking = self.writing = 0
        self.end = self.last = self.words = self.nils = self.missing = self.reads = 0
        self.route = MORE
        self.tells = False
        self.told: bytes | None = None
        self.asked: bytes | None = None
        self.gaps: list[int] = []
        self.doubts: list[tuple[int, bytes]] = []
        self.sampled: list[int] = []
        self.worth: Worth | None = None
        self.marks: bytes | None = None

    def get(self, name: bytes) -> int:
        return self._routes.get(name.upper(), ODD)

    def group(self, name: bytes) -> int:
        name = name.upper()
        return self._groups.get(name, 0) if name in self._routes else 0

    def key(self, data: bytes, pos: int) -> bytes | None:
        found = words_at(data, pos)
        if found is None or len(found[0]) < 2:
            return None
        words, self.end = found
        self.words, self.route = len(words), self.get(words[0])
        return words[1]

    def hash_slot(self, data: bytes, pos: int) -> int:
        self.end = pos
        found = words_at(data, pos)
        if found is None or len(found[0]) < 2 or self.get(found[0][0]) != PLAIN:
            return -1
        words, self.end = found
        return hash_slot(words[1])

    def near(
        self,
        data: bytes,
        pos: int,
        limit: int,
        index: Index,
        sketch: Sketch,
        now: float,
        flat: bool,
        mixed: bool,
    ) -> int:
        nil, begin = b"$-1\r\n" if flat else b"_\r\n", pos
        told: list[bytes] = []
        asked: list[bytes] = []
        self.told, self.nils, self.end = None, 0, pos
        self.gaps, self.doubts, self.sampled = [], [], []
        total, count = 0, 0
        while count < min(limit, RUN_MAX):
            key = self.key(data, pos)
            if key is None or self.words != 2 or self.route != NEAR:
                break
            hashed = hash(key) ^ index.salt
            sample = sketch.sampled and not hashed >> 20 & 63
            if sample and not (asked and mixed):
                break
            entry = index.get(key)
            if entry is not None and entry.deadline > now:
                reply = entry.reply or nil
                if (asked and not mixed) or (count and total + len(reply) > TOLD_MAX):
                    break
                entry.freq = min(entry.freq + 1, FREQ_MAX)
                self.nils += entry.reply is None
                total += len(reply)
                told.append(reply)
            elif told and not asked:
                break
            else:
                if entry is not None or not sketch.first_sight(hashed):
                    if not mixed:
                        break
                    self.doubts.append((len(asked), key))
                self.gaps.append(total)
                asked.append(data[pos : self.end])
            if sample:
                self.sampled.append(hashed)
            count += 1
            pos = self.end
        if count == 1 and self.doubts:
            count, pos = 0, begin
        self.end, self.missing = pos, len(asked)
        if count and (told or self.doubts):
            self.told, self.asked = b"".join(told), b"".join(asked)
        return count

    def many(
        self, data: bytes, pos: int, index: Index, sketch: Sketch, now: float, flat: bool
    ) -> int:
        self.end, self.told = pos, None
        self.asked, self.gaps, self.doubts = None, [], []
        words, end = words_at(data, pos) or ([], pos)
        name, *keys = words or [b""]
        if not 0 < len(keys) <= MANY_MAX or self.get(name) != NEAR_MANY:
            return 0
        nil, missing = b"$-1\r\n" if flat else b"_\r\n", list[bytes]()
        found = {key: index.get(key) for key in keys}
        there = {key: entry for key, entry in found.items() if entry and entry.deadline > now}
        told = [b"*%d\r\n" % len(keys)]
        told += [there[key].reply or nil if key in there else b"" for key in keys]
        if sum(map(len, told)) > MANY_TOLD_MAX:
            return 0
        hashes = [hash(key) ^ index.salt for key in keys]
        self.sampled = [each for each in hashes if sketch.sampled and not each >> 20 & 63]
        for at, key in enumerate(keys):
            if key in there:
                there[key].freq = min(there[key].freq + 1, FREQ_MAX)
                continue
            if found[key] or not sketch.first_sight(hashes[at]):
                self.doubts.append((len(missing), key))
            self.gaps.append(sum(map(len, told[: at + 1])))
            missing.append(key)
        self.end, self.nils = end, sum(key in there and not there[key].reply for key in keys)
        if there or self.doubts:
            self.told = b"".join(told)
            self.asked = pack_keys(b"MGET", missing, b"", b"") if missing else None
        return len(keys)

    def part(self, data: bytes, start: int, end: int) -> bytes:
        return data[start:end]

    def scan(self, data: bytes, pos: int, limit: int) -> int:
        size, count, marks, self.route, self.tells = len(data), 0, bytearray(), MORE, False
        self.asking = self.writing = 0
        limit = min(limit, RUN_MAX)
        while pos < size:
            if count >= limit:
                self.route = FULL
                break
            behind, self.route = _one(data, pos, size, self)
            if behind == pos:
                break
            if self.worth is not None and self.route in (READ, FAR_ANY):
                keys = keys_read(data, pos)
                for key in keys:
                    self.worth.note(mix(key), len(keys))
            marks.append(self.route == READ)
            group = self.group(name_of(data, pos)) if self._groups else 0
            self.asking += group & 1
            self.writing += group >> 1
            self.tells |= self.route in (TELL, FAR_ANY)
            self.last, pos = pos, behind
            count += 1
            self.route = MORE
        self.end, self.reads = pos, sum(marks)
        self.marks = bytes(marks) if 0 < self.reads < count else None
        return count


def _one(data: bytes, pos: int, end: int, routes: RouteMap) -> tuple[int, int]:
    """The request at pos: (offset behind it, its class) where it is PLAIN or READ, or (pos,
    route)."""
    if data[pos] != 0x2A:
        return pos, ODD
    args, at = count_at(data, pos + 1)
    if at < 0:
        return pos, MORE if at == -1 else ODD
    if args == 0 or args > ARGS_MAX:
        return pos, ODD
    kind = ODD
    for i in range(args):
        if at == end:
            return pos, MORE
        if data[at] != 0x24:
            return pos, ODD
        size, at = count_at(data, at + 1)
        if at < 0:
            return pos, MORE if at == -1 else ODD
        if size > BULK_MAX:
            return pos, ODD
        if at + size + 2 > end:
            return pos, ODD if i == 0 and size > NAME_MAX else MORE
        if data[at + size : at + size + 2] != b"\r\n":
            return pos, ODD
        if i == 0:
            kind = routes.get(data[at : at + size])
            if kind not in (PLAIN, READ, TELL, FAR_ANY):
                return pos, kind
        at += size + 2
    return at, kind


class Cutter:
    def __init__(self, requests: bool = False) -> None:
        self._requests = requests
        self.done = 0
        self.bulks: int = 0
        self.nulls: int = 0
        self.errors = 0
        self.places: list[int] | None = None
        self.stop = DRY
        self._pending = 0
        self.skip = 0
        self._state = _AT_TYPE
        self._kind: int = 0
        self._head = b""

    @property
    def inside(self) -> bool:
        return self._pending != 0 or self._state != _AT_TYPE

    def cut(self, data: bytes, pos: int, want: int, pushes: bool = False) -> int:
        self.stop, self.done, self.bulks, self.nulls, self.errors = DRY, 0, 0, 0, 0
        end = len(data)
        while pos < end:
            if self._state == _AT_TYPE:
                if not self._open(data[pos], pushes):
                    return pos
                if data[pos] == 0x5F and self.places is not None:
                    self.places.append(pos)
                pos += 1
            elif self._state == _AT_BULK:
                step = min(self.skip, end - pos)
                if self._requests and not self._line_end(data[pos : pos + step]):
                    self.stop = BROKEN
                    return pos
                self.skip -= step
                pos += step
                if self.skip:
                    return pos
                self.bulks += self._kind == 0x24
                self._close()
            else:
                line = data.find(b"\n", pos)
                if self._state == _AT_COUNT:
                    self._head += data[pos : end if line < 0 else line]
                    start = _PLAIN_HEAD_START if self._requests else _HEAD_START
                    whole = start.fullmatch(self._head) is not None
                    self._head = short(self._head)
                    if not whole or too_large(self._head):
                        self.stop = BROKEN
                        return pos
                if line < 0:
                    return end
                pos = line + 1
                if self._state == _AT_LINE:
                    self.nulls += self._kind == 0x5F
                    self._close()
                elif not self._counted():
                    return pos
            if self._pending == 0 and self._state == _AT_TYPE:
                self.done += 1
                if self.done == want:
                    self.stop = DONE
                    return pos
        return pos

    def part(self, data: bytes, start: int, end: int) -> bytes:
        return data[start:end]

    def flat(self, data: bytes, pos: int, at: int) -> bytes:
        parts: list[bytes] = []
        for place in self.places or ():
            parts += [data[pos:place], b"$-1"]
            pos = place + 1
        return b"".join([*parts, data[pos:at]])

    def _open(self, kind: int, pushes: bool) -> bool:
        """Take a type byte; False where the caller must stop."""
        if self._pending == 0 and kind == 0x3E and not pushes:
            self.stop = PUSH
            return False
        if self._requests and kind != (0x24 if self._pending else 0x2A):
            self.stop = BROKEN
            return False
        self._kind = kind
        if kind in _COUNTED:
            self._state, self._head = _AT_COUNT, b""
        elif kind in _LINES:
            self._state = _AT_LINE
        else:
            self.stop = BROKEN
            return False
        if not self._pending:
            self._pending = 1
            self.errors += kind == 0x2D
        return True

    def _line_end(self, step: bytes) -> bool:
        """Whether those bytes of a bulk's CRLF that lie in the next step are the right ones."""
        first = max(0, self.skip - 2)
        left = b"\r\n"[2 - min(2, self.skip) :]
        return step[first:] == left[: max(0, len(step) - first)]

    def _close(self) -> None:
        """One element is complete."""
        self._state = _AT_TYPE
        self._pending -= 1

    def _counted(self) -> bool:
        """Act on a whole count line; False when it is not one."""
        found = _HEAD.fullmatch(self._head)
        odd = found is not None and (found[1] or (found[2][0] == 0x30 and len(found[2]) > 1))
        if found is None or int(found[2]) > COUNT_MAX or (self._requests and odd):
            self.stop = BROKEN
            return False
        negative, value = bool(found[1]), int(found[2])
        if self._kind in _BULKS and not negative:
            self.skip, self._state = value + 2, _AT_BULK
            return True
        self._state = _AT_TYPE
        if self._kind == 0x7C:  # before a reply, and none itself
            self._pending += 0 if negative else 2 * value
            return True
        self._pending -= 1
        self.nulls += negative and self._kind == 0x24
        if self._kind not in _BULKS and not negative:
            self._pending += 2 * value if self._kind == 0x25 else value
        return True


def split(data: bytes, pos: int) -> tuple[list[bytes], int] | tuple[None, int]:
    end = len(data)
    if pos >= end or data[pos] != 0x2A:
        return None, 0
    args, at = count_at(data, pos + 1)
    if at < 0 or not 0 < args <= ARGS_MAX:
        return None, 0
    words: list[bytes] = []
    for left in range(args - 1, -1, -1):
        if at == end:
            return None, end - pos + max(1, 6 * left)
        if data[at] != 0x24:
            return None, 0
        size, start = count_at(data, at + 1)
        if start == -1:
            return None, end - pos + max(1, 6 * left)
        if start < 0 or size > BULK_MAX:
            return None, 0
        at = start + size + 2
        if at > end:
            return None, at - pos + 6 * left
        if data[at - 2 : at] != b"\r\n":
            return None, 0
        words.append(data[start : at - 2])
    return words, at
