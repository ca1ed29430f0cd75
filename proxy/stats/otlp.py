"""Traces by OpenTelemetry, sent as OTLP over HTTP (the extra ``otel``; ``traces = otlp``).

    span ends ─▶ queue, bounded ─▶ the SDK's thread ─▶ Heard ─▶ the collector
                   └ full: the oldest go                 └ a line in the log as its state changes

The loop never waits for a collector: spans go into a queue, and at the end of the process one
thread more sends what is left, for CLOSE_S at most. Where to, how much is sampled, how long the
queue is: the variables OTEL_* that the SDK reads. Names follow OpenTelemetry's conventions for
databases. Imported where traces are wanted only: it costs 0.3 s and 20 MB."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..errors import ExitCode, ProxyError, StartError
from ..log import event, redacted, shortened
from ..spans import Span, Traces

log = logging.getLogger(__name__)

CLOSE_S: Final = 1.0  # seconds at the end of the process for what is left
WHY_MOST: Final = 200
NAME: Final = "nearhit"
UNNAMED: Final = "unknown_service"  # how the SDK's own name for a nameless service begins
# Whose words about an exporter are told by ``Heard`` alone.
THEIR_LOGS: Final = ("opentelemetry.exporter", "opentelemetry.sdk")
ASKS_A_SERVER: Final = ("url", "redis")


# --- What is sent -----------------------------------------------------------------------------


class _Told:
    """A span that is open (spans.py, Span)."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def tell(self, name: str, value: str) -> None:
        self._span.set_attribute(name, value)


class OtlpTraces(Traces):
    """``address``: of the server behind the proxy."""

    on = True

    def __init__(self, exporter: SpanExporter, address: str, version: str) -> None:
        self._server = _place(address)
        self._provider = TracerProvider(resource=_resource(version), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(Heard(exporter)))
        self._tracer = self._provider.get_tracer(NAME, version)
        self._propagator = TraceContextTextMapPropagator()

    def __repr__(self) -> str:
        return f"<OtlpTraces {self._server}>"

    @contextmanager
    def command(self, name: str, text: str, db: int) -> Generator[Span]:
        facts = {**self._operation(name, db), "db.query.text": text}
        with self._span(name, SpanKind.SERVER, facts) as span:
            yield span

    @contextmanager
    def job(self, command: str, id: str, db: int) -> Generator[Span]:
        facts = {**self._operation(command, db), "nearhit.job.id": id}
        with self._span(f"job {command}", SpanKind.INTERNAL, facts) as span:
            yield span

    def _operation(self, name: str, db: int) -> dict[str, str | int]:
        """What a command and a job are told of alike."""
        return {
            "db.system.name": "redis",
            "db.operation.name": name,
            "db.namespace": str(db),
            **self._server,
        }

    @contextmanager
    def load(self, loader: str, kind: str, address: str, key: bytes) -> Generator[Span]:
        facts = {
            "nearhit.loader.name": loader,
            "nearhit.loader.source": kind,
            "nearhit.key": shortened(key),
            **_place(address),
        }
        side = SpanKind.CLIENT if kind in ASKS_A_SERVER else SpanKind.INTERNAL
        with self._span(f"load {loader}", side, facts) as span:
            yield span

    @contextmanager
    def _span(self, name: str, kind: SpanKind, facts: Mapping[str, str | int]) -> Generator[Span]:
        span = self._tracer.start_span(name, kind=kind, attributes=facts)
        with trace.use_span(
            span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        ):
            try:
                yield _Told(span)
            except asyncio.CancelledError:
                # Its client has left, its time is over, or the proxy stops.
                span.set_attribute("error.type", "cancelled")
                raise
            except BaseException as error:
                span.set_attribute("error.type", _kind_of(error))
                # No words: a loader's may have a value in them.
                span.set_status(Status(StatusCode.ERROR))
                raise

    def joined(self) -> None:
        trace.get_current_span().set_attribute("nearhit.coalesced", True)

    def headers(self) -> Mapping[str, str]:
        headers: dict[str, str] = {}
        self._propagator.inject(headers)
        return headers

    # --- The end ------------------------------------------------------------------------------

    def flush(self) -> None:
        """Wait until all is sent that has ended; for tests."""
        self._provider.force_flush()

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        sent: asyncio.Future[None] = loop.create_future()

        def done() -> None:
            if not sent.done():
                sent.set_result(None)

        def send() -> None:
            self._provider.shutdown()
            try:
                loop.call_soon_threadsafe(done)
            except RuntimeError:
                return  # the loop was closed: nobody waits any more

        # No thread of a pool, which the interpreter would join: a collector may be silent.
        threading.Thread(target=send, name="last spans", daemon=True).start()
        await asyncio.wait([sent], timeout=CLOSE_S)


