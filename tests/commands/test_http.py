"""HTTP beside RESP in a real process, before real servers: the same operations on the same keys."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from tests.servers import (
    HOST,
    Kind,
    Process,
    any_kind,
    free_port,
    nearhit,
    server_binary,
    upstream,
    wait_for,
)

from .users import LOADER, USERS


@dataclass
class Ports:
    server: int
    proxy: int
    http: int

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        with closing(HTTPConnection(HOST, self.http, timeout=10)) as link:
            link.request(method, path, None if body is None else json.dumps(body))
            answer = link.getresponse()
            return answer.status, json.loads(answer.read())

    def get(self, key: str) -> tuple[int, Any]:
        return self.ask("GET", f"/api/cache/{quote(key)}")

    def post(self, operation: str, **body: object) -> tuple[int, Any]:
        return self.ask("POST", f"/api/cache/{operation}", body)

    def stats(self) -> dict[str, Any]:
        status, body = self.ask("GET", "/api/cache/stats")
        assert status == 200
        assert isinstance(body, dict)
        return body


def proxy(stack: ExitStack, url: str, folder: str, **more: str) -> tuple[Process, int]:
    """A proxy and its HTTP port; ``more`` goes into its environment."""
    http = free_port()
    flags = ("--http", f"{HOST}:{http}", "--config", f"{folder}/nearhit.toml")
    return stack.enter_context(nearhit(url, *flags, env={"PYTHONPATH": folder, **more})), http


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = tmp_path_factory.mktemp("http")
    (made / "nearhit.toml").write_text(LOADER)
    (made / "users.py").write_text(USERS)
    return str(made)


@pytest.fixture(scope="module", params=["redis", "valkey"])
def both(request: pytest.FixtureRequest, folder: str) -> Iterator[Ports]:
    kind: Kind = request.param
    if server_binary(kind) is None:
        pytest.skip(f"no {kind} server binary on this machine")
    with ExitStack() as stack:
        server = stack.enter_context(upstream(kind)).port
        process, http = proxy(stack, f"redis://{HOST}:{server}", folder)
        yield Ports(server, process.port, http)


@pytest.fixture
def ports(both: Ports) -> Ports:
    with Redis(host=HOST, port=both.server) as server:
        server.flushall()
    return both


@pytest.fixture
def redis(ports: Ports) -> Iterator[Redis]:
    with Redis(host=HOST, port=ports.proxy, decode_responses=True) as client:
        yield client


def test_what_resp_stored_http_reads(ports: Ports, redis: Redis) -> None:
    redis.set("a/b c", "välue")

    assert ports.get("a/b c") == (200, {"key": "a/b c", "value": "välue", "hit": True})


def test_what_http_loaded_resp_reads(ports: Ports, redis: Redis) -> None:
    loaded = {"key": "user:1", "value": "user 1"}

    assert ports.get("user:1") == (200, {**loaded, "hit": False})

    assert ports.get("user:1") == (200, {**loaded, "hit": True})
    assert redis.get("user:1") == "user 1"


@pytest.mark.parametrize(
    ("key", "status", "error"),
    [
        ("order:1", 404, "NOLOADER no loader matches 'order:1'"),
        ("user:nobody", 404, "there is no 'user:nobody', its loader says"),
        ("user:broken", 502, "LOADERR loader 'users': "),
    ],
)
def test_a_key_that_cannot_be_had(ports: Ports, key: str, status: int, error: str) -> None:
    got, body = ports.get(key)

    assert got == status
    assert body["error"].startswith(error)


def test_a_key_of_another_type_is_the_fault_of_the_request(ports: Ports, redis: Redis) -> None:
    redis.lpush("list", "x")

    status, body = ports.get("list")

    assert status == 400
    assert body["error"].startswith("WRONGTYPE")


def test_warm_fills_and_one_bad_key_does_not_fail_the_others(ports: Ports, redis: Redis) -> None:
    keys = ["user:1", "user:2", "user:nobody", "user:broken"]

    status, body = ports.post("warm", keys=keys, ttl=60)

    assert status == 200
    counts = ("requested", "loaded", "not_found", "failed")
    assert [body[name] for name in counts] == [4, 2, 1, 1]
    assert 50 <= redis.ttl("user:1") <= 66
    assert redis.get("user:2") == "user 2"


def test_invalidate_by_key_and_by_pattern(ports: Ports, redis: Redis) -> None:
    redis.mset({"a": "1", "b:1": "1", "b:2": "1", "c": "1"})

    assert ports.post("invalidate", key="a") == (200, {"removed": 1})
    assert ports.post("invalidate", key="a") == (200, {"removed": 0})
    assert ports.post("invalidate", pattern="b:*") == (200, {"removed": 2})

    assert redis.mget("a", "b:1", "b:2", "c") == [None, None, None, "1"]


def test_invalidate_by_tag(ports: Ports, redis: Redis) -> None:
    redis.set("c", "1")
    for key in ("a", "b"):
        redis.execute_command("GETORSET", key, "1", "TAG", "team")

    assert ports.post("invalidate", tag="team") == (200, {"removed": 2})
    assert ports.post("invalidate", tag="team") == (200, {"removed": 0})

    assert redis.mget("a", "b", "c") == [None, None, "1"]


def test_a_lock_is_held_once_and_released_by_its_token(ports: Ports, redis: Redis) -> None:
    status, lock = ports.post("lock/acquire", resource="job", ttl=60_000)

    assert status == 200
    assert lock["key"] == "lock:{job}"
    assert redis.get("lock:{job}") == lock["token"]
    assert ports.post("lock/acquire", resource="job")[0] == 409
    assert redis.execute_command("LOCK", "ACQUIRE", "job") is None
    assert ports.post("lock/release", key=lock["key"], token="x") == (200, {"released": False})
    assert ports.post("lock/release", key=lock["key"], token=lock["token"]) == (
        200,
        {"released": True},
    )
    assert ports.post("lock/acquire", resource="job")[1]["fence"] > lock["fence"]


def test_what_a_command_refuses_is_400(ports: Ports) -> None:
    assert ports.post("warm", keys=["user:1"], ttl=2**63 // 1000) == (
        400,
        {"error": "ERR invalid expire time in 'warm' command"},
    )
    assert ports.post("warm", keys=[])[0] == 400


def test_reads_over_http_and_over_resp_are_counted_once(ports: Ports, redis: Redis) -> None:
    redis.set("k", "v")
    assert redis.execute_command("STATS", "RESET")
    ports.get("k")
    redis.get("k")
    redis.mget("k", "nothing")
    ports.get("user:1")

    stats = ports.stats()

    assert (stats["hits"], stats["misses"], stats["hit_ratio"]) == (3, 2, 0.6)
    assert stats["loads"] == 1
    assert stats["uptime_s"] >= 0


def test_stats_are_the_same_over_resp(ports: Ports, redis: Redis) -> None:
    assert list(redis.execute_command("STATS")) == list(ports.stats())


def test_a_reset_starts_every_count_again(ports: Ports, redis: Redis) -> None:
    redis.get("nothing")
    ports.get("user:1")

    assert redis.execute_command("STATS", "RESET") == "OK"

    stats = ports.stats()
    assert (stats["hits"], stats["misses"], stats["hit_ratio"], stats["loads"]) == (0, 0, None, 0)


def test_two_proxies_count_as_one_fleet_and_what_is_not_asked_for_is_sent_too(
    ports: Ports, redis: Redis, folder: str
) -> None:
    redis.set("k", "v")
    redis.execute_command("STATS", "RESET")
    with ExitStack() as stack:
        process, http = proxy(stack, f"redis://{HOST}:{ports.server}", folder)
        other = Ports(ports.server, process.port, http)
        for _ in range(5):
            other.get("k")
        redis.get("k")

        wait_for(lambda: ports.stats()["hits"] == 6, what="6 hits of both")
        assert other.stats()["hits"] == 6

        for _ in range(4):
            other.get("k")
    # Stopped within the second: it sends what is due before it goes.
    assert ports.stats()["hits"] == 10


def test_metrics_are_prometheus_text(ports: Ports, redis: Redis) -> None:
    redis.get("nothing")
    with closing(HTTPConnection(HOST, ports.http, timeout=10)) as link:
        link.request("GET", "/metrics")
        text = link.getresponse().read().decode()

    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["nearhit_misses_total"] >= 1
    assert values["nearhit_clients"] >= 1
    assert values["nearhit_build_info"] == 1


def test_info_ends_with_a_section_of_ours(ports: Ports, redis: Redis) -> None:
    info = redis.info("nearhit")

    assert info["tracking"] in ("on", "off")
    assert info["uptime_s"] >= 0


def test_without_an_upstream_it_is_healthy_and_not_ready(folder: str) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(upstream(any_kind()))
        process, http = proxy(stack, f"redis://{HOST}:{server.port}", folder)
        ports = Ports(server.port, process.port, http)
        assert ports.ask("GET", "/readyz") == (200, {"status": "ok"})

        server.kill()

        wait_for(lambda: ports.ask("GET", "/readyz")[0] == 503, what="not ready")
        assert ports.ask("GET", "/healthz") == (200, {"status": "ok"})
        assert ports.get("k")[0] == 503
        assert ports.ask("GET", "/api/cache/stats")[0] == 503
        assert ports.post("lock/acquire", resource="job")[0] == 503


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_where_the_server_is_away_a_loader_answers(kind: Kind, folder: str) -> None:
    """In production, where others wait ten seconds for it."""
    with ExitStack() as stack:
        server = stack.enter_context(upstream(kind))
        url = f"redis://{HOST}:{server.port}"
        process, http = proxy(stack, url, folder, NEARHIT_ENV="production")
        ports = Ports(server.port, process.port, http)
        assert ports.get("user:1")[1]["hit"] is False
        server.kill()
        wait_for(lambda: ports.ask("GET", "/readyz")[0] == 503, what="not ready")

        for _ in range(2):  # nothing is stored
            assert ports.get("user:1") == (
                200,
                {"key": "user:1", "value": "user 1", "hit": False},
            )
        assert ports.get("user:broken")[0] == 502
        assert ports.post("mget", keys=["user:1"]) == (
            200,
            {"values": [{"key": "user:1", "value": "user 1"}]},
        )


def test_a_stop_does_not_wait_for_idle_http_connections(folder: str) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(upstream(any_kind()))
        process, http = proxy(stack, f"redis://{HOST}:{server.port}", folder)
        link = stack.enter_context(closing(HTTPConnection(HOST, http, timeout=10)))
        link.request("GET", "/healthz")
        link.getresponse().read()
        began = time.monotonic()

        assert process.stop() == 0

        assert time.monotonic() - began < 5


# --- Many at once -----------------------------------------------------------------------------


def test_many_keys_are_read_at_once(ports: Ports) -> None:
    with closing(Redis(host=HOST, port=ports.server)) as direct:
        direct.set("plain", b"\xff")

    keys = ["user:1", "absent", "plain", "user:broken"]
    status, body = ports.post("mget", keys=keys, partial=True)
    failed, why = ports.post("mget", keys=keys)

    assert (status, body) == (
        200,
        {
            "values": [
                {"key": "user:1", "value": "user 1"},
                {"key": "absent", "value": None},
                {"key": "plain", "value": None, "value_base64": "/w=="},
                {"key": "user:broken", "value": None},
            ]
        },
    )
    assert failed == 502
    assert why["error"].endswith("(key 'user:broken'; 1 failed)")
    assert ports.post("mget", keys=["user:1"], partial=1)[0] == 400
