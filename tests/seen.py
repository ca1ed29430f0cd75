"""Spans that tests look at instead of a collector."""

from __future__ import annotations

from collections.abc import Sequence

from nearhit.proxy.stats.otlp import OtlpTraces
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Seen:
    """``traces`` of a proxy in front of cache.example."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.traces = OtlpTraces(self.exporter, "cache.example:6379", "9.9.9")

    def spans(self) -> Sequence[ReadableSpan]:
        """Those that have ended, in that order."""
        self.traces.flush()
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> ReadableSpan:
        """The one of that name."""
        (found,) = [one for one in self.spans() if one.name == name]
        return found

    def one(self) -> ReadableSpan:
        """Any."""
        with self.traces.job("WARM", "1", 0):
            pass
        return self.spans()[-1]

    def close(self) -> None:
        self.traces._provider.shutdown()