def _kind_of(error: BaseException) -> str:
    """By which errors are told apart: the first word of what a client is told."""
    if isinstance(error, ProxyError):
        return error.line[1:].split(None, 1)[0].decode("latin-1")
    return type(error).__name__


def _place(address: str) -> dict[str, str | int]:
    """The server of an address."""
    if not address:
        return {}
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return {"server.address": address.strip("[]")}
    return {"server.address": host.strip("[]"), "server.port": int(port)}


def _resource(version: str) -> Resource:
    """Who we are: as OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, else by our own name."""
    found = Resource.create({SERVICE_VERSION: version})
    if str(found.attributes.get(SERVICE_NAME, UNNAMED)).startswith(UNNAMED):
        found = found.merge(Resource({SERVICE_NAME: NAME}))
    return found


# --- Whether it is taken ----------------------------------------------------------------------


class Health(Enum):
    NEW = "new"
    TAKEN = "taken"
    REFUSED = "refused"


class Heard(SpanExporter):
    """An exporter of whose state the log has a line as it changes. In the SDK's thread."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._health = Health.NEW
        self.lost = 0  # spans since it failed

    def __repr__(self) -> str:
        return f"<Heard {self._health.name} lost={self.lost}>"

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        _reasons.last = ""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # the thread must go on, and no span is worth more
            result, _reasons.last = SpanExportResult.FAILURE, f"{type(error).__name__}: {error}"
        if result is SpanExportResult.SUCCESS:
            self._become(Health.TAKEN)
        else:
            self.lost += len(spans)
            self._become(Health.REFUSED)
        return result

    def _become(self, health: Health) -> None:
        before, self._health = self._health, health
        if health is before:
            return
        if health is Health.REFUSED:
            event(log, logging.WARNING, "traces refused", error=_reasons.shown())
        elif before is Health.REFUSED:
            event(log, logging.INFO, "traces taken again", lost=self.lost)
            self.lost = 0

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class _Reasons(logging.Handler):
    """Takes what the SDK logs of exports, which is a line and more for each that fails; the last
    of them says why."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()

    def shown(self) -> str:
        words = (redacted(word) if "://" in word else word for word in self.last.split())
        text = " ".join(words) or "no reason given"
        return text if len(text) <= WHY_MOST else f"{text[:WHY_MOST]}..."

    def take(self, name: str) -> None:
        """Instead of all who would hear of that logger's."""
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [self], False


_reasons: Final = _Reasons()


def otlp_traces(address: str, version: str) -> OtlpTraces:
    """Those that go where the variables OTEL_* say. StartError: one of them cannot be used."""
    for name in THEIR_LOGS:
        _reasons.take(name)
    try:
        return OtlpTraces(OTLPSpanExporter(), address, version)
    except Exception as error:  # whatever the SDK makes of its variables
        text = f"{type(error).__name__}: {error}"
        raise StartError(
            f"traces: OpenTelemetry cannot use the variables OTEL_*: {text}", ExitCode.BAD_SETTINGS
        ) from error
