"""What a session remembers between MULTI and EXEC, beside what the server queues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

Patch = Callable[[bytes], bytes]


class Pausing(Protocol):
    """A queued CLIENT PAUSE (acts/pause.py)."""

    def begin(self) -> None: ...
    def undo(self) -> None: ...


@dataclass(slots=True)
class Transaction:
    # What makes elements of EXEC's reply ours, by position.
    patches: list[tuple[int, Patch]] = field(default_factory=list[tuple[int, Patch]])
    keys: list[bytes] | None = field(default_factory=list[bytes])  # that EXEC writes, None: any
    watched: set[bytes] = field(default_factory=set[bytes])  # for CLIENT LIST's watch=
    leases: list[bytes] = field(default_factory=list[bytes])  # that must be void before EXEC writes

    full: bool = False  # too much is queued (max_multi): EXEC will abort
    pauses: list[Pausing] = field(default_factory=list[Pausing])  # that begin as EXEC is sent

    def writes(self, keys: list[bytes] | None, leases: list[bytes]) -> None:
        """A queued command writes these keys, None: any."""
        if self.full:
            return  # it is refused
        if keys is None:
            self.keys = None
        elif self.keys is not None:
            self.keys += keys  # in place: a transaction may queue a million
        self.leases += leases

    def clear(self) -> None:
        self.full = False
        self.patches = []
        self.keys = []
        self.leases = []
        self.pauses = []
