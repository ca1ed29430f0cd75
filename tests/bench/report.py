"""Figures to text: medians of rounds, ratios, one table. Pure: no process, no socket."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .load import Case


@dataclass(frozen=True, slots=True)
class Row:
    """One target in one case. CPU in microseconds per request; None where no process is known."""

    target: str
    case: Case
    throughput: float
    p50: float
    p99: float
    proxy_cpu: float | None
    upstream_cpu: float | None
    proxy_pid: str = ""
    upstream_pid: str = ""


def median(rounds: Sequence[Row]) -> Row:
    """The row whose every figure is the median over rounds of one target and one case."""
    first = rounds[0]
    assert all((row.target, row.case) == (first.target, first.case) for row in rounds)
    return Row(
        first.target,
        first.case,
        statistics.median(row.throughput for row in rounds),
        statistics.median(row.p50 for row in rounds),
        statistics.median(row.p99 for row in rounds),
        _median(row.proxy_cpu for row in rounds),
        _median(row.upstream_cpu for row in rounds),
        first.proxy_pid,
        first.upstream_pid,
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def ratio(value: float | None, base: float | None) -> float | None:
    """None where one is unknown, or the base is less than a clock tick."""
    return None if value is None or not base else value / base


def table(rows: Sequence[Row], peer: str | None) -> str:
    """All rows as text, each with its ratios to direct and to the peer in the same case."""
    others = [name for name in ("direct", peer) if name is not None]
    head = ["target", "command", "conns", "P", "size", "req/s", "p50 ms", "p99 ms"]
    head += ["proxy µs/req [pid]", "upstream µs/req [pid]"]
    for name in others:
        head += [f"req/s x {name}"]
    if peer is not None:
        head += [f"proxy CPU x {peer}"]
    head += [f"upstream CPU x {name}" for name in others]
    index = {(row.target, row.case): row for row in rows}
    return align([head, *(_cells(row, index, others, peer) for row in rows)])


def _cells(
    row: Row, index: dict[tuple[str, Case], Row], others: Sequence[str], peer: str | None
) -> list[str]:
    case = row.case

    def against(name: str, figure: Callable[[Row], float | None]) -> str:
        base = index.get((name, case))
        value = None if base is None else ratio(figure(row), figure(base))
        return "-" if value is None else f"{value:.2f}"

    cells = [row.target, case.command.upper(), str(case.connections), str(case.pipeline)]
    cells += [str(case.size), f"{row.throughput:,.0f}", f"{row.p50:.3f}", f"{row.p99:.3f}"]
    cells += [_cpu(row.proxy_cpu, row.proxy_pid), _cpu(row.upstream_cpu, row.upstream_pid)]
    cells += [against(name, lambda each: each.throughput) for name in others]
    if peer is not None:
        cells += [against(peer, lambda each: each.proxy_cpu)]
    return cells + [against(name, lambda each: each.upstream_cpu) for name in others]


def _cpu(microseconds: float | None, pid: str) -> str:
    return "-" if microseconds is None else f"{microseconds:.2f} [{pid}]"


def align(lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in lines
    )


def facts(pairs: Sequence[tuple[str, object]]) -> str:
    """Two columns: what was measured, and the figure."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in pairs)


def megabytes(size: float) -> str:
    return f"{size / 2**20:.1f} MB"
