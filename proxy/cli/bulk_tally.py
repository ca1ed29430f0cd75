"""What ``nearhit warm`` and ``nearhit invalidate`` count, and the summary that they end with.

Knows names of outcomes and numbers, not what they mean. bulk.py and bulk_dry.py count."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..errors import shown
from .terminal import complain

SHOWN: Final = 20  # keys and failures that are told one by one


@dataclass(slots=True)
class Tally:
    """What became of the keys so far; of failures, and of keys to be shown, only the first few are
    kept."""

    verb: str
    requested: int = 0
    counts: dict[str, int] = field(default_factory=dict[str, int])
    failed: int = 0
    failures: list[str] = field(default_factory=list[str])
    found: list[str] = field(default_factory=list[str])
    found_count: int = 0
    began: float = 0.0  # by time.monotonic

    def add(self, **counts: int) -> None:
        """Count outcomes, by the names that the summary shows."""
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count

    def fail(self, key: bytes, why: str) -> None:
        """Keep why a key failed, to be told at the end; ``failed`` is counted by the caller."""
        if len(self.failures) < SHOWN:
            self.failures.append(f"{shown(key)}: {why}")

    def show(self, keys: Sequence[bytes]) -> None:
        """Keep keys, to be told at the end."""
        self.found += map(shown, keys[: SHOWN - len(self.found)])
        self.found_count += len(keys)

    @property
    def remark(self) -> str:
        """What the bar says beside its numbers."""
        return f"{self.failed:,} failed" if self.failed else ""

    def lines(self) -> Iterator[str]:
        """The summary, then the keys that were found, then the failures."""
        seconds = time.monotonic() - self.began
        counts = {**self.counts, "failed": self.failed}
        parts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
        rate = f", {self.requested / seconds:,.0f}/s" if self.requested and seconds > 0 else ""
        yield f"{self.verb} {self.requested:,} in {seconds:.1f} s{rate}: {parts}"
        yield from _first(self.found, self.found_count)
        yield from _first(self.failures, self.failed)

    def tell(self, always: bool = False) -> None:
        """Write the summary to stderr. ``always``: also where no key was done."""
        if always or self.requested:
            complain(*self.lines())


def _first(lines: Sequence[str], count: int) -> Iterator[str]:
    yield from (f"  {line}" for line in lines)
    if count > len(lines):
        yield f"  and {count - len(lines):,} more"
