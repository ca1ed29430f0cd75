# cython: annotation_typing=False, language_level=3
"""The places of the proxy's own commands in a client's queue, and the read that most of them are.

    GETORSET k  ─▶ TaskSlot ◀─ GetOrSetSlot, on the tracked lane as GET k ─ a value ─▶ client
                       ▲                                                  └ nil ─▶ missed(): a task
                       └────────────────────────────── fill ◀───────────────────────────┘
    others      ─▶ TaskSlot ◀─ fill ◀─ a task

What is to be run, and when: session/acts/own.py. Compiled, because every hit of GETORSET with the
near cache off passes here (tests.bench.near, "GETORSET hit")."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ProxyError
from .answers import Answers, RunSlot
from .fills import Fill

# What a reply to GET is, by its first two bytes.
UNTOLD, VALUE, NIL, OTHER = 0, 1, 2, 3  # OTHER: an error

_UNTOLD, _VALUE, _NIL, _OTHER = UNTOLD, VALUE, NIL, OTHER


class TaskSlot(RunSlot):
    """The place of a command that others fill: in one piece, or as it comes."""

    def __init__(self, session: Answers, muted: bool) -> None:
        super().__init__(session, 1)
        self.muted = muted

    def fill(self, text: bytes) -> None:
        """The whole answer."""
        self.pass_on(text, 0)

    def pass_on(self, chunk: bytes, want: int) -> None:
        """A part of the answer; it is the last one where nothing is wanted behind it."""
        self.want = want
        RunSlot.feed(self, b"" if self.muted else chunk)


class GetOrSetSlot:
    """The reply to the GET that asks for a value: passed on to its place as it comes. Where it is
    nil, ``missed`` has to see that the place is filled."""

    def __init__(
        self,
        place: TaskSlot,
        fill: Fill | None,
        missed: Callable[[GetOrSetSlot], None],
        asker: object,
        key: bytes,
        command: object,
    ) -> None:
        self.want = 1
        self.place = place
        self.missed = missed
        self.asker = asker  # these three for ``missed``
        self.key = key
        self.command = command
        self._fill = fill
        self._kind = _UNTOLD
        self._got = b""  # until its kind is told

    def feed(self, chunk: bytes) -> None:
        fill = self._fill
        if self._kind == _UNTOLD:
            chunk = self._got = self._got + chunk
            if len(chunk) < 2:
                return
            self._tell(chunk)
        if self._kind != _NIL:
            if fill is not None and fill.open and fill.gather(chunk) and not self.want:
                fill.keep(fill.got)
            self.place.pass_on(chunk, self.want)
        elif not self.want:
            self.place.session.turn.misses += 1
            self.missed(self)

    def _tell(self, reply: bytes) -> None:
        """What it is, by its beginning."""
        if reply.startswith((b"$-", b"_")):
            self._kind = _NIL
        elif reply.startswith(b"$"):
            self._kind = _VALUE
            self.place.session.turn.hits += 1
            return
        else:
            self._kind = _OTHER
        if self._fill is not None:  # nothing to keep
            self._fill.give_up()

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0
        if self._fill is not None:
            self._fill.give_up()
        if self._kind in (VALUE, OTHER):  # a part has been passed on
            self.place.session.abort("the server went away in the middle of a reply")
        self.place.fill(why.line)
