"""Traces of a real proxy as a collector gets them: commands, jobs, loads, the origin's part."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest
from redis import Redis

from tests.servers import HOST, Process, any_kind, free_port, nearhit, upstream, wait_for

from .collector import Collector, collector, facts
from .origin import Origin, origin

LOADER = """
[loaders.page]
match = "page:{{id}}"
url = "http://127.0.0.1:{port}/{{id}}?token=s3cret"
ttl = "100s"
headers = {{ Authorization = "s3cret" }}
"""


@dataclass
class Traced:
    """``collector`` and ``origin`` are asked by the proxy."""

    collector: Collector
    origin: Origin
    proxy: Process
    server: Process
    http: int

    def client(self) -> Redis:
        return Redis(host=HOST, port=self.proxy.port)

    def arrives(self, *names: str) -> None:
        wait_for(lambda: all(map(self.collector.named, names)), what=f"spans {names}")


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    with ExitStack() as stack:
        found, web = stack.enter_context(collector()), stack.enter_context(origin())
        web.texts = {f"/{id}?token=s3cret": f"s3cret {id}" for id in range(20)}
        (tmp_path / "nearhit.toml").write_text(LOADER.format(port=web.port))
        server = stack.enter_context(upstream(any_kind()))
        http = free_port()
        proxy = stack.enter_context(
            nearhit(
                f"redis://{HOST}:{server.port}",
                *("--http", f"{HOST}:{http}", "--config", f"{tmp_path}/nearhit.toml"),
                *("--traces", "otlp"),
                env=found.env,
            )
        )
        yield Traced(found, web, proxy, server, http)


def test_a_command_its_load_and_the_origins_request_are_one_trace(traced: Traced) -> None:
    with closing(traced.client()) as client:
        assert client.execute_command("GETORSET", "page:1") == b"s3cret 1"
        client.execute_command("LOCK", "ACQUIRE", "one", "TOKEN", "s3cret")
        client.execute_command("WARM", "ASYNC", "KEYS", "page:2", "page:3")
        client.execute_command("GETORSET", "plain", "s3cret")
        for _ in range(20):
            client.get("page:1")
    with closing(HTTPConnection(HOST, traced.http, timeout=10)) as link:
        link.request("GET", "/api/cache/page:4")
        assert json.loads(link.getresponse().read())["value"] == "s3cret 4"
    traced.arrives("LOCK ACQUIRE", "job WARM", "WARM")
    wait_for(lambda: len(traced.collector.named("load page")) == 4, what="four loads")
    wait_for(lambda: len(traced.collector.named("GETORSET")) == 3, what="three GETORSETs")

    commands = {facts(one)["db.query.text"]: one for one in traced.collector.named("GETORSET")}
    assert sorted(commands) == [
        "GETORSET page:1",
        "GETORSET page:4",
        "GETORSET plain ... (1 more argument)",
    ]
    loads = {facts(one)["nearhit.key"]: one for one in traced.collector.named("load page")}
    assert sorted(loads) == [f"page:{number}" for number in range(1, 5)]
    for number in (1, 4):
        command, load = commands[f"GETORSET page:{number}"], loads[f"page:{number}"]
        assert (load.trace_id, load.parent_span_id) == (command.trace_id, command.span_id)
        (asked,) = [one for one in traced.origin.asked if one.path.startswith(f"/{number}?")]
        _, trace, span, _ = asked.headers["traceparent"].split("-")
        assert (trace, span) == (load.trace_id.hex(), load.span_id.hex())
    (job,), (warm,) = traced.collector.named("job WARM"), traced.collector.named("WARM")
    assert (job.trace_id, job.parent_span_id) == (warm.trace_id, warm.span_id)
    assert {loads[key].parent_span_id for key in ("page:2", "page:3")} == {job.span_id}
    assert facts(commands["GETORSET page:1"])["server.address"] == HOST
    assert traced.collector.services == {"nearhit"}
    assert b"s3cret" not in b"".join(traced.collector.bodies)
    assert not traced.collector.named("GET")


def test_a_collector_that_refuses_costs_a_line_in_the_log_and_no_answer(traced: Traced) -> None:
    traced.collector.status = 400
    with closing(traced.client()) as client:
        for number in range(10):
            assert client.execute_command("GETORSET", f"page:{number}") == b"s3cret %d" % number
            asked = traced.collector.asked
            wait_for(lambda asked=asked: traced.collector.asked > asked, what="a batch")
        wait_for(lambda: "traces refused" in traced.proxy.log.read_text(), what="the line")
        traced.collector.status = 200
        client.execute_command("GETORSET", "page:11")
        wait_for(lambda: "traces taken again" in traced.proxy.log.read_text(), what="the line")

    log = traced.proxy.log.read_text()
    assert (log.count("traces refused"), log.count("traces taken again")) == (1, 1)
    assert "Traceback" not in log
    assert traced.proxy.stop() == 0


def test_without_the_extra_the_start_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('not here')\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "nearhit.proxy", "serve", "--traces", "otlp"),
            *(
                "--http",
                "off",
                "--listen",
                f"unix://{tmp_path}/s",
                "--upstream",
                "redis://127.0.0.1:1",
            ),
        ],
        env={"PYTHONPATH": str(tmp_path), "NEARHIT_ENV": "development"},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith(
        "traces = otlp needs OpenTelemetry: pip install 'nearhit[otel]' (not here)"
    )
