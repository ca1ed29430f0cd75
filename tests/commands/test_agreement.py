"""What STATS, /metrics, the status page, ``nearhit top``, redis-benchmark and the server count is
the same. Rates are held to it by what they add up to in the time that each view itself says: how
fast a load is differs from one moment to the next."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from itertools import pairwise
from operator import mul
from types import SimpleNamespace
from typing import Any

import pytest
from nearhit.proxy.cli import top
from nearhit.proxy.cli.reach import Link
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from tests.servers import HOST, any_kind, free_port, nearhit, upstream, wait_for

pytestmark = pytest.mark.skipif(
    shutil.which("redis-benchmark") is None, reason="needs redis-benchmark (Debian's redis-tools)"
)

CLIENTS, PIPELINE = 20, 16
SETS, GETS = 500 * PIPELINE, 3000 * PIPELINE  # whole pipelines: so many are sent, and no more


@dataclass
class Watched:
    """A proxy, its server, and what each says of the load."""

    port: int
    http: int
    server: int

    def _bench(self, command: str, count: int) -> list[str]:
        argv = ["redis-benchmark", "-h", HOST, "-p", str(self.port), "-t", command, "-q"]
        keys = 500 if command == "set" else 700  # not all that is read is there
        argv += ["-n", str(count), "-c", str(CLIENTS), "-P", str(PIPELINE)]
        return [*argv, "-r", str(keys)]

    def bench(self, command: str, count: int) -> None:
        subprocess.run(self._bench(command, count), check=True, capture_output=True, timeout=60)

    @contextmanager
    def load(self) -> Iterator[None]:
        """GETs, for as long as it takes."""
        with subprocess.Popen(self._bench("get", 1 << 30), stdout=subprocess.DEVNULL) as bench:
            try:
                yield
            finally:
                bench.kill()

    def link(self) -> Link:
        """As ``nearhit top`` asks."""
        url = f"redis://{HOST}:{self.port}"
        return Link(url, url, 10.0)

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

    # Workers tell each other ten times a second.
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
    assert page["near_found"] == reads["near", "hit"] < near
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


# --- nearhit top


def test_top_draws_what_was_asked_and_who_answered(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = pytest.importorskip("rich.console", reason="the extra cli is not installed")
    watched.bench("set", SETS)
    ends: list[float] = []  # of top's one interval, as its clock has them
    frame = io.StringIO()
    with closing(watched.link()) as link:
        asked = partial(commands, link)

        def loaded(_: float) -> None:
            """The interval: the load, and until the worker that top asks has heard of all."""
            before = asked()
            watched.bench("get", GETS)
            wait_for(lambda: asked() >= before + GETS, what="all requests")

        def clock() -> float:
            ends.append(time.monotonic())
            return ends[-1]

        wait_for(lambda: asked() >= SETS, what="all writes")
        shown = SimpleNamespace(sleep=loaded, monotonic=clock, strftime=time.strftime)
        monkeypatch.setattr(top, "time", shown)
        assert top.Watch(link, "it", 1.0, console.Console(file=frame, width=80)).once() == 0

    begin, end = ends
    drawn = partial(number, frame.getvalue())
    assert drawn("requests a second") * (end - begin) == pytest.approx(GETS, rel=0.02)
    wait_for(lambda: sum(watched.samples("reads_total").values()) == GETS, what="all reads")
    reads = watched.samples("reads_total", "tier", "result")
    hits = reads["near", "hit"] + reads["server", "hit"]
    assert drawn("hit ratio") == pytest.approx(100 * hits / GETS, abs=0.1)
    assert drawn("of hits, near") == pytest.approx(100 * reads["near", "hit"] / hits, abs=0.1)


def commands(link: Link) -> int:
    """The requests that ``nearhit top`` is told of."""
    told: Any = link.ask(b"STATS", b"PROXY")
    return int(told[b"stats"][b"commands"])


def number(frame: str, title: str) -> float:
    """What a frame has in its column ``now``."""
    found = re.search(rf"^{title} +([\d,.]+)", frame, re.MULTILINE)
    assert found, frame
    return float(found[1].replace(",", ""))


# --- While they are asked


@pytest.mark.parametrize("watched", [1], indirect=True, ids=["alone"])
def test_under_load_no_view_is_behind_one_that_was_asked_before(watched: Watched) -> None:
    watched.bench("set", SETS)
    with closing(watched.link()) as link, watched.load():
        views = (
            lambda: watched.stats()["commands"],
            lambda: watched.page()["stats"]["commands"],
            lambda: sum(watched.samples("commands_total").values()),
            lambda: commands(link),
        )

        def reads() -> Counter[tuple[str, ...]]:
            return watched.samples("commands_total", "class", "tier")

        began = commands(link)
        counts: list[int] = []
        while not counts or counts[-1] < began + GETS:
            counts += [int(view()) for view in views]

            # What is not near is the server's, but for what is on its way there.
            before, calls, after = reads(), watched.calls("get"), reads()
            assert before["read", "near"] + calls <= both(after)
            assert both(before) <= after["read", "near"] + calls + CLIENTS * PIPELINE

    assert counts == sorted(counts)


def both(commands: Counter[tuple[str, ...]]) -> int:
    return commands["read", "near"] + commands["read", "server"]
