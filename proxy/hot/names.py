# cython: annotation_typing=False, language_level=3
# cython: boundscheck=False, wraparound=False
"""Which commands a client has sent already: how large the replies to others are nobody knows yet.

A window that small replies have opened must not let out hundreds of the next command at once, each
of whose replies may be of megabytes. Looks at the command that a read begins with, no further."""

from __future__ import annotations

# More than so many, and all are forgotten: a client may invent names.
NAMES_MAX = 32
# Of "$6\r\nLRANGE", from the length on.
SIZE = 10
# How far behind its beginning a request of less than ten words has its name.
SHORT = 4
_DOLLAR, _SIZE, _SHORT = ord("$"), SIZE, SHORT


class Names:
    def __init__(self) -> None:
        self.last = b""
        self.known: set[bytes] = set()

    def __repr__(self) -> str:
        return f"<Names {len(self.known)}>"

    def _unknown(self, data: bytes, pos: int) -> bool:
        """Whether the request at pos is the first of its command; it is known from now on."""
        # Behind "*2\r\n", "*123\r\n"; what is written otherwise is a name of its own. Without a
        # call: this is asked for every read.
        start = pos + _SHORT
        end = min(len(data), start + _SHORT)
        while start < end and data[start] != _DOLLAR:
            start += 1
        # Most often it is the command of the read before: compared in place, for a slice of so few
        # bytes would cost more than all else here.
        last, at = self.last, 0
        if start + _SIZE <= len(data) and len(last) == _SIZE:
            while at < _SIZE and data[start + at] == last[at]:
                at += 1
            if at == _SIZE:
                return False
        name = data[start : start + _SIZE]
        if name == last:
            return False
        self.last = name
        if name in self.known:
            return False
        if len(self.known) >= NAMES_MAX:
            self.known.clear()
        self.known.add(name)
        return True

    def unknown(self, data: bytes, pos: int) -> bool:
        return self._unknown(data, pos)
