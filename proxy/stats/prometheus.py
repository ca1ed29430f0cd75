"""The rows of the statistics as Prometheus text. Counters never go back: STATS RESET is not for
them.

    nearhit_<counter>_total   nearhit_<gauge>   nearhit_build_info{version,build}   process_*

No row has labels, so that their number is bounded whatever clients send. prometheus_client is slow
to import: whoever serves no HTTP does not import this module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from .counters import READS, ROWS, Kind, Reading, Row

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """``reading`` gives a row's value: of this process, or of all workers."""

    def __init__(self, reading: Callable[[Row], Reading], version: str, build: str) -> None:
        self._reading = reading
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
            family = CounterMetricFamily if row.kind is Kind.COUNTER else GaugeMetricFamily
            yield family(_name(row), row.help, value=_number(self._reading(row)))


def _name(row: Row) -> str:
    # Prometheus writes units out.
    name = row.name.removesuffix("_s") + "_seconds" if row.name.endswith("_s") else row.name
    return f"nearhit_{name}"


def _number(value: Reading) -> float:
    return float(value == "on") if isinstance(value, str) else value
