"""What a client may leave unread: the setting ``client_output_buffer``.

Spelt as Redis's ``client-output-buffer-limit`` without its class, ``64mb 8mb 60s``: hard, soft, and
for how long in a row a client may be beyond the soft one. Redis's classes are not needed: replicas
do not come through a proxy, and what it holds for subscribers and MONITOR is bounded as for all.
Pure; session/ acts on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .rows import Kind, duration, is_off, size

# Less than this is never held back (session.py's WRITE_HIGH): the hard bound is seen beyond it.
_HARD: Final = size("1mb", "64gb")
_SOFT: Final = size("64kb", "64gb")
_FOR: Final = duration("1s", "24h")


@dataclass(frozen=True, slots=True)
class OutputBuffer:
    """Bytes of replies; 0: no bound. ``seconds`` belong to ``soft``."""

    hard: int = 0
    soft: int = 0
    seconds: float = 0.0

    @classmethod
    def parse(cls, text: str) -> OutputBuffer:
        """ValueError where it is none."""
        if is_off(text):
            return cls()
        hard, *rest = text.split() or [""]
        found = cls(_size(hard, _HARD))
        if rest:
            if len(rest) != 2:
                raise ValueError("a soft bound needs its seconds, and nothing stands behind them")
            found = cls(found.hard, _size(rest[0], _SOFT), _for(rest[1]))
        if found.soft and not found.seconds:
            raise ValueError("a soft bound without seconds would be a hard one")
        if found.hard and found.soft >= found.hard:
            raise ValueError("the soft bound is not below the hard one")
        return found


def _size(text: str, kind: Kind[int]) -> int:
    if text == "0":
        return 0
    try:
        return kind.parse(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither 0 nor {kind.wants}") from None


def _for(text: str) -> float:
    if text == "0":
        return 0.0
    try:
        return _FOR.parse(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {_FOR.wants}") from None


OUTPUT_BUFFER: Final = Kind(
    OutputBuffer.parse,
    "HARD or HARD SOFT SECONDS, as 64mb 8mb 60s, or off",
    "LIMIT",
)
