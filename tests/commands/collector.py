"""A collector of traces: it takes OTLP over HTTP, and keeps the spans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.servers import HOST
from tests.web import QuietHandler, serving


@dataclass
class Collector:
    """``status``: how it answers; only what it takes is kept."""

    port: int = 0
    status: int = 200
    asked: int = 0
    services: set[str] = field(default_factory=set)
    spans: list[Span] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """For a proxy that is to send here, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }

    def named(self, name: str) -> list[Span]:
        return [span for span in list(self.spans) if span.name == name]

    def take(self, body: bytes) -> None:
        self.asked += 1
        if self.status != 200:
            return
        request = ExportTraceServiceRequest.FromString(body)
        self.bodies.append(body)
        for resource in request.resource_spans:
            for fact in resource.resource.attributes:
                if fact.key == "service.name":
                    self.services.add(fact.value.string_value)
            for scope in resource.scope_spans:
                self.spans += scope.spans


def facts(span: Span) -> Mapping[str, str]:
    """Its attributes that are text."""
    return {one.key: one.value.string_value for one in span.attributes}


class _Handler(QuietHandler):
    def do_POST(self) -> None:
        collector: Collector = self.server.collector  # type: ignore[attr-defined]
        collector.take(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(collector.status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def collector() -> Iterator[Collector]:
    with serving(_Handler) as server:
        server.collector = found = Collector(server.server_address[1])  # type: ignore[attr-defined]
        yield found
