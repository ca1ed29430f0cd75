"""What STATS, /metrics, the status page, redis-benchmark and the server count is the same."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import pairwise
from operator import mul
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from tests.servers import HOST, any_kind, free_port, nearhit, upstream, wait_for

pytestmark = pytest.mark.skipif(
    shutil.which("redis-benchmark") is None, reason="needs redis-benchmark (Debian's redis-tools)"
)

PIPELINE = 16
SETS, GETS = 500 * PIPELINE, 3000 * PIPELINE  # whole pipelines: so many are sent, and no more


@dataclass
class Watched:
    """A proxy, its server, and what each says of the load."""

    port: int
    http: int
    server: int

    def bench(self, command: str, count: int) -> None:
        argv = ["redis-benchmark", "-h", HOST, "-p", str(self.port), "-t", command, "-q"]
        argv += ["-n", str(count), "-c", "20", "-P", str(PIPELINE), "-r", "500"]
        subprocess.run(argv, check=True, capture_output=True, timeout=60)

    def _get(self, path: str) -> str:
        with closing(HTTPConnection(HOST, self.http, timeout=10)) as link:
            link.request("GET", path)
            return link.getresponse().read().decode()

    def samples(self, name: str, *labels: str) -> Counter[tuple[str, ...]]:
        found: Counter[tuple[str, ...]] = Counter()
        for family in text_string_to_metric_families(self._get("/metrics")):
            for sample in family.samples:
                if sample.name == f"nearhit_{name}":
                    found[tuple(sample.labels[label] for label in labels)] += int(sample.value)
        return found

    def page(self) -> Any:
        return json.loads(self._get("/api/status"))

    def calls(self, name: str) -> int:
        with Redis(host=HOST, port=self.server) as direct:
            stats = direct.info("commandstats")
        return int(stats.get(f"cmdstat_{name}", {}).get("calls", 0))

    def stats(self) -> dict[str, Any]:
        with Redis(host=HOST, port=self.port, protocol=3, decode_responses=True) as client:
            return dict(client.execute_command("STATS"))


@pytest.fixture(params=[1, 2], ids=["alone", "workers"])
def watched(request: pytest.FixtureRequest) -> Iterator[Watched]:
    http = free_port()
    with ExitStack() as stack:
        server = stack.enter_context(upstream(any_kind()))
        proxy = stack.enter_context(
            nearhit(
                f"redis://{HOST}:{server.port}",
                *("--http", f"{HOST}:{http}", "--workers", str(request.param)),
            )
        )
        yield Watched(proxy.port, http, server.port)


def test_all_views_agree_on_what_was_asked_and_who_answered(watched: Watched) -> None:
    watched.bench("set", SETS)
    watched.bench("get", GETS)

    # Workers tell each other once a second.
    wait_for(
        lambda: sum(watched.samples("reads_total").values()) == GETS, what="all reads on /metrics"
    )
    wait_for(lambda: watched.samples("commands_total", "class")["write",] == SETS, what="writes")
    commands = watched.samples("commands_total", "class", "tier")
    reads = watched.samples("reads_total", "tier", "result")
    assert watched.calls("set") == commands["write", "server"] == SETS
    # One GET of the server for each that was not answered near, be it to keep its answer or not.
    assert watched.calls("get") == commands["read", "server"]
    assert reads["server", "hit"] + reads["server", "miss"] == commands["read", "server"]
    near = reads["near", "hit"] + reads["near", "miss"]
    assert near == commands["read", "near"] == GETS - watched.calls("get")
    assert near > GETS / 2

    hits = reads["near", "hit"] + reads["server", "hit"]
    page = watched.page()["stats"]
    assert (page["hits"], page["misses"], page["near_hits"]) == (hits, GETS - hits, near)
    assert page["commands"] == sum(commands.values())
    # The fleet's, which is kept in the server, a second late.
    wait_for(lambda: watched.stats()["hits"] == hits, what="hits of STATS")
    assert watched.stats()["misses"] == GETS - hits


def test_the_rates_of_the_page_add_up_to_what_was_asked(watched: Watched) -> None:
    # How long the first second was that is told of, is not.
    wait_for(lambda: watched.page()["history"]["at"], what="a second")
    watched.bench("get", GETS)

    # A second's rate is there when it is over; each worker has its own seconds, of all workers.
    pages: list[Any] = []
    wait_for(lambda: pages.append(watched.page()) or added(pages[-1]) > 0.9 * GETS, what="rates")

    assert added(pages[-1]) == pytest.approx(pages[-1]["stats"]["commands"], rel=0.02)


def added(page: Any) -> float:
    """The requests that the rates of its seconds make together."""
    history = page["history"]
    seconds = [after - before for before, after in pairwise(history["at"])]
    return float(sum(map(mul, history["commands"][1:], seconds)))
