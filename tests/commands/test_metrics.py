"""/metrics before a real server: what it counts is what clients have asked, with workers too."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis, ResponseError

from tests.servers import HOST, any_kind, free_port, nearhit, upstream, wait_for

from .users import LOADER, USERS

CLIENTS = 6

Series = dict[tuple[str, ...], float]


@dataclass
class Proxy:
    port: int
    http: int
    server: int

    def samples(self, name: str, *labels: str) -> Series:
        """The samples of a metric, by these labels."""
        with closing(HTTPConnection(HOST, self.http, timeout=10)) as link:
            link.request("GET", "/metrics")
            text = link.getresponse().read().decode()
        found: Counter[tuple[str, ...]] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == f"nearhit_{name}":
                    found[tuple(sample.labels[label] for label in labels)] += sample.value
        return dict(found)

    def become(self, wanted: Series, name: str, *labels: str) -> None:
        """Wait until a metric is so: other workers tell a moment later."""
        with contextlib.suppress(AssertionError):
            wait_for(lambda: wanted.items() <= self.samples(name, *labels).items(), seconds=3.0)
        seen = self.samples(name, *labels)
        assert {key: seen.get(key) for key in wanted} == wanted


@pytest.fixture(scope="module", params=[1, 2], ids=["alone", "workers"])
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """One that has served these clients, and nobody else; they are connected still."""
    folder: Path = tmp_path_factory.mktemp("metrics")
    (folder / "nearhit.toml").write_text(LOADER)
    (folder / "users.py").write_text(USERS)
    http = free_port()
    with ExitStack() as stack:
        server = stack.enter_context(upstream(any_kind()))
        process = stack.enter_context(
            nearhit(
                f"redis://{HOST}:{server.port}",
                *("--http", f"{HOST}:{http}", "--config", f"{folder}/nearhit.toml"),
                *("--workers", str(request.param)),
                env={"PYTHONPATH": str(folder)},
            )
        )
        for _ in range(CLIENTS):  # enough to meet each worker
            ask(stack.enter_context(Redis(host=HOST, port=process.port)))
        yield Proxy(process.port, http, server.port)


def ask(client: Redis) -> None:
    pipe = client.pipeline(transaction=False)
    for number in range(100):
        pipe.set(f"k{number}", "v")
        pipe.get(f"k{number % 7}")
        pipe.hgetall("hash")
    pipe.execute()
    for number in range(100):
        assert client.get(f"k{number % 3}") == b"v"
        assert client.get("not there") is None
        assert client.mget("k1", "k2", "not there") == [b"v", b"v", None]
        client.set("mine", number)
    for number in range(10):
        client.execute_command("GETORSET", f"own{number}", "v")
    assert client.execute_command("GETORSET", "user:ann") == b"user ann"
    assert client.execute_command("GETORSET", "user:nobody") is None
    with pytest.raises(ResponseError, match="no database"):
        client.execute_command("GETORSET", "user:broken")
    client.lpush("list", "x")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        client.get("list")


def test_requests_are_counted_by_class(proxy: Proxy) -> None:
    wanted: Series = {("read",): 501, ("write",): 201, ("own",): 13}

    proxy.become(times(wanted), "commands_total", "class")


def test_what_was_asked_of_the_server_it_has_seen(proxy: Proxy) -> None:
    with Redis(host=HOST, port=proxy.server) as direct:
        stats = direct.info("commandstats")
    calls = {name: stats[f"cmdstat_{name}"]["calls"] for name in ("get", "mget", "hgetall", "set")}
    proxy.become(times({("write", "server"): 201}), "commands_total", "class", "tier")
    seen = proxy.samples("commands_total", "class", "tier")

    assert calls["hgetall"] == 100 * CLIENTS
    # Beside them the proxy's own: loads, GETORSET's first look and what it stores.
    assert 0 <= calls["set"] - 200 * CLIENTS <= 40
    reads = calls["get"] + calls["mget"] + calls["hgetall"]
    assert abs(reads - seen["read", "server"]) <= 13 * CLIENTS + 60


def test_strings_read_are_counted_by_who_answered(proxy: Proxy) -> None:
    near = proxy.samples("reads_total", "tier", "result")

    assert near["near", "hit"] > 0
    assert near["near", "miss"] > 0
    for result, name in (("hit", "hits_total"), ("miss", "misses_total")):
        both = {(): near["near", result] + near["server", result]}
        assert proxy.samples(name) == both
    assert near["near", "miss"] + near["server", "miss"] >= 200 * CLIENTS


def test_loads_and_errors_are_told(proxy: Proxy) -> None:
    seen = proxy.samples("load_duration_seconds_count", "loader", "result")

    assert {key for key, count in seen.items() if count} == {
        ("users", result) for result in ("success", "not_found", "error")
    }
    assert proxy.samples("loads_total") == {(): sum(seen.values())}
    proxy.become(times({("proxy",): 1}), "command_errors_total", "tier")
    # Old servers have errors for what the client's library tells as it connects, too.
    assert proxy.samples("command_errors_total", "tier")["server",] >= CLIENTS


def test_one_read_in_many_is_timed(proxy: Proxy) -> None:
    seen = proxy.samples("command_duration_seconds_count", "class", "tier")

    # Some 420 reads of sockets for each client, of which one in 1024, give or take half, and ten
    # more of each worker's first ones.
    assert 1 <= sum(seen.values()) <= 420 * CLIENTS / 512 + 2 * 10
    assert proxy.samples("upstream_duration_seconds_count")[()] > 0


def test_lanes_are_told_by_node_and_use(proxy: Proxy) -> None:
    node = f"{HOST}:{proxy.server}"

    assert proxy.samples("lanes", "node", "use")[node, "shared"] > 0
    assert proxy.samples("tracked_lanes", "node", "tracking")[node, "on"] > 0
    # A worker may tell still of how it began.
    proxy.become({(node, "unsent"): 0}, "lane_queue", "node", "state")
    assert proxy.samples("pinned_waiters") == {(): 0}


def times(each: Series) -> Series:
    return {key: count * CLIENTS for key, count in each.items()}
