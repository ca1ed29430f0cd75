"""A read of a key whose value may be stale: its place in the queue asks how long the value lasts.

    PTTL key ─▶ Told, or the Fill of the near cache ─┐
    GET key ──▶ GetOrSetSlot ─ a value ─▶ TimedPlace ┴─ seen ───────────────▶ client
                                              └─ stale, and waited for softly ─▶ a task

Both go to the tracked lane in one piece. What is due, and whether a value is stale, is
loading/refreshes.py's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from ...custom.spec import Refreshing
from ...errors import ProxyError
from ...hot.answers import Answers
from ...hot.own import TaskSlot

PTTL: Final = b"*2\r\n$4\r\nPTTL\r\n"  # and the key
UNKNOWN: Final = -3  # no answer of PTTL: as if it lasted for ever
# A value larger than this waits for no other: it is passed on as it comes.
WAITS_MAX: Final = 1 << 20


class Asked(Protocol):
    """What has PTTL's answer before the value comes."""

    ttl_ms: int


class Told:
    """PTTL's reply, where nothing is to be kept near."""

    __slots__ = ("_got", "ttl_ms", "want")

    def __init__(self) -> None:
        self.want = 1
        self.ttl_ms = UNKNOWN
        self._got = b""

    def feed(self, chunk: bytes) -> None:
        self._got += chunk
        if not self.want and self._got.startswith(b":"):
            self.ttl_ms = int(self._got[1:])

    def fail(self, why: ProxyError, inside: bool) -> None:
        self.want = 0


class TimedPlace(TaskSlot):
    """``newest`` has the place filled with what is to be handed out for a stale value, given it and
    how long it lasts."""

    def __init__(
        self,
        session: Answers,
        muted: bool,
        key: bytes,
        asked: Asked,
        refreshes: Refreshing,
        newest: Callable[[TimedPlace, bytes, int], None],
    ) -> None:
        super().__init__(session, muted, False)
        self.key = key
        self._asked = asked
        self._refreshes = refreshes
        self._newest = newest
        self._seen = False
        self._waits = False
        self._got = b""  # of a value that may have to wait

    def fill(self, text: bytes) -> None:
        self._seen, self._waits = True, False
        super().fill(text)

    def pass_on(self, chunk: bytes, want: int) -> None:
        if not self._seen:
            self._seen = True
            if chunk.startswith(b"$"):  # no error
                ttl_ms = self._asked.ttl_ms
                self._waits = self._refreshes.softly(self.key, ttl_ms)
                if not self._waits:
                    self._refreshes.seen(self.key, ttl_ms)
        if self._waits:
            chunk = self._got = self._got + chunk
            if want and len(chunk) <= WAITS_MAX:
                return
            self._waits = False
            self._got = b""
            if not want:
                self._newest(self, chunk, self._asked.ttl_ms)
                return
            self._refreshes.seen(self.key, self._asked.ttl_ms)
        super().pass_on(chunk, want)
