"""Spans as OpenTelemetry has them, and what the log says of a collector that is away."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from nearhit.proxy.errors import ExitCode, LoadError, StartError
from nearhit.proxy.stats import otlp
from nearhit.proxy.stats.otlp import Heard, OtlpTraces, otlp_traces
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from tests.seen import Seen

VARIABLES = ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER")


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def seen() -> Iterator[Seen]:
    seen = Seen()
    yield seen
    seen.close()


def test_a_load_is_the_child_of_its_command_and_both_say_what_they_are(seen: Seen) -> None:
    key = b"user:" + b"x" * 80
    with seen.traces.command("GETORSET", "GETORSET user:7", 3):
        with seen.traces.load("users", "url", "api:8000", key) as span:
            span.tell("nearhit.load.result", "success")
        seen.traces.joined()

    load, command = seen.spans()
    assert (command.name, command.kind, command.parent) == ("GETORSET", SpanKind.SERVER, None)
    assert command.attributes == {
        "db.system.name": "redis",
        "db.operation.name": "GETORSET",
        "db.namespace": "3",
        "db.query.text": "GETORSET user:7",
        "server.address": "cache.example",
        "server.port": 6379,
        "nearhit.coalesced": True,
    }
    assert (load.name, load.kind) == ("load users", SpanKind.CLIENT)
    assert load.parent is not None
    assert load.parent.span_id == command.context.span_id
    assert load.attributes == {
        "nearhit.loader.name": "users",
        "nearhit.loader.source": "url",
        "nearhit.key": f"user:{'x' * 59}... (21 more bytes)",
        "server.address": "api",
        "server.port": 8000,
        "nearhit.load.result": "success",
    }


def test_a_job_is_a_span_and_a_loader_that_asks_no_server_is_no_client(seen: Seen) -> None:
    with seen.traces.job("WARM", "abc", 0), seen.traces.load("f", "call", "", b"k"):
        pass

    load, job = seen.spans()
    assert (load.kind, "server.address" in (load.attributes or {})) == (SpanKind.INTERNAL, False)
    assert (job.name, job.kind) == ("job WARM", SpanKind.INTERNAL)
    assert (job.attributes or {})["nearhit.job.id"] == "abc"


async def test_what_a_task_starts_is_the_child_of_its_span(seen: Seen) -> None:
    async def load() -> None:
        with seen.traces.load("users", "url", "h", b"k"):
            await asyncio.sleep(0)

    with seen.traces.command("GETORSET", "GETORSET k", 0):
        flying = asyncio.create_task(load())  # as tests may
    await flying

    command, child = seen.spans()
    assert child.parent is not None
    assert child.parent.span_id == command.context.span_id


def test_an_error_is_told_by_its_kind_and_none_of_its_words(seen: Seen) -> None:
    with pytest.raises(LoadError), seen.traces.command("GETORSET", "GETORSET k", 0):
        raise LoadError("users", "the value is s3cret")
    with pytest.raises(ZeroDivisionError), seen.traces.job("WARM", "1", 0):
        raise ZeroDivisionError("s3cret")
    with (
        pytest.raises(asyncio.CancelledError),
        seen.traces.command("LOCK ACQUIRE", "LOCK ACQUIRE l", 0),
    ):
        raise asyncio.CancelledError

    spans = seen.spans()
    kinds = [(one.attributes or {})["error.type"] for one in spans]
    assert kinds == ["LOADERR", "ZeroDivisionError", "cancelled"]
    states = [one.status.status_code for one in spans]
    assert states == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert "s3cret" not in "".join(one.to_json() for one in spans)


def test_headers_name_the_span_that_runs(seen: Seen) -> None:
    assert seen.traces.headers() == {}

    with seen.traces.load("users", "url", "h", b"k"):
        headers = seen.traces.headers()

    (span,) = seen.spans()
    trace, id, flags = span.context.trace_id, span.context.span_id, span.context.trace_flags
    assert headers == {"traceparent": f"00-{trace:032x}-{id:016x}-{flags:02x}"}
    assert flags.sampled


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("h:1", ("h", 1)),
        ("h", ("h", None)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", None)),
        ("::1:6379", ("::1", 6379)),
        ("/run/s.sock", ("/run/s.sock", None)),
    ],
)
def test_an_address_is_a_host_and_a_port(
    seen: Seen, address: str, place: tuple[str, int | None]
) -> None:
    with seen.traces.load("l", "redis", address, b"k"):
        pass

    facts = seen.spans()[0].attributes or {}
    assert (facts["server.address"], facts.get("server.port")) == place


def test_the_service_is_called_as_the_variables_say_else_as_we_are(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    with seen.traces.job("WARM", "1", 0):
        pass
    ours = seen.spans()[0].resource.attributes
    assert (ours["service.name"], ours["service.version"]) == ("nearhit", "9.9.9")

    monkeypatch.setenv("OTEL_SERVICE_NAME", "cache")
    named = Seen()
    with named.traces.job("WARM", "1", 0):
        pass
    assert named.spans()[0].resource.attributes["service.name"] == "cache"
    named.close()


# --- The collector ----------------------------------------------------------------------------


@dataclass
class Collector(SpanExporter):
    """Takes spans, or does not."""

    answer: Callable[[], SpanExportResult] = lambda: SpanExportResult.SUCCESS
    closed: bool = False
    batches: list[int] = field(default_factory=list)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.batches.append(len(spans))
        return self.answer()

    def shutdown(self) -> None:
        self.closed = True

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return timeout_millis == 1


def fails() -> SpanExportResult:
    logging.getLogger("opentelemetry.exporter.x").error(
        "no route to http://me:s3cret@h/ %s", "y" * 300
    )
    return SpanExportResult.FAILURE


def breaks() -> SpanExportResult:
    raise ValueError("a defect")


@pytest.fixture
def their_logs() -> Iterator[None]:
    """What is taken of loggers that are the process's own is given back."""
    loggers = [logging.getLogger(name) for name in otlp.THEIR_LOGS]
    before = [(one.handlers, one.propagate) for one in loggers]
    for name in otlp.THEIR_LOGS:
        otlp._reasons.take(name)
    yield
    for one, (handlers, propagate) in zip(loggers, before, strict=True):
        one.handlers, one.propagate = handlers, propagate


