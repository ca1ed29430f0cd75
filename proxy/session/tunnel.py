"""A connection whose bytes pass as they are, and what is done about the keys that they may write.

    client bytes ─▶ Tunnel.watch ─▶ Passing:   pass them on
                                    Held:      first the leases of what they write are deleted
                                    Unwatched: nobody can tell what they write: the client is cut
    server bytes ─▶ Tunnel.heard ─▶ whether it is a tunnel at all: an error to its first request
                                    says that the connection is as it was

Replies are not counted in a tunnel, so that nobody knows when a write that passed has been done:
from the first one on the near cache is bypassed, for all, until the tunnel ends. What waits for
loads of the keys is told as ever (session/writes.py). Pure: berth.py holds and passes the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ..errors import ProtocolError
from ..keys.ours import lease_key
from ..resp.requests import Partial, integer_of, parse_request
from ..table.table import Table
from ..upstream.lane_key import LaneKey
from .context import Context

# A request that is larger is not read: what it writes is not known.
READ_MAX: Final = 64 * 1024
# So many databases may be the one that a tunnel is in now: its SELECTs are seen, their answers not.
DBS_MAX: Final = 16
# Leases of what may be queued, which EXEC must find deleted.
LEASES_MAX: Final = 4096

# Commands that write nothing, beside those that COMMAND calls read-only.
_HARMLESS: Final = frozenset(
    b"AUTH DISCARD ECHO HELLO MULTI PING PSUBSCRIBE PSYNC PUNSUBSCRIBE QUIT REPLCONF RESET SELECT "
    b"SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE SYNC UNSUBSCRIBE UNWATCH WATCH".split()
)


@dataclass(frozen=True, slots=True)
class Passing:
    """The bytes may pass."""


@dataclass(frozen=True, slots=True)
class Held:
    """The bytes may pass when these leases are deleted, in each of these databases."""

    leases: list[bytes]
    keys: list[LaneKey] = field(default_factory=list[LaneKey])


@dataclass(frozen=True, slots=True)
class Unwatched:
    """They write what nobody can tell, and loads may run for it."""


class Tunnel:
    __slots__ = (
        "_bypassing", "_context", "_keys", "_leases", "_line", "_opaque", "_part", "opening",
    )  # fmt: skip

    def __init__(
        self, context: Context, key: LaneKey, *, opening: bool, leases: Sequence[bytes] = ()
    ) -> None:
        """``opening``: the server answers the request that asks for the tunnel, be it with an
        error. ``leases``: of the keys that the open transaction writes."""
        self.opening = opening
        self._context = context
        self._keys = [key]  # of the databases that it may be in
        self._leases = list(leases)  # of all that EXEC may write
        self._part = b""  # of a request that is not whole
        self._line = b""  # of the first answer
        self._bypassing = False
        self._opaque = False  # what the client sends is no requests, or too large ones

    def __repr__(self) -> str:
        state = "opening" if self.opening else "bypassing" if self._bypassing else "open"
        return f"<Tunnel {state} dbs={[key.db for key in self._keys]}>"

    def heard(self, data: bytes) -> bool:
        """The server has said this while the tunnel opens. True: it has refused."""
        # Before it answers SYNC a server sends blank lines, that the link may live.
        self._line = (self._line + data).lstrip(b"\n")
        if self._line and not self._line.startswith(b"-"):
            self.opening = False
        return self.opening and self._line.endswith(b"\r\n")

    def watch(self, data: bytes) -> Passing | Held | Unwatched:
        """The client sends this."""
        table, near = self._context.table, self._context.near
        if near is None and not table.ours.voids:
            return Passing()
        words = None if self._opaque else self._words(data, table)
        if words is None:
            self._opaque = True
            self._part = b""
            self._bypass()
            return Unwatched() if table.ours.voids else Passing()
        if not words:
            return Passing()
        self._bypass()
        for key in self._keys:
            self._context.scopes.void(key, words)
        manages = self._context.loaders.manages
        leases = [lease_key(word) for word in words if manages(word)]
        if b"EXEC" in map(bytes.upper, words):
            leases, self._leases = self._leases + leases, []
        else:
            self._leases += leases  # it may only have been queued
        if len(self._leases) > LEASES_MAX:
            return Unwatched()
        return Held(leases, self._keys) if leases else Passing()

    def _words(self, data: bytes, table: Table) -> list[bytes] | None:
        """Of the requests that end in these bytes and may write: each word may be a key. None:
        nobody can tell."""
        data = self._part + data
        pos = 0
        words: list[bytes] = []
        while pos < len(data):
            try:
                request = parse_request(data, pos, dialect=self._context.dialect)
            except ProtocolError:
                return None
            if isinstance(request, Partial):
                break
            pos = request.end
            if request.args and not self._harmless(request.args, table):
                words += request.args
        self._part = data[pos:]
        return words if len(self._part) <= READ_MAX and len(self._keys) <= DBS_MAX else None

    def _harmless(self, args: list[bytes], table: Table) -> bool:
        name = args[0].upper()
        db = integer_of(args[1]) if name == b"SELECT" and len(args) == 2 else None
        if db is not None and db >= 0:
            key = self._keys[0].with_db(db)
            if key not in self._keys:
                self._keys.append(key)
        command = table.commands.get(name)
        return name in _HARMLESS or (command is not None and b"readonly" in command.flags)

    def _bypass(self) -> None:
        near = self._context.near
        if near is not None and not self._bypassing:
            self._bypassing = True
            near.bypass(+1)

    def close(self) -> None:
        """The tunnel has ended."""
        near = self._context.near
        if near is not None and self._bypassing:
            self._bypassing = False
            near.bypass(-1)
