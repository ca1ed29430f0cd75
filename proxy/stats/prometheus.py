"""The rows of the statistics as Prometheus text. Counters never go back: STATS RESET is not for
them.

    nearhit_<counter>_total   nearhit_<gauge>   nearhit_build_info{version,build}   process_*

Labels have few values, whatever clients send: families.py. prometheus_client is slow to import:
whoever serves no HTTP does not import this module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from .counters import READS, ROWS, Kind, Reading, Row
from .families import FAMILIES, Series, buckets_of

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """``reading`` gives a row's value, and ``series`` those with labels: of this process, or of all
    workers."""

    def __init__(
        self,
        reading: Callable[[Row], Reading],
        version: str,
        build: str,
        series: Callable[[], Series] = dict,
    ) -> None:
        self._reading = reading
        self._series = series
        self._labels = [version, build]
        # Of its own: the library's common one also has what other packages put there.
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "nearhit_build_info", "The version that runs.", labels=["version", "build"]
        )
        build.add_metric(self._labels, 1)
        yield build
        for row in (*READS, *ROWS):
            if row.labelled:
                continue
            family = CounterMetricFamily if row.kind is Kind.COUNTER else GaugeMetricFamily
            yield family(name_of(row), row.help, value=_number(row, self._reading(row)))
        yield from self._labelled()

    def _labelled(self) -> Iterator[Metric]:
        values = self._series()
        for row in FAMILIES:
            name, labels = f"nearhit_{row.name}", list(row.labels)
            mine = sorted((key[1], value) for key, value in values.items() if key[0] == row.name)
            if row.kind is Kind.HISTOGRAM:
                histogram = HistogramMetricFamily(name, row.help, labels=labels)
                for words, value in mine:
                    histogram.add_metric(words, buckets_of(value), value[0])
                yield histogram
            elif row.kind is Kind.COUNTER:
                counter = CounterMetricFamily(name, row.help, labels=labels)
                for words, value in mine:
                    counter.add_metric(words, value[0])
                yield counter
            else:
                gauge = GaugeMetricFamily(name, row.help, labels=labels)
                for words, value in mine:
                    gauge.add_metric(words, value[0])
                yield gauge


def name_of(row: Row) -> str:
    """A row's metric, without a counter's ending. Prometheus writes units out, and has no
    milliseconds."""
    for ending in ("_s", "_ms"):
        if row.name.endswith(ending):
            return f"nearhit_{row.name.removesuffix(ending)}_seconds"
    return f"nearhit_{row.name}"


def _number(row: Row, value: Reading) -> float:
    if isinstance(value, str):
        return float(value == "on")
    return value / 1000 if row.name.endswith("_ms") else value