def test_the_log_has_a_line_for_each_change_of_state(
    caplog: pytest.LogCaptureFixture, their_logs: None
) -> None:
    caplog.set_level(logging.INFO)
    collector = Collector(fails)
    heard = Heard(collector)
    span = Seen().one()

    for answer in (fails, fails, breaks, lambda: SpanExportResult.SUCCESS):
        collector.answer = answer
        heard.export([span, span])
    collector.answer = breaks
    heard.export([span])

    ours = [one for one in caplog.records if one.name == otlp.log.name]
    lines = [(one.getMessage(), one.__dict__["nearhit_fields"]) for one in ours]
    assert [name for name, _ in lines] == ["traces refused", "traces taken again", "traces refused"]
    first = lines[0][1]["error"]
    assert first.startswith("no route to http://me:***@h/ yyy")
    assert len(first) == otlp.WHY_MOST + 3
    assert lines[1][1] == {"lost": 6}
    assert lines[2][1] == {"error": "ValueError: a defect"}
    assert repr(heard) == "<Heard REFUSED lost=1>"
    assert heard.force_flush(1)


async def test_the_end_sends_what_is_left_and_waits_for_no_silent_collector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends, silent = Collector(), Collector()
    released = threading.Event()

    def waits() -> SpanExportResult:
        released.wait(10)
        return SpanExportResult.SUCCESS

    silent.answer = waits
    quick, slow = OtlpTraces(ends, "h:1", "1"), OtlpTraces(silent, "h:1", "1")
    for traces in (quick, slow):
        with traces.job("WARM", "1", 0):
            pass

    await quick.close()
    assert (ends.batches, ends.closed) == ([1], True)
    monkeypatch.setattr(otlp, "CLOSE_S", 0.01)
    began = time.monotonic()
    await slow.close()
    assert time.monotonic() - began < 5
    released.set()


def test_a_full_queue_lets_the_oldest_go_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, their_logs: None
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    silent, released, asked = Collector(), threading.Event(), threading.Event()

    def waits() -> SpanExportResult:
        asked.set()
        released.wait(10)
        return SpanExportResult.SUCCESS

    silent.answer = waits
    traces = OtlpTraces(silent, "h:1", "1")
    for number in range(8):
        with traces.job("WARM", str(number), 0):
            pass
    assert asked.wait(10)
    for number in range(100):
        with traces.job("WARM", str(number), 0):
            pass
    released.set()
    traces.flush()

    assert sum(silent.batches) == 16


def test_ours_go_by_the_variables_and_a_wrong_one_is_a_start_error(
    monkeypatch: pytest.MonkeyPatch, their_logs: None
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    traces = otlp_traces("h:6379", "1")
    assert repr(traces) == "<OtlpTraces {'server.address': 'h', 'server.port': 6379}>"

    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(StartError, match=r"variables OTEL_\*: ValueError") as caught:
        otlp_traces("h:6379", "1")
    assert caught.value.exit_code is ExitCode.BAD_SETTINGS
