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
# TLS to clients, by pipeline: at most so many times the CPU without it.
TLS_BARS = {1: 2.2, 16: 1.3}
CASES = [Case("get", 50, pipeline, 64) for pipeline in sorted({bar.pipeline for bar in BARS})]


def measured(bar: Bar, rows: Sequence[Row]) -> float | None:
    """None where a row or a process is missing: a bar that was not measured is not met."""
    figures = {
        row.target: getattr(row, bar.figure) for row in rows if row.case.pipeline == bar.pipeline
    }
    return ratio(figures.get("nearhit"), figures.get(bar.against))


@dataclass(frozen=True, slots=True)
class Finding:
    """A figure and its bar; a figure that was not measured does not meet it."""

    what: str
    measured: float | None
    wanted: float
    at_least: bool = False
    unit: str = ""

    @property
    def met(self) -> bool:
        if self.measured is None:
            return False
        return self.measured >= self.wanted if self.at_least else self.measured <= self.wanted

    @property
    def cells(self) -> list[str]:
        shown = "-" if self.measured is None else f"{self.measured:.2f}{self.unit}"
        sign = ">=" if self.at_least else "<="
        wanted = f"{sign} {self.wanted:.2f}{self.unit}"
        return [self.what, shown, wanted, "yes" if self.met else "NO"]


def table(findings: Sequence[Finding]) -> tuple[str, bool]:
    """The findings as text, and whether all bars are met."""
    lines = [["bar", "measured", "wanted", "met"], *(finding.cells for finding in findings)]
    return align(lines), all(finding.met for finding in findings)


def tls_verdict(rows: Sequence[Row]) -> tuple[str, bool]:
    """What TLS to clients costs, for every case that was measured; those without a bar meet it."""
    found = {(row.target, row.case): row.proxy_cpu for row in rows}
    cases = [row.case for row in rows if row.target == "nearhit tls"]
    return table(
        [
            Finding(
                f"proxy_cpu of tls, {case}",
                ratio(found["nearhit tls", case], found["nearhit", case]),
                TLS_BARS.get(case.pipeline, float("inf")),
                unit="x",
            )
            for case in cases
        ]
    )


def verdict(rows: Sequence[Row]) -> tuple[str, bool]:
    """The project's bars as a table, and whether all are met."""
    return table(
        [
            Finding(str(bar), measured(bar, rows), bar.wanted, bar.higher_is_better, "x")
            for bar in BARS
        ]
    )
