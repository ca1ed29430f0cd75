"""The bars that the project set itself, each a ratio within one run, against what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .load import Case
from .report import Row, align, ratio

Figure = Literal["throughput", "proxy_cpu", "upstream_cpu"]


@dataclass(frozen=True, slots=True)
class Bar:
    """Nearhit's figure over the other's, in the case with that pipeline."""

    figure: Figure
    against: str
    pipeline: int
    wanted: float

    @property
    def higher_is_better(self) -> bool:
        return self.figure == "throughput"

    def met(self, measured: float | None) -> bool:
        if measured is None:
            return False
        return measured >= self.wanted if self.higher_is_better else measured <= self.wanted

    def __str__(self) -> str:
        return f"{self.figure} at P={self.pipeline} vs {self.against}"


BARS = (
    Bar("throughput", "twemproxy", 1, 1.0),
    Bar("throughput", "twemproxy", 16, 1.8),
    Bar("throughput", "twemproxy", 100, 1.8),
    Bar("proxy_cpu", "twemproxy", 1, 1.1),
    Bar("proxy_cpu", "twemproxy", 16, 0.35),
    Bar("upstream_cpu", "direct", 1, 0.5),
)
CASES = [Case("get", 50, pipeline, 64) for pipeline in sorted({bar.pipeline for bar in BARS})]


def measured(bar: Bar, rows: Sequence[Row]) -> float | None:
    """None where a row or a process is missing: a bar that was not measured is not met."""
    figures = {
        row.target: getattr(row, bar.figure) for row in rows if row.case.pipeline == bar.pipeline
    }
    return ratio(figures.get("nearhit"), figures.get(bar.against))


def verdict(rows: Sequence[Row]) -> tuple[str, bool]:
    """The bars as a table, and whether all are met."""
    lines = [["bar", "measured", "wanted", "met"]]
    met = True
    for bar in BARS:
        value = measured(bar, rows)
        met &= bar.met(value)
        sign = ">=" if bar.higher_is_better else "<="
        shown = "-" if value is None else f"{value:.2f}x"
        lines.append(
            [str(bar), shown, f"{sign} {bar.wanted:.2f}x", "yes" if bar.met(value) else "NO"]
        )
    return align(lines), met
